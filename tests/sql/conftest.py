"""A small database with NULLs, duplicates and every kind of name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from oracles.catalogue import Catalogue

TABLES = """
CREATE TABLE a (id INTEGER NOT NULL, x INTEGER, s VARCHAR, d DATE);
CREATE TABLE b (id INTEGER NOT NULL, a_id INTEGER, x INTEGER, s VARCHAR);
CREATE TABLE c (id INTEGER, b_id INTEGER, y DOUBLE, s VARCHAR);
CREATE TABLE d (id INTEGER, c_id BIGINT, x INTEGER, "Order" INTEGER);
CREATE TABLE e (id INTEGER NOT NULL, k INTEGER NOT NULL, z DECIMAL(6, 2));
CREATE VIEW v AS SELECT a.id AS id, b.x AS bx FROM a JOIN b ON a.id = b.a_id WHERE a.x > 1;
INSERT INTO a SELECT i, CASE WHEN i % 4 = 0 THEN NULL ELSE i % 3 END, 'n' || (i % 3), DATE '2020-01-01' + i::INTEGER
  FROM range(12) t(i);
INSERT INTO b SELECT i, CASE WHEN i % 5 = 0 THEN NULL ELSE i % 9 END, i % 4, 'n' || (i % 4) FROM range(16) t(i);
INSERT INTO c SELECT CASE WHEN i % 6 = 0 THEN NULL ELSE i END, i % 7, i / 2.0, 'n' || (i % 5) FROM range(14) t(i);
INSERT INTO d SELECT i, CASE WHEN i % 4 = 1 THEN NULL ELSE i % 8 END, i % 3, i % 2 FROM range(10) t(i);
INSERT INTO e SELECT i, i % 5, i * 1.25 FROM range(9) t(i);
"""


@pytest.fixture(scope="session")
def database() -> Iterator[Any]:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute(TABLES)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def schema(database: Any) -> Catalogue:
    return Catalogue(database)
