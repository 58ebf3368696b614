"""Of LIMITs that are said to be certain, the rows do not depend on where rows lie in their tables."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack

from godb_fast.engines.base import Engine, Rendered
from godb_fast.engines.registry import open_engine
from godb_fast.errors import EngineError
from godb_fast.sql import parse_template

STATEMENTS = 6_000
COLUMNS = ["a", "b", "c", "t.a", "t.b", "t.c"]
MORE = ["z", "s.z", "s.a", "s.b"]
ALIASES = ["a", "b", "c", "z", "x", '"A"', '"B"', "T", "count", "max", "n"]
SHOWN = [
    *("a+b", "-a", "t.a%2", "count(*)", "max(t.b)", "(a)", "b%2", "upper(t.b::text)", "t.b::int", "sum(c)"),
    "case when t.a>1 then 1 else b end",
]
KEYS = [*ALIASES, "1", "2", "3", "a+b", "b%2", "t.a%2"]
INPUTS = ["t", "t", "(select a, b as c, c as b from t) t", "(select t.a, t.b, t.c as z, c from t) t"]


def filled(stack: ExitStack, order: int) -> Engine:
    """The same rows, in another order."""
    engine = stack.enter_context(open_engine("duckdb://"))
    tables = {
        "t(a INT, b INT, c INT)": [(i % 4, i % 3, i) for i in range(24)],
        "s(z INT, b INT, a INT)": [(i % 5, i % 2, i) for i in range(20)],
    }
    for table, rows in tables.items():
        random.Random(order).shuffle(rows)
        engine.run(Rendered(f"CREATE TABLE {table}"))
        engine.run(Rendered(f"INSERT INTO {table[0]} VALUES {', '.join(map(str, rows))}"))
    return engine


def drawn(source: random.Random) -> str:
    two = source.random() < 0.4
    columns = [*COLUMNS, *MORE] if two else COLUMNS
    items = []
    for _ in range(source.randint(1, 3)):
        alias = f" AS {source.choice(ALIASES)}" if source.random() < 0.6 else ""
        items.append(source.choice(columns + SHOWN) + alias)
    if source.random() < 0.05:
        items.append("t.*")
    distinct = "DISTINCT " if source.random() < 0.3 else ""
    sql = f"SELECT {distinct}{', '.join(items)} FROM {'t, s' if two else source.choice(INPUTS)}"
    if two:
        sql += source.choice([" WHERE t.a = s.z", "", " WHERE t.c = s.a"])
    keys = KEYS + columns
    if source.random() < 0.6:
        sql += f" GROUP BY {', '.join(source.choice(keys) for _ in range(source.randint(1, 3)))}"
    ordered = [
        source.choice([*keys, "count(*)", "-a", "a+0"]) + source.choice(["", " DESC"])
        for _ in range(source.randint(1, 3))
    ]
    return f"{sql} ORDER BY {', '.join(ordered)} LIMIT {source.randint(1, 6)}"


def test_rows_do_not_depend_on_where_they_lie() -> None:
    source = random.Random(6)
    certain = 0
    with ExitStack() as stack:
        engines = [filled(stack, order) for order in range(3)]
        for _ in range(STATEMENTS):
            sql = drawn(source)
            try:
                answers = [Counter(engine.run(Rendered(sql)).rows) for engine in engines]
            except EngineError:
                # Most of what is drawn is not valid.
                continue
            template = parse_template(sql, "duckdb", engines[0].schema())
            claimed = template.order_sensitive is None or engines[0].effects(sql).steerable
            certain += claimed
            assert not claimed or answers == [answers[0]] * len(answers), sql
    assert certain > 50
