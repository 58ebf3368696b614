"""Whether a LIMIT's rows are certain where names of the result and of the inputs may be taken for each other."""

from __future__ import annotations

import pytest

from godb_fast.core import Table
from godb_fast.engines.base import Rendered
from godb_fast.engines.registry import open_engine
from godb_fast.sql import parse_template

SETUP = (
    "CREATE TABLE t AS SELECT i AS a, i % 3 AS b FROM generate_series(1, 12) AS g(i)",
    "CREATE TABLE s AS SELECT i AS c, i % 4 AS z FROM generate_series(1, 12) AS g(i)",
)
BOTH = [
    # (statement, certain)
    ("SELECT a, b FROM t ORDER BY b, a LIMIT 3", True),
    ("SELECT a AS x, b AS a FROM t ORDER BY a LIMIT 3", False),
    ("SELECT a AS x, b AS a FROM t ORDER BY a, x LIMIT 3", True),
    ("SELECT z AS c, count(*) AS n FROM s GROUP BY c, z ORDER BY z LIMIT 3", False),
    ("SELECT z AS c, count(*) AS n FROM s GROUP BY c, z ORDER BY c, s.c LIMIT 3", False),
    ("SELECT z % 2 AS odd, count(*) AS n FROM s GROUP BY odd ORDER BY odd LIMIT 3", True),
    ("SELECT z % 2 AS odd, count(*) AS n FROM s GROUP BY odd ORDER BY n LIMIT 3", False),
    ("SELECT z % 2 AS odd, count(*) AS n FROM s GROUP BY 1 ORDER BY odd LIMIT 3", True),
    ("SELECT s.z AS z, count(*) AS n FROM s GROUP BY z ORDER BY z LIMIT 3", True),
    ("SELECT z AS q, count(*) AS n FROM s GROUP BY z ORDER BY q LIMIT 3", True),
    ("SELECT z, count(*) AS n FROM s GROUP BY z ORDER BY n, z LIMIT 3", True),
    (
        "SELECT d.k AS z, count(*) AS n FROM (SELECT z AS k, z % 2 AS z FROM s) d GROUP BY d.k, z ORDER BY z LIMIT 3",
        False,
    ),
    (
        "WITH w AS (SELECT z % 2 AS odd FROM s) SELECT odd AS o, count(*) AS n FROM w GROUP BY o ORDER BY o LIMIT 1",
        True,
    ),
    ("SELECT -c AS c, z FROM s ORDER BY c + 0, z LIMIT 3", False),
]
POSTGRES = [
    ('SELECT a AS "B" FROM t ORDER BY b LIMIT 3', False),
    ('SELECT a AS "B" FROM t ORDER BY "B" LIMIT 3', True),
    ("SELECT t.a, s.z AS q FROM t, s WHERE t.a = s.c ORDER BY a, q LIMIT 3", True),
    ("SELECT lower(b::text)::int AS a, b AS lower FROM t GROUP BY b ORDER BY a, lower LIMIT 3", True),
    (
        "SELECT upper(upper), count(*) FROM (SELECT b::text AS upper FROM t) d GROUP BY upper ORDER BY upper LIMIT 3",
        False,
    ),
    ("SELECT c::text, count(*) FROM s GROUP BY c ORDER BY c LIMIT 3", False),
]
DUCKDB = [
    ("SELECT DISTINCT b FROM t ORDER BY a, b LIMIT 3", False),
    ("SELECT DISTINCT b AS x FROM t ORDER BY x LIMIT 3", True),
    ("SELECT DISTINCT t.*, b AS a FROM t ORDER BY a, t.a, t.b LIMIT 3", False),
    ('SELECT a AS "B" FROM t ORDER BY b LIMIT 3', True),
]


class Columns:
    """The tables of ``SETUP``."""

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        names = {"t": ("a", "b"), "s": ("c", "z")}.get(parts[-1])
        return None if names is None else Table(f"x.main.{parts[-1]}", names, ("integer",) * 2)

    def near(self, name: str) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize(
    ("dialect", "sql", "certain"),
    [
        *(("postgres", *case) for case in [*BOTH, *POSTGRES]),
        *(("duckdb", *case) for case in [*BOTH, *DUCKDB]),
    ],
)
def test_by_the_text(dialect: str, sql: str, certain: bool) -> None:
    assert (parse_template(sql, dialect, Columns()).order_sensitive is None) is certain


@pytest.mark.parametrize(("sql", "certain"), [*BOTH, *DUCKDB])
def test_duckdb_judges_alike(sql: str, certain: bool) -> None:
    with open_engine("duckdb://") as engine:
        for text in SETUP:
            engine.run(Rendered(text))
        engine.run(Rendered(sql))
        assert engine.effects(sql).steerable is certain, engine.effects(sql).reason


@pytest.mark.parametrize(("sql", "certain"), [*BOTH, *POSTGRES])
def test_postgres_judges_alike(postgres_url: str, sql: str, certain: bool) -> None:
    with open_engine(postgres_url) as engine:
        for text in SETUP:
            engine.run(Rendered(text))
        engine.run(Rendered(sql))
        assert engine.effects(sql).steerable is certain, engine.effects(sql).reason
