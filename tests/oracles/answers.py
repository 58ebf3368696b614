"""Answers of a real engine in a form that can be compared: names, types and the multiset of rows."""

from __future__ import annotations

from typing import Any

Answer = tuple[list[tuple[str, str]], list[str]]


def duckdb_answer(connection: Any, sql: str) -> Answer:
    """Of DuckDB."""
    found = connection.execute(sql)
    columns = [(entry[0], str(entry[1])) for entry in found.description]
    return columns, sorted(map(repr, found.fetchall()))


def postgres_answer(connection: Any, sql: str) -> Answer:
    """Of PostgreSQL, through psycopg; types are their numbers."""
    found = connection.execute(sql)
    columns = [(entry.name, str(entry.type_code)) for entry in found.description]
    return columns, sorted(map(repr, found.fetchall()))
