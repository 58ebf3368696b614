"""Random blocks with all kinds of joins and subqueries: whatever tree steers them, the rows stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import duckdb
import pytest
from oracles.catalogue import Catalogue
from oracles.join_trees import random_tree

from godb_fast.core import Steering
from godb_fast.sql import fingerprint, parse_template, render

RELATIONS = 9


@pytest.fixture(scope="module")
def tables() -> Iterator[tuple[Any, Catalogue]]:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for i in range(RELATIONS):
        null = "NOT NULL" if i % 3 == 0 else ""
        connection.execute(f"CREATE TABLE t{i} (r{i}a INTEGER {null}, r{i}b INTEGER, s INTEGER)")
    yield connection, Catalogue(connection)
    connection.close()


def fill(rng: Random, connection: Any) -> None:
    for i in range(RELATIONS):
        rows = ", ".join(
            f"({rng.choice((0, 0, 1, 2)) if i % 3 == 0 else rng.choice(('NULL', 0, 1, 1, 2))}, "
            f"{rng.choice(('NULL', 0, 0, 1, 3))}, {rng.choice(('NULL', 0, 1))})"
            for _ in range(rng.randint(0 if rng.random() < 0.1 else 1, 4))
        )
        connection.execute(f"DELETE FROM t{i}")
        if rows:
            connection.execute(f"INSERT INTO t{i} VALUES {rows}")


class Statement:
    """A random statement."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.free = list(range(RELATIONS))
        rng.shuffle(self.free)
        names = [self.free.pop() for _ in range(rng.randint(2, 5))]
        origin, visible = self.tree(names)
        where = [self.condition(visible, visible) for _ in range(rng.choice((0, 0, 1, 2)))]
        where += [self.subquery(visible) for _ in range(rng.choice((0, 1, 1, 2))) if len(self.free) > 2]
        rng.shuffle(where)
        shown = "*" if rng.random() < 0.4 else ", ".join(f"r{i}.r{i}a, r{i}b" for i in visible)
        self.sql = f"SELECT {shown} FROM {origin}" + (f" WHERE {' AND '.join(where)}" if where else "")

    def tree(self, names: list[int]) -> tuple[str, list[int]]:
        if len(names) == 1:
            return f"t{names[0]} AS r{names[0]}", names
        cut = self.rng.randint(1, len(names) - 1)
        left, left_visible = self.tree(names[:cut])
        right, right_visible = self.tree(names[cut:])
        if cut < len(names) - 1:
            right = f"({right})"
        word = self.rng.choice(
            ("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "SEMI JOIN", "ANTI JOIN", "CROSS JOIN")
        )
        if word == "CROSS JOIN":
            return f"{left} CROSS JOIN {right}", left_visible + right_visible
        conditions = [self.condition(left_visible, right_visible)]
        if self.rng.random() < 0.4:
            both = left_visible + right_visible
            conditions.append(self.condition(both, both))
        visible = left_visible if word[:4] in ("SEMI", "ANTI") else left_visible + right_visible
        return f"{left} {word} {right} ON {' AND '.join(conditions)}", visible

    def column(self, among: list[int]) -> str:
        number = self.rng.choice(among)
        qualifier = f"r{number}." if self.rng.random() < 0.7 else ""
        return f"{qualifier}r{number}{self.rng.choice('ab')}"

    def condition(self, left: list[int], right: list[int]) -> str:
        x, y = self.column(left), self.column(right)
        return self.rng.choice(
            (
                f"{x} = {y}", f"{x} = {y}", f"{x} = {y}", f"{y} <= {x}", f"{x} IS NOT DISTINCT FROM {y}",
                f"coalesce({x}, 1) = {y}", f"({x} = {y} OR {x} IS NULL)", f"{x} + {y} > 1", f"{x} = 1",
                f"{y} IS NULL", f"NOT ({x} > {y})", f"({x} = {y} AND {x} < 2 OR {y} = {x} AND {y} > 0)",
                f"{x} IN (0, 1, NULL)", f"{x} BETWEEN -1 AND {y}",
            )
        )  # fmt: skip

    def subquery(self, visible: list[int]) -> str:
        names = [self.free.pop() for _ in range(self.rng.choice((1, 1, 2)))]
        origin = self.rng.choice((", ", " JOIN ")).join(f"t{i} r{i}" for i in names)
        inner = self.condition(names[:1], names[-1:])
        if " JOIN " in origin:
            origin += f" ON {inner}"
        where = [self.condition(names, names)] if self.rng.random() < 0.5 else []
        if len(names) > 1 and " JOIN " not in origin:
            where.append(inner)
        negated = self.rng.choice(("", "NOT "))
        if self.rng.random() < 0.6:
            compared = self.rng.choice(("=", "=", "<>", "<"))
            where.append(f"{self.column(names)} {compared} {self.column(visible)}")
            return f"{negated}EXISTS (SELECT 1 FROM {origin} WHERE {' AND '.join(where)})"
        shown = self.column(names)
        if self.rng.random() < 0.3:
            origin, where = f"(SELECT {shown} AS m FROM {origin}) q", []
            shown = "m"
        text = f"SELECT {shown} FROM {origin}" + (f" WHERE {' AND '.join(where)}" if where else "")
        if self.rng.random() < 0.3:
            text = f"SELECT max(m) FROM ({text}) w(m) GROUP BY m % 2"
        return f"{self.column(visible)} {negated}IN ({text})"


def answer(connection: Any, sql: str) -> tuple[list[str], Counter[Any]]:
    result = connection.execute(sql)
    return [name for name, *_ in result.description], Counter(result.fetchall())


def check(rng: Random, connection: Any, schema: Catalogue, trees: int) -> bool:
    """Whether the statement could be steered at all."""
    sql = Statement(rng).sql
    fill(rng, connection)
    try:
        expected = answer(connection, sql)
    except duckdb.Error:
        # DuckDB has limits of its own, such as some correlated comparisons.
        return False
    found = fingerprint(sql)
    template = parse_template(found, "duckdb", schema)
    for _ in range(trees if template.plannable else 0):
        steering = Steering(
            tuple((block.index, random_tree(block.graph, rng)) for block in template.plannable)
        )
        steered = render(template, found.literals, steering)
        assert answer(connection, steered) == expected, f"{sql}\n{steered}"
    return bool(template.plannable)


@pytest.mark.parametrize("seed", range(12))
def test_rows_stay(tables: tuple[Any, Catalogue], seed: int) -> None:
    rng = Random(seed)
    steered = [check(rng, *tables, trees=3) for _ in range(25)]
    assert sum(steered) > 12
