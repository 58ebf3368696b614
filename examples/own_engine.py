"""An engine of its own: joins Python lists of dicts in memory, in the order that godb_fast plans.

What an engine brings: its tables, row counts after filters, distinct counts. What it gets back: a join tree.
Planning needs no SQL and NumPy alone. Run it: ``python examples/own_engine.py``
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from godb_fast.core import OPERATORS, JoinTree, QueryGraph, RowEstimates
from godb_fast.planning.search import plan

Row = dict[str, Any]
Rows = list[Row]
#: A column of a query: (alias, column).
Column = tuple[str, str]


@dataclass
class Query:
    """``SELECT * FROM tables WHERE joins AND filters``: a table and at most one filter per alias."""

    tables: dict[str, str]
    joins: list[tuple[Column, Column]]
    filters: dict[str, Callable[[Row], bool]] = field(default_factory=dict)


@dataclass
class Engine:
    """Tables are lists of dicts; intermediate rows are dicts by ``(alias, column)``."""

    tables: dict[str, Rows]
    rows_touched: int = 0

    def scan(self, query: Query, alias: str) -> list[dict[Column, Any]]:
        keep = query.filters.get(alias, lambda row: True)
        rows = self.tables[query.tables[alias]]
        self.rows_touched += len(rows)
        return [{(alias, name): value for name, value in row.items()} for row in rows if keep(row)]

    def run(self, query: Query, tree: JoinTree) -> list[dict[Column, Any]]:
        """Rows of a join tree: an alias by its number, or (probe side, build side) of a hash join."""
        if isinstance(tree, int):
            return self.scan(query, list(query.tables)[tree])
        left, right = self.run(query, tree[0]), self.run(query, tree[1])
        if not left or not right:
            return []
        keys = [
            (a, b) for pair in query.joins for a, b in (pair, pair[::-1]) if a in left[0] and b in right[0]
        ]
        built: dict[tuple[Any, ...], list[dict[Column, Any]]] = {}
        for row in right:
            built.setdefault(tuple(row[b] for _, b in keys), []).append(row)
        found = [{**row, **match} for row in left for match in built.get(tuple(row[a] for a, _ in keys), ())]
        self.rows_touched += len(left) + len(right) + len(found)
        return found

    def describe(self, query: Query) -> tuple[QueryGraph, RowEstimates]:
        """The query as the planner reads it: relations, edges, classes of equal columns; and their counts."""
        aliases = list(query.tables)
        classes: list[set[Column]] = []
        for pair in query.joins:
            touched = [one for one in classes if one & set(pair)]
            classes = [one for one in classes if one not in touched] + [set(pair).union(*touched)]
        members = [sorted(one) for one in classes]
        graph = QueryGraph(
            tuple(aliases),
            np.array([(aliases.index(a), aliases.index(b)) for (a, _), (b, _) in query.joins]),
            class_start=np.cumsum([0, *map(len, members)]),
            class_member=np.array([aliases.index(alias) for one in members for alias, _ in one]),
        )
        # A real engine keeps statistics; this one counts.
        scanned = {alias: self.scan(query, alias) for alias in aliases}
        return graph, RowEstimates.of(
            graph,
            rows=[len(scanned[alias]) for alias in aliases],
            distinct=[len({row[column] for row in scanned[column[0]]}) for one in members for column in one],
        )


def shop(seed: int = 7) -> Engine:
    """A small shop: few countries, popular products, many orders, more items."""
    pick = random.Random(seed)
    return Engine(
        {
            "country": [{"id": i, "name": f"country {i}"} for i in range(20)],
            "customer": [{"id": i, "country": pick.randrange(20)} for i in range(1000)],
            "product": [{"id": i, "category": int(20 * pick.random() ** 2)} for i in range(500)],
            "orders": [{"id": i, "customer": pick.randrange(1000)} for i in range(4000)],
            "item": [
                {"order": pick.randrange(4000), "product": int(500 * pick.random() ** 2)}
                for _ in range(12000)
            ],
        }
    )


def main() -> None:
    query = Query(
        tables={"i": "item", "o": "orders", "c": "customer", "p": "product", "n": "country"},
        joins=[
            (("i", "order"), ("o", "id")),
            (("o", "customer"), ("c", "id")),
            (("i", "product"), ("p", "id")),
            (("c", "country"), ("n", "id")),
        ],
        filters={"n": lambda row: row["name"] == "country 3", "p": lambda row: row["category"] == 17},
    )
    engine = shop()
    planned = plan(*engine.describe(query), OPERATORS)
    print(planned.draw())
    # Without a planner: table after table, in the order in which the query names them.
    as_written: JoinTree = ((((0, 1), 2), 3), 4)
    answers, work = [], []
    for name, tree in (("as written", as_written), ("planned", planned.tree())):
        engine.rows_touched, start = 0, perf_counter()
        rows = engine.run(query, tree)
        took_ms = 1000 * (perf_counter() - start)
        answers.append(sorted(sorted(row.items()) for row in rows))
        work.append(engine.rows_touched)
        print(f"{name}: {len(rows)} rows, {work[-1]} touched, {took_ms:.1f} ms")
    print(f"same rows: {answers[0] == answers[1]}; work saved: {1 - work[1] / work[0]:.0%}")


if __name__ == "__main__":
    main()
