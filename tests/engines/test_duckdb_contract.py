"""The engine contract on DuckDB: an instance of our own, a file, and a borrowed connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from godb_fast.engines.base import Engine
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.testing import EngineContract


class TestOwnInstance(EngineContract):
    def make_engine(self) -> DuckDBEngine:
        return DuckDBEngine.open()

    def make_bystander(self, engine: Engine) -> DuckDBEngine:
        assert isinstance(engine, DuckDBEngine)
        return engine.cursor()

    def foreign(self, engine: Engine) -> Callable[[str], None]:
        assert isinstance(engine, DuckDBEngine)
        cursor = engine.cursor()

        def execute(sql: str) -> None:
            from godb_fast.engines.base import Rendered

            cursor.run(Rendered(sql))
            cursor.close()

        return execute


class TestOwnFile(TestOwnInstance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def setup_method(self) -> None:
        """The folder comes with a fixture, which runs later."""

    @pytest.fixture(autouse=True)
    def _tables(self, _folder: None) -> None:
        super().setup_method()

    def make_engine(self) -> DuckDBEngine:
        return DuckDBEngine.open(self.folder / "contract.db")


class TestBorrowed(EngineContract):
    def make_engine(self) -> DuckDBEngine:
        self.connection = duckdb.connect()
        return DuckDBEngine.borrow(self.connection)

    def foreign(self, engine: Engine) -> Callable[[str], None]:
        cursor = self.connection.cursor()

        def execute(sql: str) -> None:
            cursor.execute(sql)

        return execute

    def teardown_method(self) -> None:
        super().teardown_method()
        # It stays the caller's.
        assert self.connection.execute("SELECT 1").fetchall() == [(1,)]
        self.connection.close()
        del self.connection
