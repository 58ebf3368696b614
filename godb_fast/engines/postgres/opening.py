"""Opening connections: URLs as libpq reads them, and passwords that never come back out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from godb_fast.engines.postgres.advice import advice
from godb_fast.engines.postgres.driver import import_psycopg, message_of, scrubbed
from godb_fast.errors import ConnectionFailed, InvalidInput

#: A password, or what gives one each time a connection is opened.
Password: TypeAlias = "str | Callable[[], str] | None"

#: Seconds to wait for a server, unless the URL or PGCONNECT_TIMEOUT says otherwise.
CONNECT_TIMEOUT_S: Final = 30
_LOGIN: Final = re.compile(r"^[a-z]+://[^/?#]*?:(?P<password>[^/?#]*)@", re.IGNORECASE)
_SECRET: Final = re.compile(r"(?:ssl)?password=([^&#\s]+)", re.IGNORECASE)


class Opener:
    """Opens connections to one URL, now and after one is lost.

    Parameters
    ----------
    url : str
        ``postgresql://…`` or ``postgres://…``.
    read_only : bool
        Transactions of these connections may not write.
    password : str or callable, optional
        Overrides the URL's.

    Raises
    ------
    InvalidInput
        If the URL cannot be read.
    """

    def __init__(self, url: str, read_only: bool = False, password: Password = None) -> None:
        psycopg = import_psycopg()
        if not url.lower().startswith(("postgresql://", "postgres://")):
            raise InvalidInput("a PostgreSQL URL begins with postgresql://")
        self.read_only = read_only
        #: Found when a connection is opened to only read: a pool (PgBouncer) stands before the server.
        self.pooled = False
        self._password = password
        written = list(_SECRET.findall(url))
        if (login := _LOGIN.match(url)) is not None:
            written.append(login["password"])
        secrets = [*written, *map(unquote, written)]
        try:
            self.parameters: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            message = scrubbed(message_of(error), (*secrets, url))
            raise InvalidInput(
                f"this URL cannot be read: {message}; write postgresql://user@host:5432/database"
            ) from None
        known = self.parameters.get("password")
        self.secrets: tuple[str, ...] = tuple(
            text for text in dict.fromkeys([*secrets, str(known or "")]) if text
        )

    def __call__(self) -> Any:
        """A new connection, in autocommit mode.

        Raises
        ------
        ConnectionFailed
            With the driver's reason, and without the password.
        """
        psycopg = import_psycopg()
        parameters = dict(self.parameters)
        if self._password is not None:
            parameters["password"] = self._password() if callable(self._password) else self._password
            if parameters["password"]:
                self.secrets = tuple(dict.fromkeys([*self.secrets, str(parameters["password"])]))
        parameters.setdefault("fallback_application_name", "godb_fast")
        # Else a database in SQL_ASCII gives bytes where there is text.
        if "PGCLIENTENCODING" not in os.environ:
            parameters.setdefault("client_encoding", "UTF8")
        if "PGCONNECT_TIMEOUT" not in os.environ:
            parameters.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
        try:
            # Never prepared: behind a pool the next transaction may be another server connection's, and a
            # prepared statement's generic plan would hide what its literals need.
            raw = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            message = scrubbed(message_of(error), self.secrets)
            helps = advice(error, message)
            between = "\n" if "\n" in message else "; "
            raise ConnectionFailed(f"no connection: {message}{between if helps else ''}{helps}") from None
        try:
            if raw.info.server_version < 130000:
                raise ConnectionFailed(
                    f"PostgreSQL {raw.info.server_version // 10000} is not supported; 13 or newer is"
                )
            if self.read_only:
                told = raw.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
                # Behind a pool the setting would stay with the server connection, for whoever comes next.
                self.pooled = told is not None and told[0] != raw.info.backend_pid
                if not self.pooled:
                    raw.execute("SET default_transaction_read_only = on")
        except BaseException:
            raw.close()
            raise
        return raw

    def __repr__(self) -> str:
        shown = {name: self.parameters.get(name) for name in ("host", "port", "dbname", "user", "service")}
        return f"Opener({', '.join(f'{name}={value!r}' for name, value in shown.items() if value)})"
