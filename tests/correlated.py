"""Tables on which PostgreSQL takes a slow plan: four columns say the same, so that it expects far too few rows."""

from __future__ import annotations

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
