"""DuckDB connections with godb_fast in front: as the driver does it, and steered where the instance is ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from skewed import QUERY, SETUP, VALUES, Eager

from godb_fast.dbapi import connect, wrap
from godb_fast.errors import ConnectionFailed, InvalidInput
from godb_fast.optimizer import Policy
from godb_fast.store import open_store

#: Templates are planned when they are first seen.
NOW = Policy(background=False)
STEERED = QUERY.format("?", "?", "?")


@pytest.fixture
def site(tmp_path: Path) -> str:
    path = str(tmp_path / "site.duckdb")
    with duckdb.connect(path) as raw:
        raw.execute(SETUP)
    return path


class TestAsTheDriver:
    """Every mode gives what the bare driver gives, wrapped and opened."""

    @pytest.fixture(params=["off", "observe", "advise", "steer", "opened", "opened and steered"])
    def both(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
        for name in ("bare", "other"):
            with duckdb.connect(str(tmp_path / f"{name}.duckdb")) as raw:
                raw.execute(SETUP)
        path = str(tmp_path / "other.duckdb")
        with duckdb.connect(str(tmp_path / "bare.duckdb")) as bare:
            if request.param.startswith("opened"):
                made = connect(path, "steer" if "steered" in request.param else "advise", Eager(policy=NOW))
            else:
                made = wrap(duckdb.connect(path), request.param, Eager(policy=NOW))
            with made as wrapped:
                yield bare, wrapped
                assert "internal_errors" not in wrapped.optimizer.counters
                assert ("steered" in wrapped.optimizer.counters) <= ("steered" in request.param)

    @pytest.mark.parametrize(
        ("sql", "params"),
        [
            ("SELECT 1 AS one, 'text' AS two, NULL AS three, [1, 2] AS list, {'a': 1} AS struct", None),
            ("SELECT ? + 1 AS next, ?", [41, "a%b"]),
            ("SELECT $1 + 1, $1", [41]),
            ("SELECT $name, $name", {"name": "x"}),
            ("SELECT 1; SELECT 2 AS two", None),
            ("FROM account SELECT id ORDER BY id LIMIT 3", None),
            ("SELECT * FROM account WHERE id < ? ORDER BY id", [7]),
            ("CREATE TABLE made AS SELECT 1 AS x", None),
            ("SHOW TABLES", None),
            ("", None),
            ("/* app */ SELECT count(*) FROM post -- the end", None),
            (STEERED, list(VALUES)),
            (QUERY.format("$kind", "$state", "$city"), dict(zip(("kind", "state", "city"), VALUES, strict=True))),
        ],
    )  # fmt: skip
    def test_execute(self, both: tuple[Any, Any], sql: str, params: Any) -> None:
        seen = []
        for connection in both:
            rounds: list[Any] = []
            for _ in range(1 if "CREATE" in sql else 4):
                assert connection.execute(sql, params) is (connection if sql else None)
                described = [tuple(map(str, column)) for column in connection.description or ()]
                rounds.append((described, connection.rowcount))
                if sql:
                    rounds.append(connection.fetchall())
                    rounds.append(connection.fetchone())
            seen.append(rounds)
        assert seen[0] == seen[1]

    def test_fetching(self, both: tuple[Any, Any]) -> None:
        seen = []
        for connection in both:
            for _ in range(3):
                connection.execute(STEERED, VALUES)
                rows: list[Any] = [
                    connection.fetchone(),
                    connection.fetchmany(),
                    connection.fetchmany(3),
                    connection.fetchall(),
                    connection.fetchone(),
                ]
                for form in ("df", "fetchdf", "fetchnumpy", "to_arrow_table"):
                    given = getattr(connection.execute(STEERED, VALUES), form)()
                    rows.append({key: list(map(str, given[key])) for key in ("city", "votes", "least")})
            seen.append(rows)
        assert seen[0] == seen[1]

    def test_transactions_and_writing(self, both: tuple[Any, Any]) -> None:
        seen = []
        for connection in both:
            notes: list[Any] = []
            connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text VARCHAR)")
            assert (
                connection.executemany("INSERT INTO note VALUES (?, ?)", [[1, "a"], [2, "b"]]) is connection
            )
            assert connection.begin() is connection
            notes.append(connection.execute("INSERT INTO note VALUES (3, 'c')").fetchall())
            notes.append(connection.execute("SELECT count(*) FROM note").fetchone())
            for _ in range(3):
                notes.append(connection.execute(STEERED, VALUES).fetchall())
            connection.rollback()
            notes.append(connection.execute("SELECT count(*) FROM note").fetchone())
            connection.begin().execute("DELETE FROM note WHERE id = 1")
            connection.commit()
            notes.append(connection.execute("SELECT count(*) FROM note").fetchone())
            with pytest.raises(duckdb.ConstraintException):
                connection.execute("INSERT INTO note VALUES (2, 'again')")
            assert connection.commit() is connection
            seen.append(notes)
        assert seen[0] == seen[1]

    def test_errors_are_the_drivers(self, both: tuple[Any, Any]) -> None:
        seen = []
        for connection in both:
            messages = []
            for sql, params in (
                ("SELECT nothing FROM account a JOIN post p ON p.account = a.id", None),
                ("SELEC 1", None),
                ("SELECT * FROM no_such_table", None),
                ("SELECT error(a.city::VARCHAR) FROM account a JOIN post p ON p.account = a.id", None),
                ("SELECT ?", [1, 2]),
                ("SELECT ?", None),
            ):
                with pytest.raises(duckdb.Error) as raised:
                    connection.execute(sql, params).fetchall()
                messages.append((type(raised.value), str(raised.value)))
            with pytest.raises(AttributeError):
                _ = connection.no_such_attribute
            seen.append(messages)
        assert seen[0] == seen[1]

    def test_closed(self, both: tuple[Any, Any]) -> None:
        for connection in both:
            with connection.cursor() as cursor:
                assert cursor.execute("SELECT 1").fetchone() == (1,)
            with pytest.raises(duckdb.ConnectionException):
                cursor.execute("SELECT 1")
            with pytest.raises(duckdb.InvalidInputException):
                cursor.fetchone()
            assert connection.execute("SELECT 1").fetchone() == (1,)

    def test_cursors_are_apart(self, both: tuple[Any, Any]) -> None:
        for connection in both:
            first = connection.execute("SELECT range FROM range(10) ORDER BY 1")
            other = connection.cursor()
            assert other.execute("SELECT 'other'").fetchall() == [("other",)]
            assert first.fetchone() == (0,)
            del other
            assert len(first.fetchall()) == 9


class TestWrapped:
    def test_data_frames_of_the_caller(self) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"x": [1, 2, 3]})
        for mode in ("off", "observe", "advise", "steer"):
            with wrap(duckdb.connect(), mode) as connection:
                assert connection.execute("SELECT sum(x) FROM frame").fetchall() == [(6,)]
                assert connection.sql("SELECT max(x) FROM frame").fetchall() == [(3,)]
                with pytest.raises(duckdb.CatalogException):
                    connection.execute("SELECT * FROM arguments")
        assert len(frame) == 3

    def test_it_streams(self) -> None:
        with wrap(duckdb.connect(), "advise") as connection:
            begun = time.perf_counter()
            connection.execute("SELECT i FROM range(10_000_000_000) AS t(i)")
            assert connection.fetchmany(2) == [(0,), (1,)]
            # All ten thousand million rows would take minutes, and more memory than there is.
            assert time.perf_counter() - begun < 60

    def test_advice_is_made_beside_and_lets_go_of_the_file(self, site: str) -> None:
        connection = wrap(duckdb.connect(site), "advise")
        connection.execute(STEERED, VALUES).fetchall()
        assert connection.wait_advised()
        assert connection.optimizer.counters["advised"] == 1
        connection.execute("/* again */ " + STEERED, VALUES).fetchall()
        assert connection.wait_advised()
        assert connection.optimizer.counters["advised"] == 1
        connection.close()
        # Another configuration is refused as long as anybody has the file open.
        duckdb.connect(site, read_only=True).close()

    def test_observations(self, site: str, tmp_path: Path) -> None:
        store = open_store(tmp_path / "store.sqlite")
        with wrap(duckdb.connect(site), "observe", store=store) as connection:
            connection.execute("SELECT id FROM post ORDER BY id").fetchmany(10)
            connection.execute("SELECT id FROM vote").fetchall()
            connection.execute("SELECT id FROM account").df()
            with pytest.raises(duckdb.Error):
                connection.execute("SELECT nothing")
        assert store is not None
        assert store.flush()
        seen = [(entry.outcome, entry.rows) for entry in reversed(store.observations())]
        assert sorted(seen, key=str) == sorted(
            [("ok", None), ("ok", 10_000), ("ok", None), ("error", None)], key=str
        )
        store.close()

    def test_default_is_advise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GODB_FAST_MODE", raising=False)
        assert wrap(duckdb.connect()).mode == "advise"
        monkeypatch.setenv("GODB_FAST_MODE", "off")
        assert wrap(duckdb.connect()).mode == "off"
        with pytest.raises(InvalidInput, match="off, observe"):
            wrap(duckdb.connect(), "go")


class TestOpened:
    def test_steered_after_the_first_complete_run(self, site: str, tmp_path: Path) -> None:
        with duckdb.connect(site) as bare:
            expected = bare.execute(STEERED, VALUES).fetchall()
        store = open_store(tmp_path / "store.sqlite")
        optimizer = Eager(policy=NOW, store=store)
        with connect(f"duckdb:///{site}", "steer", optimizer) as connection:
            for _ in range(5):
                assert connection.execute(STEERED, VALUES).fetchall() == expected
            assert optimizer.counters["steered"] == 4, optimizer.counters
            with connection.cursor() as cursor:
                assert list(cursor.execute(STEERED, VALUES)) == expected
            assert optimizer.counters["steered"] == 5
            connection.begin()
            assert connection.execute(STEERED, VALUES).fetchall() == expected
            connection.commit()
            assert optimizer.counters["steered"] == 5
            assert connection.execute("SELECT current_setting('disabled_optimizers')").fetchone() == ("",)
        assert store is not None
        assert store.flush()
        assert sorted(entry.steered for entry in store.observations()).count(True) == 5
        store.close()

    def test_a_changed_table_is_noticed(self, site: str) -> None:
        optimizer = Eager(policy=NOW)
        with connect(site, "steer", optimizer) as connection:
            for _ in range(2):
                connection.execute(STEERED, VALUES).fetchall()
            assert optimizer.counters["steered"] == 1
            connection.begin()
            connection.execute("ALTER TABLE post ADD COLUMN extra INTEGER")
            connection.commit()
            connection.execute(STEERED, VALUES).fetchall()
            assert optimizer.counters["steered"] == 1

    def test_threads_have_cursors_of_their_own(self, site: str) -> None:
        optimizer = Eager(policy=NOW)
        with connect(site, "steer", optimizer) as connection:
            expected = connection.execute(STEERED, VALUES).fetchall()
            seen: list[Any] = []

            def work() -> None:
                with connection.cursor() as cursor:
                    for _ in range(5):
                        seen.append(cursor.execute(STEERED, VALUES).fetchall())

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert seen == [expected] * 15

    def test_what_cannot_be_opened(self, tmp_path: Path) -> None:
        with pytest.raises(ConnectionFailed):
            connect(str(tmp_path / "nowhere" / "x.duckdb"))
        with pytest.raises(InvalidInput, match="mysql"):
            connect("mysql://host/db")
