"""What a late cancellation does to the caller's transaction around a steered statement."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import fence

BROKEN = Rendered("SELECT 1 / 0", None, before=("SET LOCAL enable_mergejoin = 'off'",))


def stopped(url: str, asynchronous: bool) -> tuple[BaseException, TransactionStatus, Any]:
    """A steered statement fails in a transaction that has written; the error, and how the transaction is."""
    if not asynchronous:
        with psycopg.connect(url) as raw:
            raw.execute("CREATE TEMPORARY TABLE written AS SELECT 7 AS n")
            with pytest.raises(psycopg.Error) as caught:
                fence.run_on_cursor(raw, raw, raw.cursor(), BROKEN)
            status = raw.pgconn.transaction_status
            kept = None
            if status == TransactionStatus.INTRANS:
                kept = raw.execute("SELECT n, current_setting('enable_mergejoin') FROM written").fetchone()
            raw.rollback()
            assert raw.execute("SELECT 1").fetchone() == (1,)
        return caught.value, status, kept

    async def work() -> tuple[BaseException, TransactionStatus, Any]:
        async with await psycopg.AsyncConnection.connect(url) as raw:
            await raw.execute("CREATE TEMPORARY TABLE written AS SELECT 7 AS n")
            with pytest.raises(psycopg.Error) as caught:
                await fence.run_on_async_cursor(raw, raw.cursor(), BROKEN)
            status = raw.pgconn.transaction_status
            kept = None
            if status == TransactionStatus.INTRANS:
                found = await raw.execute("SELECT n, current_setting('enable_mergejoin') FROM written")
                kept = await found.fetchone()
            await raw.rollback()
            assert await (await raw.execute("SELECT 1")).fetchone() == (1,)
        return caught.value, status, kept

    return asyncio.run(work())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def around(monkeypatch: pytest.MonkeyPatch, first: str | None, undoing: str | None) -> None:
    """Statements in front of the savepoint, and in what goes back to it."""
    made = fence._around

    def changed(*given: Any) -> tuple[list[str], list[str], list[str]]:
        before, after, undo = made(*given)
        if first is not None:
            before = [first, *before]
        if undoing is not None:
            undo = [undo[0], undoing, *undo[1:]]
        return before, after, undo

    monkeypatch.setattr(fence, "_around", changed)


def test_after_an_error_the_transaction_is_as_it_was(postgres_url: str, asynchronous: bool) -> None:
    error, status, kept = stopped(postgres_url, asynchronous)
    assert isinstance(error, psycopg.errors.DivisionByZero)
    assert (status, kept) == (TransactionStatus.INTRANS, (7, "on"))


def test_stopped_before_its_savepoint(
    postgres_url: str, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to go back to: what is told is what stopped it, not that."""
    around(monkeypatch, "SELECT pg_cancel_backend(pg_backend_pid())", None)
    error, status, _ = stopped(postgres_url, asynchronous)
    assert isinstance(error, psycopg.errors.QueryCanceled)
    assert status == TransactionStatus.INERROR


def test_a_cancellation_that_is_heard_while_going_back(
    postgres_url: str, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("DROP SEQUENCE IF EXISTS heard; CREATE SEQUENCE heard")
        once = "SELECT pg_cancel_backend(pg_backend_pid()) WHERE nextval('heard') = 1"
        around(monkeypatch, None, once)
        error, status, kept = stopped(postgres_url, asynchronous)
        assert other.execute("SELECT last_value FROM heard").fetchone() == (2,)
        other.execute("DROP SEQUENCE heard")
    assert isinstance(error, psycopg.errors.DivisionByZero)
    assert (status, kept) == (TransactionStatus.INTRANS, (7, "on"))


def test_another_error_while_going_back_is_told(
    postgres_url: str, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    around(monkeypatch, None, "SELECT no_such_column")
    error, status, _ = stopped(postgres_url, asynchronous)
    assert isinstance(error, psycopg.errors.UndefinedColumn)
    assert isinstance(error.__context__, psycopg.errors.DivisionByZero)
    assert status == TransactionStatus.INERROR
