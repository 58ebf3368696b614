"""Every error that godb_fast raises on purpose. Each names the thing, the value and the way out."""

from __future__ import annotations

from typing import Any


def shown(value: Any) -> str:
    """A wrong argument in a message, not all of a long one."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - of whatever class it is; an integer may have too many digits
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= 60 else f"{text[:60]}… ({type(value).__name__})"


class GodbError(Exception):
    """Root of all errors of godb_fast."""


class InvalidInput(GodbError, ValueError):
    """An argument that cannot be planned: a negative row count, a graph with an unknown relation."""


class BackendUnavailable(GodbError, ImportError):
    """A kernel backend that was asked for by name cannot be loaded."""


class MissingDependency(GodbError, ImportError):
    """An optional package is needed for what was asked; the message names the extra to install."""


class MissingStatistics(GodbError, LookupError):
    """A table or column has no statistics."""


class StatisticsNotReady(GodbError):
    """Statistics are not loaded, and loading them takes longer than the caller would wait.

    Attributes
    ----------
    wanted : dict of str to tuple of str
        The columns to load, by table.
    """

    def __init__(self, message: str, wanted: dict[str, tuple[str, ...]]) -> None:
        super().__init__(message)
        self.wanted = wanted


class UnknownRelation(GodbError, LookupError):
    """A table, view or column that the engine does not have; the message offers near names."""


class SqlError(GodbError, ValueError):
    """A statement that cannot be parsed.

    Attributes
    ----------
    line, column : int or None
        Where, counted from 1, when that is known.
    """

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        message = super().__str__()
        if self.line is None or f"line {self.line}" in message:
            return message
        place = f"line {self.line}" if self.column is None else f"line {self.line}, column {self.column}"
        return f"{place}: {message}"


class EngineError(GodbError):
    """The engine refused or failed; its own message is kept, credentials are not."""


class ConnectionFailed(EngineError):
    """No connection: no such file, not a database, locked by another process, server unreachable."""


class SessionClosed(EngineError):
    """A session was used after it was closed."""


class QueryTimeout(EngineError, TimeoutError):
    """A statement ran past its time limit and was stopped."""


class QueryCancelled(EngineError):
    """A statement was stopped by its caller."""


class EngineBusy(EngineError):
    """A steered run would have waited too long for other statements of the instance; nothing was run."""


class Disturbed(EngineError):
    """Something else than the statement ended it: a standby's replay, or a conflict of transactions."""


class SchemaChanged(EngineError):
    """A steered result was discarded: when it was computed, the schema was not the one of its decision."""


class ResultTooLarge(EngineError):
    """A steered result outgrew the buffer in which it waits until it is complete."""


class StoreError(GodbError):
    """The feedback store cannot be used; queries go on without it."""


class ModelRefused(GodbError):
    """A model file that is not used; whatever served before goes on serving.

    Attributes
    ----------
    reason : str
        ``missing``, ``truncated``, ``tampered``, ``card``, ``features``, ``external_data``,
        ``sparse_initializer``, ``operator``, ``malformed``, ``exists``, ``unwritable`` or ``server``.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
