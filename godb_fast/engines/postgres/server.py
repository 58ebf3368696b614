"""What one connection tells of its server: environment, catalogue, statistics, and what can be asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from godb_fast.core import Statistics
from godb_fast.engines.base import Capabilities, Effects
from godb_fast.engines.dependencies import Dependencies
from godb_fast.engines.postgres import catalogue, effects
from godb_fast.engines.postgres.connection import Connection
from godb_fast.engines.postgres.dependencies import dependencies
from godb_fast.engines.postgres.environment import SETTINGS, Environment
from godb_fast.engines.postgres.facts import facts
from godb_fast.engines.postgres.load import LoadProbe
from godb_fast.engines.postgres.opening import Opener
from godb_fast.engines.postgres.settings import SteeringSettings
from godb_fast.engines.postgres.statements import reads
from godb_fast.engines.postgres.statistics import PostgresStatistics
from godb_fast.engines.postgres.validation import Validation

#: What was set in this session decides on plans.
_TUNED: Final = """
SELECT pg_catalog.count(*) > 0 FROM pg_catalog.pg_settings
 WHERE source = 'session' AND (pg_catalog.starts_with(category, 'Query Tuning')
    OR name IN ('work_mem', 'hash_mem_multiplier', 'temp_buffers', 'jit'))"""
#: Catalogues that connections of this process have read.
_schemas = catalogue.SharedSchemas()


class Server:
    """The part of a :class:`~godb_fast.engines.postgres.PostgresEngine` that its server tells.

    Parameters
    ----------
    connection : Connection
    opener : Opener or None
        What opened it; None for a caller's own.
    """

    def __init__(self, connection: Connection, opener: Opener | None = None) -> None:
        self._connection = connection
        self._opener = opener
        info = connection.raw.info
        self._version = str(info.parameter_status("server_version") or info.server_version).split()[0]
        self._environment = Environment(connection)
        self._incarnation = connection.incarnation
        self._capabilities: Capabilities | None = None
        self._hints = False
        self._settings: SteeringSettings | None = None
        self._schema: tuple[str, catalogue.PostgresSchema] | None = None
        self._statistics: PostgresStatistics | None = None
        self._epochs = catalogue.Epochs()
        self._load = LoadProbe()
        #: Round trips that the last validation of an epoch took beyond the statement's own.
        self.further_looks = 0
        # Asked for now, so that merely observing somebody's statements asks for nothing.
        self.environment()

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The server's version, such as ``18.4``."""
        return self._version

    @property
    def capabilities(self) -> Capabilities:
        """Join trees everywhere: settings hold for one transaction, and for nobody else."""
        if self._capabilities is None:
            self._capabilities = Capabilities(
                join_trees=True, isolated=True, profile=False, cancel=True, savepoints=True, whole=True
            )
        return self._capabilities

    def steering_settings(self) -> SteeringSettings:
        """What this server and role can be asked for; read once per connection."""
        self._forget_if_reopened()
        if self._settings is None:
            self._settings = SteeringSettings.discover(self._connection.ask)
            loaded = self._connection.ask(
                "SELECT pg_catalog.current_setting('pg_hint_plan.enable_hint', true)"
            )
            self._hints = loaded[0][0] in ("on", "force")
        return self._settings

    def facts(self) -> dict[str, Any]:
        """What a person wants to know of this server and role; a few small statements."""
        self.check_path()
        settings = self.steering_settings()
        pooled = self._opener is not None and self._opener.pooled
        return facts(self._connection.ask, settings, hints=self._hints, pooled=pooled)

    def load(self) -> tuple[float | None, float | None]:
        """Share of blocks that the cache held since the last look, and other statements that run now.

        A caller's own connection is not asked.
        """
        if self._opener is None:
            return None, None
        return self._load.look(self._connection.ask)

    def environment(self) -> str:
        """Database, search path, role and a hash of the settings that may change results.

        What the server reports unasked is as of now; the rest as of the last :meth:`schema_epoch`, which
        asks for it in the same round trip. So this costs none.
        """
        self._forget_if_reopened()
        return self._environment.text()

    def _forget_if_reopened(self) -> None:
        if self._incarnation != self._connection.incarnation:
            self._incarnation = self._connection.incarnation
            self._settings = None
            self._environment.forget()
            self._epochs = catalogue.Epochs()

    # -- the catalogue ------------------------------------------------------------------------------

    def schema_epoch(self) -> str:
        """A hash of everything that names can resolve to; each call asks the server.

        One round trip while nothing was committed on it since the last call, else two.
        """
        self._forget_if_reopened()
        return self._epochs.read(self._ask_with_environment)

    def check_path(self) -> None:
        """Whether statements on the catalogue mean what they say under the search path as it is now.

        Raises
        ------
        EngineError
            As :func:`~godb_fast.engines.postgres.catalogue.check_path`.
        """
        (row,) = self._connection.ask("SELECT pg_catalog.current_schemas(true)::pg_catalog.text[]")
        catalogue.check_path(row[0], self._connection.ask)

    def _ask_with_environment(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows, about = self._environment.asked_with(sql, params)
        self._forget_if_reopened()
        self._environment.look()
        self._environment.take(about)
        return rows

    @property
    def validates_in_passing(self) -> bool:
        """A round trip saved; see :mod:`~godb_fast.engines.postgres.validation`."""
        return True

    def questions(self) -> tuple[str, ...]:
        """What to ask behind a statement for epoch and environment; :meth:`answered` takes the rows."""
        self._forget_if_reopened()
        first, *more = self._epochs.questions()
        return (f"{first}, {SETTINGS}", *more)

    def validation(self, expected: str) -> Validation:
        """The validation of a statement that rests on an epoch, for who sends it himself."""
        return Validation(self, expected)

    def answered(self, answers: Sequence[list[tuple[Any, ...]]]) -> str | None:
        """The epoch by what was asked; None if it takes another look."""
        (row,), *more = answers
        self._environment.take(row[-3:])
        return self._epochs.answered([row[:-3]], *more)

    def schema(self) -> catalogue.PostgresSchema:
        """The catalogue at the current epoch."""
        epoch = self.schema_epoch()
        if self._schema is None or self._schema[0] != epoch:
            self._schema = epoch, self._read(epoch)
        return self._schema[1]

    def _read(self, epoch: str) -> catalogue.PostgresSchema:
        """The catalogue, as another connection has read it or from the server."""
        ask, environment = self._connection.ask, self.environment()
        shared = _schemas.get(environment, epoch, ask)
        if shared is not None:
            return shared
        begun = time.perf_counter()
        found = catalogue.read_schema(ask)
        took_ms = (time.perf_counter() - begun) * 1e3
        if self.schema_epoch() == epoch:
            # Nothing was committed while it was read.
            _schemas.keep(environment, epoch, found, took_ms)
        return found

    def tuned(self) -> bool:
        """Whether this session has planner settings of its own, which no other connection has."""
        return bool(self._connection.ask(_TUNED)[0][0])

    def reading_ms(self) -> float:
        """What reading the catalogue would take now, in ms, as far as that is known; asks nothing."""
        epoch = self._epochs.seen
        if self._schema is not None and self._schema[0] == epoch:
            return 0.0
        return _schemas.reading_ms(self.environment(), epoch)

    def get_ready(self) -> None:
        """Read what the first statement would wait for; a caller's own connection is not asked."""
        if self._opener is not None:
            effects.users_made(self._connection.ask, self.schema())
            self.steering_settings()

    def statistics(self) -> Statistics:
        """Row counts and column distributions, from the server's own statistics."""
        schema = self.schema()
        assert self._schema is not None
        if self._statistics is None or self._statistics.schema is not schema:
            self._statistics = PostgresStatistics(self._connection.ask, schema, self._schema[0])
        return self._statistics

    def effects(self, sql: str) -> Effects:
        """Whether a statement only reads, and whether its answer is the same under every plan."""
        return effects.judge(sql, self._connection.ask, self.schema())

    def dependencies(self, sql: str) -> Dependencies | None:
        """What a statement uses; the same for every role and search path for which its names mean the same.

        Role, search path and what makes a role a superuser are no part of it; the settings that results
        depend on are. On a standby it is what it is on its primary.
        """
        schema = self.schema()
        self._forget_if_reopened()
        place, *settings = self._environment.of_proofs()
        where = (place, schema.database, self._version, *settings)
        return dependencies(sql, self._connection.ask, schema, where)

    def may_be_planned(self, sql: str) -> bool:
        """Whether a statement begins as a query does.

        Before anything else nothing is asked: ``SET TRANSACTION`` must be the first in its transaction.
        """
        return reads(sql)

    def in_transaction(self) -> bool:
        """Whether a transaction is open on this connection (an aborted one counts)."""
        return self._connection.in_transaction()
