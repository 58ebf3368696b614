"""What a standby's replay ends is done again, and is no fault of the statement's."""

from __future__ import annotations

import pytest

from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import Disturbed, EngineError
from godb_fast.exploring.subjects import Broken, LiveQuery, Subject, examine
from godb_fast.exploring.undisturbed import ATTEMPTS, undisturbed


def ending(times: int, error: Exception):
    """A call that so many attempts of are ended."""
    tries: list[int] = []

    def call() -> int:
        tries.append(1)
        if len(tries) <= times:
            raise error
        return len(tries)

    return call, tries


def test_it_is_tried_again_until_it_is_left_in_peace() -> None:
    call, _ = ending(ATTEMPTS - 1, Disturbed("conflict with recovery"))
    assert undisturbed(call) == ATTEMPTS
    call, tries = ending(ATTEMPTS, Disturbed("conflict with recovery"))
    with pytest.raises(Disturbed):
        undisturbed(call)
    assert len(tries) == ATTEMPTS
    call, tries = ending(1, EngineError("no such table"))
    with pytest.raises(EngineError, match="no such table"):
        undisturbed(call)
    assert len(tries) == 1


@pytest.mark.parametrize("times", [1, ATTEMPTS])
def test_reading_a_statement_is_too(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with DuckDBEngine.open() as engine:
        engine.run(Rendered("CREATE TABLE item AS SELECT i AS id FROM range(100) t(i)"))
        call, _ = ending(times, Disturbed("canceling statement due to conflict with recovery"))
        plain = engine.effects
        monkeypatch.setattr(engine, "effects", lambda sql: call() and plain(sql))
        found = examine(engine, LiveQuery("q", "SELECT count(*) FROM item"))
    if times < ATTEMPTS:
        assert isinstance(found, Subject)
    else:
        assert "conflict with recovery" in str(found)
        assert not isinstance(found, (Broken, Subject))
