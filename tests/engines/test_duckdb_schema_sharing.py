"""Connections to one instance share what one of them has read of the catalogue, as long as they see the same."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine, engine
from godb_fast.engines.registry import open_engine


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Epochs at which a catalogue was read."""
    epochs: list[str] = []
    made = engine.DuckDBSchema

    def noting(connection: object, epoch: str) -> object:
        epochs.append(epoch)
        return made(connection, epoch)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "DuckDBSchema", noting)
    return epochs


def opened(path: Path) -> DuckDBEngine:
    found = open_engine(str(path))
    assert isinstance(found, DuckDBEngine)
    return found


def test_one_reads_for_all(tmp_path: Path, read: list[str]) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("CREATE TABLE a (n INT)")
    with opened(tmp_path / "a.duckdb") as one:
        assert one.schema().resolve(("a",)) is not None
        twin = one.twin()
        assert twin.schema() is one.schema()
        assert twin.reading_ms() == 0.0
        assert len(read) == 1
        one.run(Rendered("CREATE TABLE b (n INT)"))
        one.schema_epoch()
        assert one.reading_ms() > 0.0
        assert twin.schema().resolve(("b",)) is not None
        assert one.reading_ms() == 0.0
        assert one.schema() is twin.schema()
        assert len(read) == 2
        twin.close()


def test_what_one_alone_sees_stays_its_own(tmp_path: Path, read: list[str]) -> None:
    with opened(tmp_path / "a.duckdb") as one:
        twin = one.twin()
        one.run(Rendered("CREATE TEMPORARY TABLE own (n INT)"))
        assert one.schema().resolve(("own",)) is not None
        assert twin.schema().resolve(("own",)) is None
        # Within a transaction, and after it was given up.
        one.run(Rendered("BEGIN"))
        one.run(Rendered("CREATE TABLE later (n INT)"))
        assert one.schema().resolve(("later",)) is not None
        assert twin.schema().resolve(("later",)) is None
        one.run(Rendered("ROLLBACK"))
        assert one.schema().resolve(("later",)) is None
        twin.close()


def test_a_borrowed_connection_reads_for_itself(read: list[str]) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE a (n INT)")
        first, second = open_engine(connection), open_engine(connection)
        assert isinstance(first, DuckDBEngine)
        assert first.reading_ms() == 0.0
        assert first.schema().resolve(("a",)) is not None
        assert second.schema().resolve(("a",)) is not None
        assert len(read) == 2
