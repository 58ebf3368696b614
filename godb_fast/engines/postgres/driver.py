"""psycopg, imported when a PostgreSQL engine is made, and its errors in our terms."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, quote_plus

from godb_fast.errors import (
    ConnectionFailed,
    Disturbed,
    EngineError,
    GodbError,
    InvalidInput,
    MissingDependency,
    QueryCancelled,
    QueryTimeout,
)

#: SQLSTATE of a statement that was stopped, by whomever.
STOPPED: Final = "57014"
#: A statement whose parameters are not given; the connection is as good as before.
UNBOUND: Final = "08P01"
#: A standby's replay or a conflict between transactions ended a statement: that says nothing of its plan.
DISTURBED: Final = frozenset({"40001", "40P01"})
#: A table or view that does not exist.
NO_TABLE: Final = "42P01"
#: A right that this role does not have.
DENIED: Final = "42501"
#: The server shuts down, crashed, or is not yet there.
_GONE: Final = frozenset({"57P01", "57P02", "57P03", "57P05"})


def import_psycopg() -> Any:
    """The driver.

    Raises
    ------
    MissingDependency
        If it is not installed, or older than 3.2.
    """
    try:
        import psycopg
    except ImportError as error:
        raise MissingDependency(
            f'PostgreSQL needs psycopg 3 ({error}); pip install "godb_fast[postgres]"'
        ) from error
    version = tuple(int(part) for part in psycopg.__version__.split(".")[:2])
    if version < (3, 2):
        raise MissingDependency(
            f'psycopg {psycopg.__version__} is too old; pip install "godb_fast[postgres]" for 3.2 or newer'
        )
    return psycopg


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """A message without passwords, spelled plainly or as in a URL."""
    for secret in sorted(secrets, key=len, reverse=True):
        for spelling in {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}:
            if spelling:
                text = text.replace(spelling, "***")
    return text


def sqlstate(error: BaseException | None) -> str | None:
    """The five letters by which the server names an error; None if it is not the server's."""
    found = getattr(error, "sqlstate", None)
    return found if isinstance(found, str) else None


def is_lost(error: BaseException, raw: Any) -> bool:
    """Whether the connection is gone with this error."""
    if raw.closed:
        return True
    state = sqlstate(error)
    return state is not None and (state in _GONE or (state.startswith("08") and state != UNBOUND))


def translated(error: Exception, raw: Any, secrets: tuple[str, ...] = ()) -> GodbError:
    """An error of the driver in our terms, with the server's message."""
    if isinstance(error, GodbError):
        return error
    message = scrubbed(message_of(error), secrets)
    if is_lost(error, raw):
        return ConnectionFailed(f"the connection to the server is lost: {message}")
    if sqlstate(error) == STOPPED:
        if "statement timeout" in message:
            return QueryTimeout(f"stopped by the server's own statement_timeout: {message}")
        return QueryCancelled(f"stopped by the server: {message}")
    if sqlstate(error) in DISTURBED:
        return Disturbed(message)
    if sqlstate(error) == DENIED and message.startswith("permission denied for ") and "\n" not in message:
        return EngineError(f"{message} (its owner can GRANT that right to this role)")
    if isinstance(error, UnicodeError):
        return EngineError(f"text that the connection's encoding cannot carry: {message}")
    return EngineError(message)


def blames_no_plan(error: BaseException) -> bool:
    """Whether an error of a steered run says nothing of its plan: the connection was in no state to run it.

    A standby's replay, a conflict, another transaction than there was when it was decided (classes 25 and
    3B), or an error that is the driver's own.
    """
    state = sqlstate(error)
    return state is None or state in DISTURBED or state[:2] in ("25", "3B")


def message_of(error: BaseException) -> str:
    """What the server says, with its detail, its hint, and the place that it quotes."""
    return str(error).strip() or type(error).__name__


def check_connection(connection: Any) -> None:
    """Refuse what is not a synchronous psycopg 3 connection.

    Raises
    ------
    InvalidInput
        Naming what to do instead.
    """
    psycopg = import_psycopg()
    if isinstance(connection, psycopg.AsyncConnection):
        raise InvalidInput(
            "a Session is synchronous: put godb_fast.dbapi.wrap() around an AsyncConnection, or give a URL "
            "and call the session in a worker thread (asyncio.to_thread)"
        )
    if not isinstance(connection, psycopg.Connection):
        raise InvalidInput(f"{type(connection).__name__} is not a psycopg connection")
