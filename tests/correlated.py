"""Tables on which engines take slow plans: of PostgreSQL, four columns say the same, so that it expects far too few
rows; of DuckDB, keys are skewed.
"""

from __future__ import annotations

from pathlib import Path

import psycopg

#: It loops where it should hash.
QUERY = (
    "SELECT count(*), sum(d.v) FROM f JOIN d ON d.id = f.d JOIN e ON e.id = d.e "
    "WHERE f.a = {0} AND f.b = {0} AND f.g = {0} AND f.h = {0} AND e.w >= 0"
)


def filled(url: str) -> str:
    """The URL of a database that has the tables now."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "CREATE TABLE e (id int PRIMARY KEY, w int)",
            "CREATE TABLE d (id int PRIMARY KEY, v int, e int)",
            "CREATE TABLE f (a int, b int, g int, h int, d int)",
            "INSERT INTO e SELECT i, i FROM generate_series(1, 20000) i",
            "INSERT INTO d SELECT i, i % 7, 1 + i % 20000 FROM generate_series(1, 60000) i",
            "INSERT INTO f SELECT i % 8, i % 8, i % 8, i % 8, 1 + (i * 7919) % 60000 "
            "FROM generate_series(1, 120000) i",
            "ANALYZE",
        ):
            connection.execute(statement)
    return url


#: Another join order than DuckDB's own is faster.
SKEWED = (
    "SELECT count(*) FROM a JOIN b ON a.k = b.k JOIN c ON c.m = b.m AND c.n = a.n "
    "WHERE c.tag = 'rare' AND a.n < 50"
)


def skewed(path: Path) -> Path:
    """The path of a DuckDB file that has the tables now."""
    import duckdb

    with duckdb.connect(str(path)) as connection:
        for statement in (
            "CREATE TABLE a AS SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i END AS k, i % 100 AS n FROM range(3000) r(i)",
            "CREATE TABLE b AS SELECT CASE WHEN i % 2 = 0 THEN 1 ELSE i END AS k, i % 50 AS m FROM range(3000) r(i)",
            "CREATE TABLE c AS SELECT i % 50 AS m, i % 100 AS n, CASE WHEN i % 500 = 0 THEN 'rare' ELSE 'common' END "
            "AS tag FROM range(3000) r(i)",
        ):
            connection.execute(statement)
    return path
