"""States that several processes keep: none writes over what another one learned."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from godb_fast.errors import InvalidInput, StoreError
from godb_fast.store import SqliteStore
from godb_fast.store.plans import pack
from godb_fast.store.states import SharedState


class Counts:
    """A state of names and numbers; of two processes' the sum is right."""

    def __init__(self, store: SqliteStore) -> None:
        self.shared: SharedState = store.corrections.shared("duckdb", "d")
        self.counts: dict[str, int] = dict(self.shared.read() or {})

    def add(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def take_in(self, before: dict[str, Any] | None, theirs: dict[str, Any]) -> None:
        for name, number in theirs.items():
            self.add(name, number - (before or {}).get(name, 0))

    def write(self) -> None:
        self.shared.write(lambda: dict(self.counts), self.take_in)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "store.sqlite")


def test_what_others_wrote_is_taken_in_first(store: SqliteStore) -> None:
    one, two = Counts(store), Counts(store)
    assert not store.path.exists()
    one.add("a")
    one.write()
    two.add("b")
    two.write()
    one.add("a")
    one.write()
    # Nothing new: what is kept stays.
    two.write()
    assert one.counts == two.counts == store.corrections.saved("duckdb", "d") == {"a": 2, "b": 1}


def test_many_at_once_lose_nothing(store: SqliteStore) -> None:
    writers = [Counts(store) for _ in range(4)]

    def work(writer: Counts, name: str) -> None:
        for _ in range(10):
            writer.add(name)
            writer.write()

    threads = [
        threading.Thread(target=work, args=(writer, name))
        for writer, name in zip(writers, "abcd", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.corrections.saved("duckdb", "d") == dict.fromkeys("abcd", 10)


def test_two_threads_of_a_process_take_nothing_in_twice(store: SqliteStore) -> None:
    one, two = Counts(store), Counts(store)
    two.add("b", 7)
    two.write()
    threads = [threading.Thread(target=one.write) for _ in range(4)]
    take_in = one.take_in

    def slowly(before: dict[str, Any] | None, theirs: dict[str, Any]) -> None:
        time.sleep(0.1)
        take_in(before, theirs)

    one.take_in = slowly  # type: ignore[method-assign]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.counts == {"b": 7}


def test_who_is_beaten_again_and_again_has_the_others_wait(store: SqliteStore) -> None:
    one, two = Counts(store), Counts(store)
    beaten = []

    def meanwhile() -> dict[str, int]:
        if len(beaten) < 3:
            beaten.append(two)
            two.add("b")
            two.write()
        return dict(one.counts)

    one.add("a")
    one.shared.write(meanwhile, one.take_in)
    assert len(beaten) == 3
    assert store.corrections.saved("duckdb", "d") == {"a": 1, "b": 3}
    two.write()
    assert two.counts == {"a": 1, "b": 3}


def test_what_fails_while_others_wait_leaves_what_was_kept(store: SqliteStore) -> None:
    one, two = Counts(store), Counts(store)
    made = []

    def fails() -> dict[str, int]:
        made.append(1)
        if len(made) > 3:
            raise StoreError("the disk is full")
        two.add("b")
        two.write()
        return dict(one.counts)

    one.add("a")
    with pytest.raises(StoreError, match="the disk is full"):
        one.shared.write(fails, one.take_in)
    assert store.corrections.saved("duckdb", "d") == {"b": 3}
    # Nobody waits any longer.
    two.add("b")
    two.write()
    assert store.corrections.saved("duckdb", "d") == {"b": 4}


def test_what_cannot_be_read_stays_as_it_is(store: SqliteStore) -> None:
    one = Counts(store)
    store.corrections.save("duckdb", "d", {"of": "a later version"})

    def refuses(before: dict[str, Any] | None, theirs: dict[str, Any]) -> None:
        raise InvalidInput("format 99")

    with pytest.raises(StoreError, match="cannot be read here, and stay as they are: format 99"):
        one.shared.write(dict, refuses)
    assert store.corrections.saved("duckdb", "d") == {"of": "a later version"}


def test_what_was_forgotten_meanwhile_is_begun_anew(store: SqliteStore) -> None:
    one = Counts(store)
    one.add("a")
    one.write()
    store.corrections.forget("duckdb", "d")
    one.add("a")
    one.write()
    assert store.corrections.saved("duckdb", "d") == {"a": 2}


@pytest.mark.parametrize(
    "stored",
    [-1, 2**62, 1.5, "text", b"", b"no state", *map(pack, ([1], None, "x", 5))],
    ids=["-1", "2**62", "real", "text", "empty", "bytes", "list", "null", "string", "number"],
)
def test_what_is_no_state_is_refused_and_stays(store: SqliteStore, stored: object) -> None:
    one = Counts(store)
    one.add("a")
    one.write()
    with store.corrections._using() as connection:
        connection.execute("UPDATE corrections SET state = ?", (stored,))
    one.add("a")
    for ask in (
        lambda: store.corrections.saved("duckdb", "d"),
        store.corrections.shared("duckdb", "d").read,
        one.write,
    ):
        with pytest.raises(StoreError, match=r"corrections of d in store .* are damaged .*; forget them"):
            ask()
    with store.corrections._using() as connection:
        assert connection.execute("SELECT state FROM corrections").fetchall() == [(stored,)]
    store.corrections.forget("duckdb", "d")
    one.write()
    assert store.corrections.saved("duckdb", "d") == {"a": 2}
