"""Rows of a statement that was sent with one row more than its LIMIT (:class:`godb_fast.core.Cut`)."""

from __future__ import annotations

from dataclasses import replace

from godb_fast.engines.base import EngineResult, Rendered
from godb_fast.evidence.answers import cut_is_certain
from godb_fast.sql.cut import narrowed


def kept(statement: Rendered, result: EngineResult) -> EngineResult | None:
    """The rows that the statement asked for; None if other rows than these might be kept by other plans."""
    cut = statement.cut
    if cut is None:
        return result
    if not cut_is_certain(result.rows, cut.limit, cut.positions(result.columns)):
        return None
    if len(result.rows) <= cut.limit:
        return result
    return replace(result, rows=list(result.rows[: cut.limit]), native=None)


def as_asked(statement: Rendered, dialect: str) -> str:
    """The statement's text without the row more: what somebody sends who cannot look at the rows."""
    return statement.sql if statement.cut is None else narrowed(statement.sql, dialect, statement.cut)


def uncertain(statement: Rendered) -> str:
    """What to say of an answer that is not certain."""
    assert statement.cut is not None
    return f"rows tie where LIMIT {statement.cut.limit} cuts, so which are kept depends on the plan"
