"""An ORM application passes unchanged with godb_fast in front of its Engine, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from orm_application import Base, exercise, fill, reading, traced
from postgres_server import PostgresServer

from godb_fast.adoption import Observer
from godb_fast.errors import InvalidInput
from godb_fast.optimizer import Optimizer
from godb_fast.sqlalchemy import install, uninstall
from godb_fast.store import open_store

sqlalchemy = pytest.importorskip("sqlalchemy")


def url_of(postgres_url: str, driver: str = "psycopg") -> str:
    return postgres_url.replace("postgresql://", f"postgresql+{driver}://")


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Any]:
    made = sqlalchemy.create_engine(url_of(postgres_url))
    yield made
    uninstall(made)
    made.dispose()


@pytest.fixture(scope="module")
def expected(postgres_server: PostgresServer) -> Any:
    """What the application sees without godb_fast."""
    with postgres_server.database() as url:
        bare = sqlalchemy.create_engine(url_of(url))
        seen = exercise(bare)
        bare.dispose()
    return seen


class TestApplicationPasses:
    @pytest.mark.parametrize("mode", ["off", "observe", "advise", "steer"])
    def test_postgres(self, engine: Any, expected: Any, mode: str) -> None:
        adoption = install(engine, mode)
        assert exercise(engine) == expected
        assert adoption.wait()
        assert "internal_errors" not in adoption.optimizer.counters
        assert "not_advised" not in adoption.optimizer.counters
        assert (adoption.optimizer.counters.get("observed", 0) > 50) == (mode != "off")
        assert (adoption.optimizer.counters.get("advised", 0) > 5) == (mode in ("advise", "steer"))

    def test_with_comments_of_a_tracing_tool(self, engine: Any, expected: Any) -> None:
        traced(engine)
        adoption = install(engine, "advise")
        seen = exercise(engine)
        # The error names the statement with its comment, as it did without godb_fast.
        assert seen["writing"].pop("error_statement").startswith("/*traceparent=")
        assert seen["writing"].items() <= expected["writing"].items()
        assert seen["again"] == expected["again"]
        assert adoption.wait()
        first = adoption.optimizer.counters["advised"]
        with sqlalchemy.orm.Session(engine) as session:
            assert reading(session) == expected["again"]
        assert adoption.wait()
        # Other comments, the same templates.
        assert adoption.optimizer.counters["advised"] == first

    def test_autocommit(self, postgres_url: str) -> None:
        made = sqlalchemy.create_engine(url_of(postgres_url), isolation_level="AUTOCOMMIT")
        install(made, "advise")
        fill(made)
        with sqlalchemy.orm.Session(made) as session:
            # PostgreSQL streams within transactions only.
            assert len(reading(session, streaming=False)["lazy"]) == 12
        uninstall(made)
        made.dispose()

    @pytest.mark.parametrize("mode", ["observe", "advise", "steer"])
    def test_duckdb(self, tmp_path: Any, mode: str) -> None:
        pytest.importorskip("duckdb_engine")
        bare = sqlalchemy.create_engine(f"duckdb:///{tmp_path / 'bare.db'}")
        wanted = exercise(bare, savepoints=False)
        bare.dispose()
        made = sqlalchemy.create_engine(f"duckdb:///{tmp_path / 'site.db'}")
        adoption = install(made, mode)
        assert exercise(made, savepoints=False) == wanted
        assert adoption.wait()
        assert "internal_errors" not in adoption.optimizer.counters
        assert (adoption.optimizer.counters.get("advised", 0) > 5) == (mode != "observe")
        uninstall(made)
        made.dispose()
