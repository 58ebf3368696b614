"""What to do about a connection that cannot be had: libpq says what is wrong, and seldom what helps."""

from __future__ import annotations

import re
from typing import Any, Final

_SOURCES: Final = "PGPASSFILE (~/.pgpass), PGPASSWORD, a service or the URL"
_NO_PASSWORD: Final = f"give a password in {_SOURCES}"
#: What libpq or the server says → what to do; the first that is found counts.
_KNOWN: Final = (
    (r"no password supplied", _NO_PASSWORD),
    (
        r"(?:password|SCRAM|peer|ident)\b.* authentication failed|SASL authentication failed",
        f"check role and password, which come from {_SOURCES}",
    ),
    (r'database ".*" does not exist', "name another one: psql -l lists them"),
    (r'role ".*" does not exist', "name another role: postgresql://ROLE@host/database"),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "the server lets this role in from here once a line of its pg_hba.conf says so",
    ),
    (r"permission denied for database", "its owner or a superuser can GRANT CONNECT ON DATABASE"),
    (
        r"definition of service .* not found|service file .* not found",
        "services are read from the file that PGSERVICEFILE names, else from ~/.pg_service.conf",
    ),
    (
        r"too many (?:clients|connections)|connection slots",
        "close other connections, or go through a pool",
    ),
    (r"starting up|shutting down|not accepting connections|in recovery mode", "try again in a moment"),
    (
        r"could not translate host name|failed to resolve|name or service not known",
        "check the name of the host",
    ),
    (
        r"connection refused|no such file or directory",
        "nothing listens there: check host and port, and start the server",
    ),
    (
        r"timeout expired|timed out|no route to host|unreachable",
        "no answer: check host, port and firewall (connect_timeout=SECONDS in the URL waits longer)",
    ),
    (r"\bSSL\b|certificate", "check sslmode and sslrootcert in the URL"),
)
_PATTERNS: Final = tuple((re.compile(pattern, re.IGNORECASE), helps) for pattern, helps in _KNOWN)


def advice(error: Any, message: str) -> str:
    """What helps against an error of connecting; empty where nothing in particular does."""
    for pattern, helps in _PATTERNS:
        if pattern.search(message):
            return helps
    # The server may speak another language; the protocol tells that a password was asked for.
    pgconn = getattr(error, "pgconn", None)
    return _NO_PASSWORD if pgconn is not None and pgconn.needs_password else ""
