"""The engine contract on a PostgreSQL server: a connection of our own, and borrowed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from godb_fast.engines.base import Engine, Rendered
from godb_fast.engines.postgres import PostgresEngine
from godb_fast.testing import EngineContract


class TestOwnConnection(EngineContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def setup_method(self) -> None:
        """The database comes with a fixture, which runs later."""

    @pytest.fixture(autouse=True)
    def _tables(self, _database: None) -> Iterator[None]:
        super().setup_method()
        self.run("ANALYZE")
        yield
        self.finish()

    def teardown_method(self) -> None:
        """The database is gone by then."""

    def finish(self) -> None:
        self.engine.close()

    def make_engine(self) -> PostgresEngine:
        return PostgresEngine.open(self.url)

    def make_bystander(self, engine: Engine) -> PostgresEngine:
        return PostgresEngine.open(self.url)

    def foreign(self, engine: Engine) -> Callable[[str], None]:
        def execute(sql: str) -> None:
            with PostgresEngine.open(self.url) as other:
                other.run(Rendered(sql))

        return execute


class TestBorrowed(TestOwnConnection):
    def make_engine(self) -> PostgresEngine:
        self.connection = psycopg.connect(self.url, autocommit=True)
        return PostgresEngine.borrow(self.connection)

    def finish(self) -> None:
        super().finish()
        # It stays the caller's.
        assert self.connection.execute("SELECT 1").fetchone() == (1,)
        self.connection.close()
