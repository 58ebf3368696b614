"""Which server and database a connection leads to, however its address was written.

What was proved on a database is kept under its name, so two spellings of one server should be one name, and
two servers never. No single fact that an ordinary role can learn tells that: the system identifier, which
``initdb`` draws, is the same on a standby and on every copy of the data files (a test system made of a
snapshot); an address is another server's tomorrow where a tunnel ends at ``localhost``. So:

- the spellings of this machine (``localhost``, ``127.0.0.1``, ``::1``, a socket's folder, a service that says
  one of them) are one where port, database *and* system identifier agree, and the identifier is part of the
  name: another server behind the same tunnel or port is another database;
- every other address counts as it is written: ``db.example`` and its IP are two names. That costs verifying
  again, and taking one server for another could cost much more.

Where the server does not tell its identifier (``pg_control_system`` is not there, or not for this role), an
address of this machine counts as it is written, too.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from godb_fast.engines.postgres.connection import Ask
from godb_fast.errors import EngineError

log = logging.getLogger("godb_fast")

#: NULL where there is no such function. Neither statement needs an operator: it is asked before the search
#: path is looked at.
_MAY_ASK: Final = (
    "SELECT pg_catalog.has_function_privilege("
    "pg_catalog.to_regprocedure('pg_catalog.pg_control_system()')::pg_catalog.oid, 'EXECUTE')"
)
_SYSTEM: Final = "SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS s"


def as_written(raw: Any) -> str:
    """``host:port/database`` of a driver's connection."""
    info = raw.info
    return f"{info.host}:{info.port}/{info.dbname}"


def system_identifier(ask: Ask) -> str | None:
    """What ``initdb`` drew for the server's data; None where it does not tell."""
    try:
        if ask(_MAY_ASK, ()) != [(True,)]:
            return None
        return str(ask(_SYSTEM, ())[0][0])
    except EngineError as error:
        # Not quite PostgreSQL, say; a lost connection is told by the statement that comes next.
        log.debug("the server does not tell its system identifier: %s", error)
        return None
