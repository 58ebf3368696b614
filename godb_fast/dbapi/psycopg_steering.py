"""How a statement is steered at a psycopg connection, synchronous or not.

Deciding, looking at the plan, running, validating and giving up are one sequence of steps. Whatever may wait
for the server is yielded as a step, and done by who owns the connection: :class:`~godb_fast.dbapi.psycopg`
calls it, :class:`~godb_fast.dbapi.psycopg_async` awaits it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from godb_fast import first_sight
from godb_fast.adoption import CursorSession, Observer
from godb_fast.advising import Adviser, beside_postgres
from godb_fast.background import Task
from godb_fast.engines.base import EngineResult, Parameters, Rendered
from godb_fast.engines.postgres import PostgresEngine, fence
from godb_fast.engines.postgres.driver import STOPPED, blames_no_plan, sqlstate
from godb_fast.engines.postgres.validation import Validation
from godb_fast.errors import EngineError, SchemaChanged
from godb_fast.optimizer import EXPLAIN_LIMIT_S, Optimizer, Prepared, Scope
from godb_fast.sql import Fingerprint, is_query
from godb_fast.steered import Outlook

if TYPE_CHECKING:
    from godb_fast.live_features import Begun


@dataclass(frozen=True)
class Ask:
    """Something that may ask the server, on a synchronous connection that is the caller's."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Send:
    """A steered statement for the caller's cursor, and what is to be validated behind it."""

    statement: Rendered
    timeout_s: float | None
    validation: Validation | None


#: A step gives what its call returns, or raises what that raises.
Step = Ask | Send


@dataclass(frozen=True)
class Steered:
    """What came of it.

    ``prepared`` is the decision, if there is one. With a steering in it and without ``fell_back`` (why the
    steering was not applied or discarded), the cursor holds the steered result.
    """

    prepared: Prepared | None
    fell_back: str | None = None
    wasted_ms: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the cursor holds the statement's result."""
        return self.prepared is not None and bool(self.prepared.decision.steering) and self.fell_back is None


class Pilot:
    """Steers the statements of one connection.

    Parameters
    ----------
    optimizer : Optimizer
    observer : Observer
        Is told what happened.
    connect : callable
        The synchronous psycopg connection that deciding may ask; called once.
    at_once : bool
        Steps cost something: what needs to ask nothing is decided without one.
    """

    def __init__(
        self, optimizer: Optimizer, observer: Observer, connect: Callable[[], Any], *, at_once: bool = False
    ) -> None:
        self.optimizer = optimizer
        self._observer = observer
        self._connect = connect
        self._at_once = at_once
        self._session: CursorSession | None = None

    def session(self) -> CursorSession:
        """What decides; making it asks the server."""
        if self._session is None:
            self._session = CursorSession(
                self.optimizer, PostgresEngine.borrow(self._connect()), mode="steer", timeout_s=None
            )
        return self._session

    def passed_by(self, print_: Fingerprint | None) -> None:
        """A statement is sent that is not decided on here: it may change what is seen."""
        if self._session is not None and (print_ is None or not is_query(print_)):
            self._session.look_again()

    def further(self, round_trips: int) -> None:
        """A steered statement took round trips beyond its own; what steering costs here follows from that."""
        _engine(self.session()).further_looks += round_trips

    def steered(
        self,
        print_: Fingerprint,
        cursor: Any,
        raw: Any,
        query: str,
        params: Parameters,
        adviser: Adviser,
        *,
        again: bool = True,
    ) -> Generator[Step, Any, Steered]:
        """Decide on a statement, and run it on the caller's cursor if it is steered.

        What takes long to be known is left to the ``adviser``. Where the schema changed meanwhile it is
        decided on ``again``, once.
        """
        try:
            session: CursorSession = self._session or (yield Ask(self.session))
            outlook = session.at_once(query, params) if self._at_once else None
            if outlook is None:
                if (yield from self._left(session, adviser, raw, print_, query, params)):
                    return Steered(None)
                outlook = yield Ask(partial(session.prepare, query, params))
            prepared: Prepared = outlook.prepared
            self._observer.advised(print_, prepared.decision)
            if not prepared.decision.steering:
                return Steered(prepared)
            fell_back = outlook.refused
            if fell_back is None:
                fell_back = yield from self._disobedient(session, prepared)
        except Exception as error:  # noqa: BLE001 - logged and counted: the statement goes on unchanged
            self._observer.failed("planning", error)
            return Steered(None)
        if fell_back is not None:
            return Steered(prepared, fell_back)
        begun = time.perf_counter()
        try:
            fell_back = yield from self._run(session, print_, cursor, raw, query, outlook)
        except SchemaChanged as changed:
            # What was decided is of no use any more, and nothing is to be noted of it.
            self.optimizer.count("outdated")
            try:
                yield Ask(session.scope)
            except EngineError as error:
                # The next decision looks by itself.
                self.optimizer.log_once("passed_through", f"passed through: {error}")
                again = False
            if again:
                anew = yield from self.steered(print_, cursor, raw, query, params, adviser, again=False)
                if anew.done:
                    return anew
            return Steered(None, str(changed), (time.perf_counter() - begun) * 1e3)
        return Steered(prepared, fell_back, 0.0 if fell_back is None else (time.perf_counter() - begun) * 1e3)

    def _left(
        self,
        session: CursorSession,
        adviser: Adviser,
        raw: Any,
        print_: Fingerprint,
        query: str,
        params: Parameters,
    ) -> Generator[Step, Any, bool]:
        """Whether another connection gets to know a statement, which runs as it is meanwhile.

        Where that one sees something else, it is got to know in front of the statement the next time.
        """
        optimizer, seen = self.optimizer, session.scope_seen
        if not optimizer.policy.background or (seen is not None and seen.template(print_) is not None):
            return False
        sights, engine = optimizer.first_sights, _engine(session)
        if sights.expected_ms(engine, query) <= first_sight.FOREGROUND_MS:
            return False
        scope: Scope = yield Ask(session.scope)
        if scope.template(print_) is not None or scope.promises(print_):
            return False
        expected_ms = sights.expected_ms(engine, query, carried=scope.carries(print_))
        if expected_ms <= first_sight.FOREGROUND_MS or (yield Ask(engine.tuned)):
            return False
        task = Task(adviser, _nothing)

        def begin() -> bool:
            return adviser.meet(print_, query, params, lambda: beside_postgres(raw, optimizer), task)

        return sights.left(scope, (print_.hash, print_.casing), task, begin, at_most=1)

    def _disobedient(self, session: CursorSession, prepared: Prepared) -> Generator[Step, Any, str | None]:
        """Look at the plan of a steering that was not seen yet; why it is not followed, or None."""
        known, steering = prepared.known, prepared.decision.steering
        if known is None or known.has_obeyed(prepared.bucket, steering.key):
            return None
        engine = _engine(session)
        try:
            plan = yield Ask(partial(engine.explain_steered, prepared.rendered, timeout_s=EXPLAIN_LIMIT_S))
        except EngineError as error:
            return f"the steered statement cannot be planned: {error}"
        obeyed = engine.obeyed(known.template, steering, plan, prepared.literals)
        if obeyed:
            known.obeyed.add((prepared.bucket, steering.key))
            return None
        if obeyed is None:
            return None
        why = "the engine would not run the join tree that was asked for"
        scope = yield Ask(session.scope)
        self.optimizer.quarantine(scope, prepared, why)
        return why

    def _run(
        self,
        session: CursorSession,
        print_: Fingerprint,
        cursor: Any,
        raw: Any,
        query: str,
        outlook: Outlook,
    ) -> Generator[Step, Any, str | None]:
        """Run under the steering; None if the cursor holds its result, else why it was discarded.

        Raises
        ------
        SchemaChanged
            If the decision rests on another schema than the statement.
        """
        prepared, engine = outlook.prepared, _engine(session)
        known, steering = prepared.known, prepared.decision.steering
        assert known is not None
        limit = self.optimizer.allowance_s(prepared)
        validation = None if outlook.expected is None else engine.validation(outlook.expected)
        begun = time.perf_counter()
        try:
            yield Send(fence.with_comments(query, prepared.rendered), limit, validation)
        except SchemaChanged:
            raise
        except BaseException as error:
            took = time.perf_counter() - begun
            if fence.belongs_to_caller(error, raw, took, limit):
                self._observer.saw(print_, "error", took * 1e3, None, steered=True)
                raise
            if blames_no_plan(error):
                why = f"the steered run was disturbed: {str(error).strip()}"
                self.optimizer.log_once("fell_back", why, prepared.decision.fingerprint)
                return why
            slow = sqlstate(error) == STOPPED
            if slow:
                why = f"stopped after its allowance of {(limit or 0) * 1e3:.0f} ms"
            else:
                why = f"the steered run failed: {str(error).strip() or type(error).__name__}"
        else:
            took_ms = (time.perf_counter() - begun) * 1e3
            if known.columns is None or _same(self._columns(cursor), known.columns):
                session.validated(outlook)
                if known.has_obeyed(prepared.bucket, steering.key):
                    self.optimizer.saw_steered(session.scope_now, prepared, took_ms)
                self.optimizer.count("steered")
                self._observer.saw(
                    print_,
                    "ok",
                    took_ms,
                    cursor.rowcount,
                    steered=True,
                    steering_key=steering.key,
                    obeyed=known.has_obeyed(prepared.bucket, steering.key) or None,
                )
                return None
            why, slow = "the steered result has other columns", False
        took = time.perf_counter() - begun
        if (yield Ask(partial(session.changed, outlook))):
            raise SchemaChanged(f"the schema changed since the decision; {why}")
        self.optimizer.quarantine(session.scope_now, prepared, why, took, slow=slow)
        self.optimizer.log_once("fell_back", why, prepared.decision.fingerprint)
        return why

    def noted(
        self,
        print_: Fingerprint | None,
        cursor: Any,
        found: Steered | None,
        took_ms: float,
        begun: Begun | None,
    ) -> None:
        """The statement ran under the engine's own plan, after ``found`` and :meth:`begins`. Never raises."""
        prepared = None if found is None else found.prepared
        if self._session is not None:
            self._session.ended(begun)
        try:
            if prepared is not None and prepared.known is not None and prepared.decision.steering:
                names, types = self._columns(cursor)
                before = prepared.known.columns
                self.optimizer.saw_default(prepared, EngineResult(names, types, (), took_ms))
                if any(name.startswith("oid ") for name in types):
                    # Nothing of ours is asked here; sessions that may ask know these types by name.
                    prepared.known.columns = before
            count = cursor.rowcount
            observation = self._observer.saw(
                print_,
                "ok",
                took_ms,
                count if count >= 0 else None,
                fell_back=None if found is None else found.fell_back,
                wasted_ms=0.0 if found is None else found.wasted_ms,
            )
            if self._session is not None and observation is not None:
                self._session.described(prepared, begun, observation)
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("noting", error)

    def begins(self, found: Steered | None) -> Begun | None:
        """The statement runs under the engine's own plan now. Never raises."""
        try:
            prepared = None if found is None else found.prepared
            return None if self._session is None else self._session.begins(prepared)
        except Exception as error:  # noqa: BLE001 - logged and counted: the statement goes on unchanged
            self._observer.failed("describing", error)
            return None

    def gave_up(self, print_: Fingerprint | None, outcome: str, took_ms: float, begun: Begun | None) -> None:
        """It was cancelled, or there was an error. Never raises."""
        self._observer.saw(print_, outcome, took_ms, None)
        if self._session is not None:
            self._session.ended(begun)

    def look(
        self,
        adviser: Adviser,
        raw: Any,
        print_: Fingerprint,
        query: str,
        params: Parameters,
        took_ms: float,
    ) -> None:
        """Look for a better plan on a connection of our own, if the statement was slow. Never raises."""
        try:
            scope = None if self._session is None else self._session.scope_seen
            adviser.look(print_, query, params, took_ms, lambda: beside_postgres(raw, self.optimizer), scope)
        except Exception as error:  # noqa: BLE001 - logged and counted: the result is the application's
            self._observer.failed("looking for a better plan", error)

    def _columns(self, cursor: Any) -> _Columns:
        described = cursor.description or ()
        types = _engine(self.session()).type_names(tuple([column.type_code for column in described]))
        return tuple([column.name for column in described]), types


def _nothing(task: Task) -> None:
    """The adviser does it."""


_Columns = tuple[tuple[str, ...], tuple[str, ...]]


def _engine(session: CursorSession) -> PostgresEngine:
    engine = session.engine
    assert isinstance(engine, PostgresEngine)
    return engine


def _same(seen: _Columns, known: _Columns) -> bool:
    """Whether columns are those that are known, as far as their types can be told."""
    return seen[0] == known[0] and all(
        one == other or one.startswith("oid ") for one, other in zip(seen[1], known[1], strict=True)
    )
