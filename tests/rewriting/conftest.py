"""A question-and-answer site in small, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from oracles.catalogue import Catalogue

SITE = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR, level INTEGER, rating DOUBLE PRECISION)",
    "CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER, views INTEGER, total BIGINT, "
    "price DECIMAL(8, 2), ratio DOUBLE PRECISION, title VARCHAR)",
    "CREATE TABLE comments (post_id INTEGER, user_id INTEGER, score INTEGER, mood VARCHAR)",
    "CREATE TABLE votes (user_id INTEGER, kind VARCHAR, ratio DOUBLE PRECISION)",
    "INSERT INTO users VALUES (1, 'a', 1, 0.0), (2, 'b', 1, 0.5), (3, 'c', 2, 1.5), (4, NULL, NULL, NULL)",
    "INSERT INTO posts VALUES (1, 1, 10, 4000000000, 1.25, 0.1, 'x'), (2, 1, 20, -5, 2.50, 0.2, 'y'), "
    "(3, 2, NULL, NULL, NULL, NULL, NULL), (4, NULL, 7, 1, 3.00, 0.3, 'x'), (5, 3, 10, 2, 0.75, 0.7, 'y')",
    "INSERT INTO comments VALUES (1, 1, 5, 'spam'), (1, 1, NULL, 'kind'), (1, 2, 3, 'spam'), (2, 1, 4, NULL), "
    "(3, 3, 1, 'kind'), (NULL, 3, 1, 'spam'), (5, NULL, 2, 'kind'), (5, 3, 2, 'kind')",
    "INSERT INTO votes VALUES (1, 'up', 0.0), (1, 'up', CAST('-0.0' AS DOUBLE PRECISION)), (1, 'down', 0.1), (2, 'up', 0.2), (3, 'down', 0.3), "
    "(3, 'up', NULL), (NULL, 'up', 0.5)",
)


@pytest.fixture(scope="session")
def site() -> Iterator[Any]:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for statement in SITE:
        connection.execute(statement)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def site_schema(site: Any) -> Catalogue:
    return Catalogue(site)
