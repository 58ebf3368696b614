"""What a connection's decisions are kept under: database, role, search path and settings, as they are now.

Some of it the server reports unasked, and looking at that costs nothing; the rest is asked for along with the
schema epoch, in the same round trip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from godb_fast.engines.postgres.connection import Connection
from godb_fast.engines.postgres.identity import Identity
from godb_fast.engines.postgres.parameters import numbered
from godb_fast.engines.postgres.pipeline import Command
from godb_fast.errors import EngineError

#: What may change a result and is reported by the server unasked: it costs nothing to look at.
REPORTED: Final = (
    b"search_path",  # from 18 on
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"client_encoding",
    b"standard_conforming_strings",
    b"is_superuser",
    b"session_authorization",
)
#: Of these, what names and rights rest on: who asks, and where he looks.
OF_ROLE: Final = frozenset({b"search_path", b"is_superuser", b"session_authorization"})
#: What may change a result and has to be asked for.
ASKED: Final = (
    "role",
    "search_path",
    "extra_float_digits",
    "bytea_output",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "array_nulls",
    "xmlbinary",
    "xmloption",
    "transform_null_equals",
    "quote_all_identifiers",
    "row_security",
    "default_text_search_config",
    "timezone_abbreviations",
)
#: Without an operator (see :func:`~godb_fast.engines.postgres.catalogue.check_path`).
SETTINGS: Final = (
    "pg_catalog.current_setting('role'), pg_catalog.current_setting('search_path'), "
    + "pg_catalog.concat_ws('|', "
    + ", ".join(f"pg_catalog.current_setting('{name}')" for name in ASKED[2:])
    + ")"
)
_ENVIRONMENT: Final = Command(f"SELECT {SETTINGS}", own=True)


class Environment:
    """The environment of one connection.

    Not told of a connection that was opened anew: :meth:`forget` is for who notices.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._identity = Identity(connection.raw, connection.ask)
        self._reported: tuple[bytes | None, ...] = ()
        self._asked: tuple[str, ...] | None = None
        self._text = ""

    def forget(self) -> None:
        """The connection was opened anew: it may lead elsewhere, and has other settings."""
        self._asked = None
        self._identity.forget()

    def text(self) -> str:
        """Database, search path, role and a hash of the settings that may change results.

        What the server reports unasked is as of now, the rest as it was last asked for.
        """
        raw = self._connection.raw
        if not raw.closed:
            status = raw.pgconn.parameter_status
            reported = tuple([status(name) for name in REPORTED])
            if self._asked is None:
                self._ask()
            elif reported == self._reported:
                return self._text
            self._reported = reported
            self._text = self._label(reported)
        return self._text

    def of_proofs(self) -> tuple[str, ...]:
        """What proofs rest on of all this: which server it is, and the settings that results depend on.

        Role, search path and what makes a role a superuser are no part of it.
        """
        self.text()
        settings = [
            value for name, value in zip(REPORTED, self._reported, strict=False) if name not in OF_ROLE
        ]
        return self._identity.of_proofs(), repr(settings), (self._asked or ("?",))[-1]

    def asked_with(
        self, sql: str, params: Sequence[Any] = ()
    ) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
        """Rows of a statement of ours and, in the same round trip, what :meth:`take` takes."""
        text, values, formats = numbered(sql, params) if params else (sql, [], [])
        answer, about = self._connection.apart([Command(text, values, formats, own=True), _ENVIRONMENT])
        return answer.rows, about.rows[0]

    def take(self, asked: tuple[Any, ...]) -> None:
        """The answer to :data:`SETTINGS`, which were asked for along with something else."""
        if asked != self._asked:
            self._asked = asked
            self._reported = ()

    def look(self) -> None:
        """Ask the server who it is, once per connection, where its address alone does not tell."""
        if self._identity.look():
            self._reported = ()

    def _ask(self) -> None:
        try:
            self._asked = self._connection.apart([_ENVIRONMENT])[0].rows[0]
            self.look()
        except EngineError:
            # Nothing can be asked in an aborted transaction: the next schema epoch tells.
            self._asked = None

    def _label(self, reported: tuple[bytes | None, ...]) -> str:
        role, path, rest = self._asked or ("?", "?", "?")
        if role == "none":
            role = (reported[REPORTED.index(b"session_authorization")] or b"?").decode("utf-8", "replace")
        if reported[0] is not None:
            path = reported[0].decode("utf-8", "replace")
        digest = hashlib.blake2b(repr((reported, rest)).encode(), digest_size=6).hexdigest()
        place, identifier = self._identity.name
        system = f" system={identifier}" if identifier else ""
        return f"{place} role={role} search_path={path}{system} settings={digest}"
