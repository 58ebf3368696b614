"""Plans of statements, as they are written or under a steering: explained, analysed, rendered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from godb_fast.core import JoinTree, PhysicalPlan, Steering, Template
from godb_fast.engines.arms import Arm
from godb_fast.engines.base import TEMPORARY_MOST_BYTES, CancelToken, Parameters, Rendered
from godb_fast.engines.postgres import arms, plans, trees
from godb_fast.engines.postgres.catalogue import PostgresSchema
from godb_fast.engines.postgres.connection import GRACE_S
from godb_fast.engines.postgres.driver import NO_TABLE, UNBOUND, sqlstate
from godb_fast.engines.postgres.parameters import doubled
from godb_fast.engines.postgres.pipeline import Command
from godb_fast.engines.postgres.rendering import hint_comment, leading_comments, render_steered
from godb_fast.engines.postgres.server import Server
from godb_fast.engines.postgres.settings import limited, parse
from godb_fast.engines.postgres.settings import statement as setting_statement
from godb_fast.engines.postgres.statements import check_reads
from godb_fast.errors import EngineError, InvalidInput, SqlError
from godb_fast.sql import fingerprint
from godb_fast.sql.fingerprint import has_several_statements

_MISSING: Final = re.compile(r'^relation "(?P<name>[^\n]+)" does not exist')
#: Parameters without values: unknown to EXPLAIN, or missing when it is bound.
_UNBOUND: Final = ("42P02", UNBOUND)
_TEMPORARY_MOST_KB: Final = TEMPORARY_MOST_BYTES // 1024
#: EXPLAIN (GENERIC_PLAN) came with 16.
_GENERIC_PLANS: Final = 160000


class Explaining(Server):
    """The part of a :class:`~godb_fast.engines.postgres.PostgresEngine` that deals with plans."""

    dialect = "postgres"

    # -- asking for plans ---------------------------------------------------------------------------

    def explain(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The engine's own plan, not executed.

        A statement whose parameters are not given gets its generic plan (from 16 on).

        Raises
        ------
        QueryTimeout
            If planning alone takes longer than ``timeout_s``.
        EngineError
            If PostgreSQL refuses the statement.
        """
        return self._explain(Rendered(sql, params), timeout_s)

    def explain_steered(self, statement: Rendered, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The plan that a steered statement gets under its settings, as it will be sent; not executed."""
        return self._explain(statement, timeout_s)

    def _explain(self, statement: Rendered, timeout_s: float | None) -> PhysicalPlan:
        try:
            return self._explained(self._explain_command(statement), statement, timeout_s)
        except EngineError as error:
            unbound = statement.params is None and sqlstate(error.__cause__) in _UNBOUND
            supported = self._connection.raw.info.server_version >= _GENERIC_PLANS
            # By the simple protocol only, the other one wants values; so not where an error would abort.
            if not unbound:
                raise
            if not supported or statement.before or self.in_transaction():
                later = "" if supported else " (from PostgreSQL 16 on there is a plan for all values)"
                raise EngineError(
                    f"the statement has parameters without values: write literals in their place{later}"
                ) from error.__cause__
            # That protocol takes several statements, and would run the others.
            if has_several_statements(fingerprint(statement.sql, self.dialect)):
                raise
        sql = f"EXPLAIN (FORMAT JSON, GENERIC_PLAN) {statement.sql}"
        with self._connection.stoppable(timeout_s, None) as stopper:
            return plans.physical_plan(self._connection.execute(sql, None, None, stopper).rows[0][0])

    def _explained(self, command: Command, statement: Rendered, timeout_s: float | None) -> PhysicalPlan:
        settings = limited(parse(statement.before), timeout_s)
        with self._connection.stoppable(timeout_s, None, grace_s=GRACE_S):
            answer = self._connection.apart([command], settings)[0]
        return plans.physical_plan(answer.rows[0][0])

    def check(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> None:
        """Parse and bind one statement of any kind; nothing is executed. A text of several is let pass.

        Raises
        ------
        QueryTimeout
            If that takes longer than ``timeout_s``.
        EngineError
            If PostgreSQL would refuse it, with its own words and the place.
        """
        try:
            if has_several_statements(fingerprint(sql, self.dialect)):
                return
        except SqlError as error:
            raise EngineError(str(error)) from error
        sent = self._connection.command(sql, params)
        parsed = Command(sent.sql, sent.values, sent.formats, own=True, parse_only=True)
        try:
            with self._connection.stoppable(timeout_s, None, grace_s=GRACE_S):
                self._connection.apart([parsed], limited((), timeout_s))
        except EngineError as error:
            near = _near_names(error, self.schema) if sqlstate(error.__cause__) == NO_TABLE else ""
            raise (EngineError(f"{error}{near}") if near else error) from error.__cause__

    def _explain_command(self, statement: Rendered, options: str = "FORMAT JSON") -> Command:
        sent = self._connection.command(statement.sql, statement.params)
        return Command(f"EXPLAIN ({options}) {sent.sql}", sent.values, sent.formats, own=True)

    def analyze(
        self,
        statement: Rendered,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
    ) -> PhysicalPlan:
        """Execute a statement that only reads for its actual rows and times; its result is thrown away.

        For runs that somebody pays for: a user's own execution never costs this.

        Raises
        ------
        QueryTimeout, QueryCancelled, EngineError
        """
        check_reads(statement.sql)
        settings = limited(parse(statement.before), timeout_s)
        command = self._explain_command(statement, "ANALYZE, BUFFERS, SETTINGS, FORMAT JSON")
        with self._connection.stoppable(timeout_s, cancel, grace_s=GRACE_S) as stopper:
            replies = self._connection.apart([command], settings, read_only=True, stopper=stopper)
        return plans.physical_plan(replies[0].rows[0][0])

    def default_trees(
        self, template: Template, plan: PhysicalPlan, literals: Sequence[Any] | None = None
    ) -> dict[int, JoinTree]:
        """Join tree per block of the engine's plan, for the blocks where it can be told."""
        return trees.default_trees(template, plan, literals)

    def obeyed(
        self,
        template: Template,
        steering: Steering,
        plan: PhysicalPlan,
        literals: Sequence[Any] | None = None,
    ) -> bool | None:
        """Whether a plan follows the steering's join trees; None if that cannot be told."""
        return trees.obeyed(template, steering, plan, literals)

    # -- steering -----------------------------------------------------------------------------------

    def render(
        self, template: Template, literals: Sequence[Any], steering: Steering, params: Parameters = None
    ) -> Rendered:
        """The statement under a steering, with the settings that make PostgreSQL follow it.

        Raises
        ------
        InvalidInput
            If the steering does not fit the template, or asks for what this server or role cannot do.
        """
        settings = self.steering_settings()
        return render_steered(
            template,
            literals,
            steering,
            params,
            settings,
            numbers=self._connection.takes_numbers(),
            hints=self._hints,
        )

    def with_comments(self, rendered: Rendered, sql: str) -> Rendered:
        """A rendered statement with the comments in front of ``sql``, which tracing tools read."""
        comments = leading_comments(sql)
        if not comments:
            return rendered
        if rendered.params is not None and not self._connection.takes_numbers():
            comments = doubled(comments)
        # pg_hint_plan reads the first comment only.
        hints = f"{hint_comment(rendered.steering.hints)} " if rendered.steering.hints else ""
        return replace(rendered, sql=f"{hints}{comments}{rendered.sql[len(hints) :]}")

    def arms(self, plan: PhysicalPlan) -> tuple[Arm, ...]:
        """Settings worth trying on a statement with this default plan."""
        return arms.arms(plan, self.steering_settings())

    def under(self, sql: str, params: Parameters, steering: Steering) -> Rendered:
        """A statement, whose text stays as it is, under a steering of settings alone.

        Raises
        ------
        InvalidInput
            If the steering holds anything else, or what this server or role does not allow.
        """
        if steering.join_trees or steering.rewrites or steering.hints:
            raise InvalidInput("only settings leave a statement's text as it is")
        checked = self.steering_settings().check(steering.settings)
        before = tuple(setting_statement(name, value) for name, value in checked)
        return Rendered(sql, params, before, steering=steering)

    def guarded(self, statement: Rendered) -> Rendered:
        """A steered statement whose temporary files are limited, where this role may ask for that.

        Elsewhere its time limit, and the bounds of its memory, have to do.
        """
        now = self.steering_settings().allowed.get("temp_file_limit")
        if now is None or 0.0 <= float(now) <= _TEMPORARY_MOST_KB:
            return statement
        limit = setting_statement("temp_file_limit", f"{_TEMPORARY_MOST_KB}kB")
        return replace(statement, before=(*statement.before, limit))


def _near_names(error: EngineError, schema: Callable[[], PostgresSchema]) -> str:
    """Tables like the one that does not exist, as the server hints at columns; empty if there are none."""
    found = _MISSING.search(str(error))
    near = schema().near(found["name"].rpartition(".")[2]) if found is not None else ()
    return f"\nHINT:  There is {', '.join(near)}." if near else ""
