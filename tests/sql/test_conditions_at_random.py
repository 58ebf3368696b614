"""What is said to reject NULLs rejects them on the engines: conditions drawn at random, over a padded row."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import duckdb
import psycopg
import sqlglot
from sqlglot import exp

from godb_fast.sql.predicates import strong

CONDITIONS = 3_000


class Drawing:
    """Expressions over a padded ``a`` and a ``b`` that has values: numbers, texts, lists, conditions."""

    def __init__(self, dialect: str, seed: int) -> None:
        self.postgres = dialect == "postgres"
        self.source = random.Random(seed)

    def one(self, *forms: str) -> str:
        return self.source.choice(forms)

    def listed(self, *numbers: int) -> str:
        inside = ",".join(map(str, numbers))
        return f"'{{{inside}}}'::int[]" if self.postgres else f"[{inside}]::INT[]"

    def number(self, depth: int) -> str:
        if depth <= 0 or self.source.random() < 0.45:
            return self.one("a.x", "a.y", "b.x", "b.y", "1", "-2", "0", "NULL", "7")
        n, m = self.number(depth - 1), self.number(depth - 1)
        return self.one(
            *(f"{n} {sign} {m}" for sign in "+-*"),
            f"{n} % (1 + abs({m}))",
            f"abs({n})",
            f"coalesce({n}, {m})",
            f"case when {self.condition(depth - 1)} then {n} else {m} end",
            f"cast({n} as bigint)",
            f"length({self.text(depth - 1)})",
            f"-({n})",
            f"nullif({n}, {m})",
            f"greatest({n}, {m})",
            f"({self.list(depth - 1)})[1]",
        )

    def text(self, depth: int) -> str:
        if depth <= 0 or self.source.random() < 0.5:
            return self.one("a.t", "b.t", "'a'", "'%'", "''", "NULL")
        t, u = self.text(depth - 1), self.text(depth - 1)
        return self.one(
            *(f"{name}({t})" for name in ("lower", "upper", "trim")),
            f"{t} || {u}",
            f"substring({t}, 1, 2)",
            f"left({t}, 1)",
            f"concat({t}, {u})",
            f"coalesce({t}, {u})",
            f"cast({self.number(depth - 1)} as varchar)",
        )

    def list(self, depth: int) -> str:
        if depth <= 0 or self.source.random() < 0.7:
            return self.one("a.l", "b.l", self.listed(), self.listed(7), self.listed(1, 2))
        return f"{self.list(depth - 1)} {'||' if self.postgres else '+'} {self.list(depth - 1)}"

    def condition(self, depth: int) -> str:
        draw, below = self.source.random(), depth - 1
        if depth > 0 and draw < 0.42:
            inner = self.condition(below)
            if draw < 0.3:
                return f"NOT ({inner})" if draw < 0.25 else f"NOT {inner}"
            return f"({inner} {self.one('AND', 'OR')} {self.condition(below)})"
        n, m, t, u, listed = (
            *(self.number(below), self.number(below), self.text(below), self.text(below)),
            self.list(below),
        )
        sign, negation = self.one("=", "<>", "<", "<=", ">", ">="), self.one("", "NOT ")
        query = f"(SELECT {m} WHERE {self.one('true', 'false')})"
        return self.one(
            f"{n} {sign} {m}",
            f"{t} {sign} {u}",
            f"{listed} {sign} {self.list(below)}",
            f"{n} {negation}IN ({m}, {self.number(below)})",
            f"{n} {negation}IN ({m})",
            f"{n} {negation}BETWEEN {m} AND {self.number(below)}",
            f"{t} {negation}{self.one('LIKE', 'ILIKE')} {u}",
            f"{n} IS {negation}NULL",
            f"({n} {sign} {m}) IS {negation}{self.one('TRUE', 'FALSE', 'NULL')}",
            f"{n} IS {negation}DISTINCT FROM {m}",
            f"({n}, {m}) = ({m}, {n})",
            f"({n}, {m}) {negation}IN (({m}, {n}))",
            f"{n} {sign} {self.one('ANY', 'ALL')} ({listed})",
            f"{n} {negation}IN {query}",
            f"{n} {sign} {self.one('ANY', 'ALL')} {query}",
            f"{n} {sign} {query}",
            *(
                [
                    f"{t} {self.one('LIKE', 'NOT LIKE')} {self.one('ANY', 'ALL')} ('{{}}'::text[])",
                    f"{n} BETWEEN SYMMETRIC {m} AND {n}",
                    f"{t} {self.one('~', '!~')} {u}",
                ]
                if self.postgres
                else [
                    f"{n} {negation}IN {self.one('a.l', 'b.l', '[]', '[7]')}",
                    f"{t} {self.one('SIMILAR TO', 'GLOB')} {u}",
                ]
            ),
        )


def owner(column: exp.Column) -> int:
    return {"a": 1, "b": 2}.get(column.table, 0)


def try_them(dialect: str, count: Callable[[str], int], wrong: type[Exception]) -> None:
    drawing, claims = Drawing(dialect, 5), 0
    padded = "(SELECT NULL::int AS x, NULL::int AS y, NULL::varchar AS t, NULL::int[] AS l) a"
    rows = ", ".join(
        f"({row}, {numbers})"
        for row, numbers in (
            ("1, 2, 'a'", drawing.listed()),
            ("0, NULL, ''", drawing.listed(7)),
            ("NULL, 7, NULL", drawing.listed(1)),
            ("NULL, NULL, 'b'", "NULL"),
        )
    )
    for _ in range(CONDITIONS):
        condition = drawing.condition(drawing.source.randint(0, 3))
        where = sqlglot.parse_one(f"SELECT 1 FROM a, b WHERE {condition}", dialect=dialect).args["where"]
        if strong(where.this, owner) & 1:
            try:
                kept = count(
                    f"SELECT count(*) FROM {padded}, (VALUES {rows}) b(x, y, t, l) WHERE {condition}"
                )
            except wrong:
                # A number too large, or a type that does not fit.
                continue
            claims += 1
            assert kept == 0, condition
    assert claims > 150


def test_on_duckdb() -> None:
    connection = duckdb.connect(config={"threads": 1})
    try_them("duckdb", lambda sql: int((connection.execute(sql).fetchone() or (0,))[0]), duckdb.Error)


def test_on_postgres(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def count(sql: Any) -> int:
            return int((connection.execute(sql).fetchone() or (0,))[0])

        try_them("postgres", count, psycopg.Error)
