"""Random small tables, and random queries with correlated subqueries over them."""

from __future__ import annotations

import random

TABLES = (
    "CREATE TABLE o (id INTEGER PRIMARY KEY, k INTEGER, m INTEGER NOT NULL, x INTEGER, s VARCHAR)",
    "CREATE TABLE i (k INTEGER, m INTEGER NOT NULL, x INTEGER, b BIGINT, n DECIMAL(8, 2), s VARCHAR)",
    "CREATE TABLE p (id INTEGER PRIMARY KEY, k INTEGER, f DOUBLE PRECISION)",
)


def rows(draw: random.Random) -> list[str]:
    """INSERTs of small tables: with NULLs, duplicates, groups without rows, and sometimes no row at all."""

    def some(*values: object) -> str:
        value = draw.choice(values)
        return "NULL" if value is None else str(value)

    found = []
    for number in range(draw.choice((0, 1, 4, 8))):
        found.append(
            f"INSERT INTO o VALUES ({number}, {some(None, 1, 2, 3)}, {some(1, 2)}, {some(None, 0, 1, 2, 5)}, "
            f"{some(None, chr(39) + 'a' + chr(39), chr(39) + 'b' + chr(39))})"
        )
    for _ in range(draw.choice((0, 1, 5, 12))):
        found.append(
            f"INSERT INTO i VALUES ({some(None, 1, 2, 4)}, {some(1, 2, 3)}, {some(None, 0, 1, 3)}, "
            f"{some(None, 4000000000, 1)}, {some(None, '1.50', '0.25')}, "
            f"{some(None, chr(39) + 'a' + chr(39), chr(39) + 'c' + chr(39))})"
        )
    for number in range(draw.choice((0, 3))):
        found.append(f"INSERT INTO p VALUES ({number}, {some(None, 1, 2)}, {some(None, 0.5, 1.5)})")
    return found


def _ties(draw: random.Random) -> str:
    ties = draw.sample(("i.k = o.k", "o.m = i.m", "i.s = o.s", "i.x = o.k"), draw.choice((1, 1, 2)))
    filters = draw.sample(
        ("i.x > 0", "i.b IS NOT NULL", "(i.m = 1 OR i.x = 3)", "i.k IN (1, 2)"), draw.choice((0, 0, 1))
    )
    if draw.random() < 0.15:
        return f"(({ties[0]} AND i.x = 1) OR ({ties[0]} AND i.m = 2))"
    both = ties + filters
    draw.shuffle(both)
    return " AND ".join(both)


def _inner(draw: random.Random) -> str:
    return draw.choice(("i", "i", "i JOIN p q ON q.id = i.m", "i LEFT JOIN p q ON q.k = i.k"))


def scalar(draw: random.Random) -> str:
    """A correlated subquery of aggregates."""
    value = draw.choice((
        "count(*)", "count(i.x)", "sum(i.x)", "sum(i.b)", "avg(i.x)", "min(i.n)", "max(i.x)", "sum(i.n)",
        "count(DISTINCT i.x)", "sum(i.x) + count(*)", "2 * max(i.x)", "coalesce(sum(i.x), 0)", "sum(i.x) * count(*)",
        "count(*) - 1", "max(i.x) - min(i.x)", "coalesce(max(i.x), 3) + 1",
    ))  # fmt: skip
    return f"(SELECT {value} FROM {_inner(draw)} WHERE {_ties(draw)})"


def membership(draw: random.Random) -> str:
    """A correlated EXISTS or IN."""
    word = draw.choice(("", "NOT "))
    if draw.random() < 0.5:
        return (
            f"{word}EXISTS (SELECT {draw.choice(('1', '*', 'i.x'))} FROM {_inner(draw)} WHERE {_ties(draw)})"
        )
    mine, theirs = draw.choice(
        (("o.k", "i.k"), ("o.x", "i.x"), ("o.m", "i.m"), ("o.m", "i.x"), ("o.s", "i.s"))
    )
    where = draw.choice(("", f" WHERE {_ties(draw)}"))
    return f"{mine} {word}IN (SELECT {theirs} FROM {_inner(draw)}{where})"


def query(draw: random.Random) -> str:
    """A query with one or two of them, in every kind of place."""
    conditions = []
    for _ in range(draw.choice((1, 1, 2))):
        one = scalar(draw) if draw.random() < 0.6 else None
        operator = draw.choice(("=", "<>", "<", ">", "<=", ">="))
        if one is None:
            many = membership(draw)
            conditions.append(
                draw.choice(
                    (
                        many,
                        f"({many} OR o.x = 1)",
                        f"NOT ({many} AND o.x > 0)",
                        f"({many} OR {membership(draw)})",
                    )
                )
            )
        else:
            conditions.append(draw.choice((
                f"o.x {operator} {one}", f"{one} {operator} o.x", f"o.x {operator} 2 * {one}", f"o.x BETWEEN 0 AND {one}",
                f"({one} {operator} o.x OR o.k = 2)", f"NOT (o.x {operator} {one})", f"{one} IS NULL", f"coalesce({one}, 7) {operator} o.x",
                f"CASE WHEN {one} > 1 THEN o.x ELSE o.k END = 2", f"o.x + {one} {operator} 2", f"{one} = {scalar(draw)}",
            )))  # fmt: skip
    source = draw.choice(
        (
            "o",
            "o",
            "o, p",
            "o LEFT JOIN p ON p.k = o.k",
            "p, o",
            "o JOIN p ON p.id = o.m",
            "p LEFT JOIN o ON o.k = p.k",
        )
    )
    shown = draw.choice((
        "o.*", "o.id, o.x", "*", "count(*) AS c, sum(o.x) AS s", "o.k, count(*) AS c", "DISTINCT o.k",
        f"o.id, {scalar(draw)} AS v", f"o.id, {membership(draw)} AS v",
    ))  # fmt: skip
    where = " AND ".join(conditions)
    text = f"SELECT {shown} FROM {source} WHERE {where}"
    return text + (" GROUP BY o.k" if shown.startswith("o.k, count") else "")
