"""Which server and database a connection leads to, however its address was written.

What is learned on a database is kept under its name, so two spellings of one server should be one name, and
two servers never. No single fact that an ordinary role can learn tells that: the system identifier, which
``initdb`` draws, is the same on a standby and on every copy of the data files (a test system made of a
snapshot); an address is another server's tomorrow where a tunnel ends at ``localhost``. So:

- the spellings of this machine (``localhost``, ``127.0.0.1``, ``::1``, a socket's folder, a service that says
  one of them) are one where port, database *and* system identifier agree, and the identifier is part of the
  name: another server behind the same tunnel or port is another database;
- every other address counts as it is written: ``db.example`` and its IP are two names. That costs learning
  again, and taking one server for another could cost much more.

What was *proved* of a statement goes farther than a name: it serves wherever the statement uses the same
(:mod:`godb_fast.engines.dependencies`), and there the system identifier and the database's name stand for the
server. So what was proved on a standby serves its primary, and the other way round, through any address, and
after the one has taken the other's place.

A copy of the data files that goes its own way (a test system out of a backup) has the same identifier. What
was proved there serves here, too, and that is meant, as long as it is a copy: of the same version and
definitions, with as many rows to a tenth, and not analysed at another time than the original. One ANALYZE of
its own, of a table that a statement uses, sets them apart for that statement, whichever of them was proved
on; so does growth. What remains is a copy that nobody has analysed whose rows are as many but others, or
whose machine is another: a plan proved there may be slow here, as on a standby with other settings. Such a
plan answers the same, runs under the watchdog, and is given up by all once it fails. The timeline tells no
copy either: one started from a snapshot goes on with that of the original, while a standby that takes over
begins a new one, and would lose all that was proved. A database is meant by its name and not by its oid, as
tables are: one that is made anew each night keeps its proofs.

Where the server does not tell its identifier (``pg_control_system`` is not there, or not for this role), an
address counts as it is written, for names and for proofs.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from godb_fast.engines.addresses import is_here, plainly
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


class Identity:
    """What one connection leads to; the server is asked once, and again after :meth:`forget`.

    Parameters
    ----------
    raw : psycopg.Connection
    ask : callable
        Runs statements of ours.
    """

    def __init__(self, raw: Any, ask: Ask) -> None:
        self._written = as_written(raw)
        self._here = is_here(self._written)
        self._ask = ask
        self._asked = False
        self._system: str | None = None

    def forget(self) -> None:
        """The connection was opened anew: it may lead elsewhere now."""
        self._asked = False

    def look(self) -> bool:
        """Ask the server for what its name rests on, if its address does not tell; whether it was asked."""
        if self._asked or not self._here:
            return False
        self._identify()
        return True

    def _identify(self) -> None:
        self._system = system_identifier(self._ask)
        self._asked = True

    @property
    def name(self) -> tuple[str, str]:
        """``host:port/database``, and the system identifier where that is part of the name, else nothing."""
        if not self._here or self._system is None:
            return self._written, ""
        return plainly(self._written), self._system

    def of_proofs(self) -> str:
        """What stands for the server in what was proved; the server is asked if it was not yet."""
        if not self._asked:
            self._identify()
        return self._written if self._system is None else f"system {self._system}"


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
