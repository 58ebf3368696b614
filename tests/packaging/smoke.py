"""Smoke test of an installed package, run outside the checkout: plan, steer, compare, by its public names."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import godb_fast
from godb_fast import backend


def main() -> None:
    graph = godb_fast.QueryGraph.from_edges(["a", "b", "c"], [(0, 1), (1, 2)])
    estimates = godb_fast.RowEstimates.of(graph, [1000, 10, 500], [0.01, 0.1])
    found = godb_fast.plan(graph, estimates)
    # (a ⋈ b) has 100 rows, (b ⋈ c) 500, the whole 5000.
    assert math.isclose(found.cost, 100 + 5000), found.draw()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "shop.duckdb")
        with godb_fast.connect(f"duckdb:///{path}", mode="steer") as session:
            session.execute("CREATE TABLE customer AS SELECT i AS id, i % 7 AS city FROM range(500) t(i)")
            session.execute(
                "CREATE TABLE orders AS SELECT i AS id, i % 500 AS customer FROM range(5000) t(i)"
            )
            session.execute("CREATE TABLE item AS SELECT i AS id, i % 5000 AS orders FROM range(20000) t(i)")
            sql = (
                "SELECT count(*) FROM customer c JOIN orders o ON o.customer = c.id "
                "JOIN item i ON i.orders = o.id WHERE c.city = 3"
            )
            expected = session.execute(sql, mode="off").fetchall()
            decision = session.optimize(sql)
            assert decision.candidates, decision.explain()
            for _ in range(3):
                assert session.execute(sql).fetchall() == expected
    named = os.environ.get("GODB_FAST_BACKEND")
    assert named is None or backend.selected() == named
    print(f"smoke test passed on backend {backend.selected()}, godb_fast {godb_fast.__version__}")


if __name__ == "__main__":
    main()
