"""The protocol that an engine fulfils."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from godb_fast.core import NO_STEERING, Cut, JoinTree, PhysicalPlan, Schema, Statistics, Steering, Template
from godb_fast.core.forking import renews_locks
from godb_fast.engines.arms import Arm

#: Parameters of a statement as a driver takes them: by position or by name.
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Capabilities:
    """What an engine can be asked for on this connection.

    Parameters
    ----------
    join_trees : bool
        Join orders with build sides can be imposed.
    isolated : bool
        Imposing them disturbs no other user of the instance (False: rewrites and fences only).
    profile : bool
        Actual rows and times per operator come with an execution.
    cancel : bool
        A running statement can be stopped from another thread.
    savepoints : bool
        A statement can be steered inside a caller's open transaction, which survives its failure.
    widest_join : int
        Tables of the largest join of which the engine's own plan can be had in well under a second; planning
        itself can seldom be stopped.
    whole : bool
        Where join trees are imposed on one block, the joins of all others are taken as they are written: a
        steering has to name them all.
    estimates_imposed : bool
        EXPLAIN estimates a plan whose join trees were imposed as it does the engine's own.
    fetch : tuple of str
        Forms that ``run(…, fetch=)`` takes; an engine that knows ``rows`` alone has no such argument.
    """

    join_trees: bool
    isolated: bool
    profile: bool
    cancel: bool
    reason: str = ""
    savepoints: bool = False
    widest_join: int = 64
    whole: bool = False
    estimates_imposed: bool = True
    fetch: tuple[str, ...] = ("rows",)


@dataclass(frozen=True)
class Effects:
    """Whether a statement only reads.

    ``pure`` is True only if that is certain; everything else runs once and unchanged. ``reason`` names
    what makes it impure or unknown. ``steerable`` is False for pure statements whose answer may depend on
    the plan (LIMIT without a total order, sampling, order-dependent aggregates). ``checkable`` says that a
    LIMIT (:class:`~godb_fast.core.Cut`) is all that is in doubt: an answer can be looked at.
    """

    pure: bool
    steerable: bool = False
    reason: str = ""
    checkable: bool = False


@dataclass(frozen=True)
class Rendered:
    """A statement ready to send: ``before`` and ``after`` are settings around it, put back on every path.

    With a ``cut``, the text asks for one row more than the statement did: whoever runs it looks whether the
    rows that the statement keeps are certain (:func:`godb_fast.evidence.answers.cut_is_certain`), and hands
    out no more than those.
    """

    sql: str
    params: Parameters = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    steering: Steering = NO_STEERING
    cut: Cut | None = None


@dataclass(frozen=True, eq=False)
class EngineResult:
    """A complete result.

    Parameters
    ----------
    rows : sequence of tuple
        A list, or rows that are made of ``native`` when somebody looks.
    native : object, optional
        The result in the engine's own columnar form.
    conversions : Conversions, optional
        How the engine makes an arrow table or a data frame of it; without, types are inferred from the rows.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    latency_ms: float
    plan: PhysicalPlan | None = None
    memory_bytes: float | None = None
    native: Any = None
    conversions: Conversions | None = None


class Conversions(Protocol):
    """Makes other forms of a result, with the engine's exact types."""

    def arrow(self, result: EngineResult) -> Any:
        """A pyarrow Table."""
        ...

    def dataframe(self, result: EngineResult) -> Any:
        """A pandas DataFrame."""
        ...


class CancelToken:
    """Lets another thread stop a statement; the engine registers how with :meth:`on_cancel`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        renews_locks(self)
        self._cancelled = False
        self._stops: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Stop the statement, now or as soon as it starts."""
        with self._lock:
            self._cancelled = True
            stops = list(self._stops)
        for stop in stops:
            stop()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled

    @contextmanager
    def on_cancel(self, stop: Callable[[], None]) -> Iterator[None]:
        """Within this block, :meth:`cancel` calls ``stop`` (at once if it was called before)."""
        with self._lock:
            self._stops.append(stop)
            already = self._cancelled
        try:
            if already:
                stop()
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)


@runtime_checkable
class Engine(Protocol):
    """One connection to one engine."""

    name: str
    #: sqlglot's name of the dialect.
    dialect: str

    @property
    def version(self) -> str:
        """The engine's version."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked for on this connection, discovered once."""
        ...

    def environment(self) -> str:
        """Database, search path, role and result-affecting settings: the part of a decision's key that is
        not in the text."""
        ...

    def schema_epoch(self) -> str:
        """Changes whenever a name may resolve differently or a table has other columns. Never cached."""
        ...

    def schema(self) -> Schema:
        """The catalogue at the current epoch."""
        ...

    def statistics(self) -> Statistics:
        """What is known of the tables, loaded lazily."""
        ...

    def effects(self, sql: str) -> Effects:
        """Whether a statement only reads, judged from the engine's own parser and catalogue."""
        ...

    def in_transaction(self) -> bool:
        """Whether the caller has a transaction open on this connection."""
        ...

    def explain(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The engine's own plan, not executed.

        Raises
        ------
        QueryTimeout
            If planning alone takes longer than ``timeout_s``.
        EngineError
            If the engine refuses the statement.
        """
        ...

    def default_trees(
        self, template: Template, plan: PhysicalPlan, literals: Sequence[Any] | None = None
    ) -> dict[int, JoinTree]:
        """Join tree per block of the engine's plan, for the blocks where it can be told.

        ``literals`` are those of the planned statement; with them, self-joins may be told apart.
        """
        ...

    def render(
        self, template: Template, literals: Sequence[Any], steering: Steering, params: Parameters = None
    ) -> Rendered:
        """The statement under a steering.

        Raises
        ------
        InvalidInput
            If the steering does not fit the template.
        """
        ...

    def obeyed(
        self,
        template: Template,
        steering: Steering,
        plan: PhysicalPlan,
        literals: Sequence[Any] | None = None,
    ) -> bool | None:
        """Whether a plan follows the steering's join trees; None if that cannot be told."""
        ...

    def run(
        self,
        statement: Rendered,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
        profile: bool = False,
        max_rows: int | None = None,
    ) -> EngineResult:
        """Execute a statement and return its complete result; settings are as before on every path.

        Raises
        ------
        QueryTimeout, QueryCancelled, ResultTooLarge, EngineError
        """
        ...

    def close(self) -> None:
        """Release what was opened here; a borrowed connection stays open."""
        ...


@runtime_checkable
class TimedStatistics(Protocol):
    """Statistics whose loading can be limited."""

    def within(self, seconds: float, foreseen_s: float | None = None) -> AbstractContextManager[None]:
        """Inside, loading raises QueryTimeout once ``seconds`` are used up; what was loaded is kept.

        Where loading is foreseen to take longer than ``foreseen_s`` it does not begin, but raises
        StatisticsNotReady.
        """
        ...


@runtime_checkable
class SampledStatistics(TimedStatistics, Protocol):
    """Statistics that another connection can load."""

    def adopt(self, other: Any) -> None:
        """Take over what another connection's statistics of the same engine know and these do not."""
        ...


@runtime_checkable
class SharesSamples(Protocol):
    """An engine whose statistics are samples, which another connection may take."""

    def samples(self) -> SampledStatistics:
        """What was sampled so far."""
        ...


@runtime_checkable
class HasTwins(Protocol):
    """An engine that can open a second connection which sees the same database."""

    @property
    def has_twins(self) -> bool:
        """Whether there can be one that disturbs nobody."""
        ...

    def twin(self) -> Engine:
        """A connection of its own for another thread."""
        ...

    def interrupt(self) -> None:
        """End what runs on this connection; called from another thread."""
        ...


@runtime_checkable
class SeesVariables(Protocol):
    """An embedded engine whose statements can name the caller's variables (data frames) as tables."""

    @property
    def sees_variables(self) -> bool:
        """Whether they can on this connection."""
        ...

    def seeing(self, sql: str, namespaces: Sequence[Mapping[str, Any]]) -> AbstractContextManager[None]:
        """Inside, statements see the variables that ``sql`` names, from the first namespace that has each."""
        ...


@runtime_checkable
class AsksEachTime(Protocol):
    """An engine on which only a query tells whether catalogue and settings are as they were."""

    @property
    def asks_each_time(self) -> bool:
        """Whether it is so on this connection."""
        ...

    def may_change(self, sql: str) -> bool:
        """Whether a statement may change any of that, told without asking."""
        ...


@runtime_checkable
class TellsFacts(Protocol):
    """An engine that tells what a person wants to know of its server and role."""

    def facts(self) -> dict[str, Any]:
        """Plain data, of whatever the engine has; asked for seldom."""
        ...


@runtime_checkable
class TellsLoad(Protocol):
    """An engine whose server tells what it does now."""

    def load(self) -> tuple[float | None, float | None]:
        """The share of blocks that its cache held of late, and how many statements run; None: not told.

        Raises
        ------
        EngineError
            If the server cannot be asked.
        """
        ...


@runtime_checkable
class LooksFirst(Protocol):
    """An engine on which asking the server may get in the way of what its user is about to do."""

    def may_be_planned(self, sql: str) -> bool:
        """Whether a statement could be planned at all, told without asking the server."""
        ...


@runtime_checkable
class ValidatesInPassing(Protocol):
    """An engine far away, which is asked for its epoch in the round trip of the statement that rests on it.

    Its ``run`` takes ``expected``, an epoch, and raises SchemaChanged where that was not the schema under
    which the statement was parsed; nothing of the result is kept then.
    """

    @property
    def validates_in_passing(self) -> bool:
        """Whether it does so on this connection."""
        ...

    @property
    def further_looks(self) -> int:
        """Round trips that the last validation took beyond the statement's own."""
        ...


#: Bytes that the temporary files of a trial may take.
TEMPORARY_MOST_BYTES: Final = 10 * 1024**3


@runtime_checkable
class Guards(Protocol):
    """An engine that can limit what a trial takes beside its time."""

    def guarded(self, statement: Rendered) -> Rendered:
        """A steered statement with such limits, as far as they can be asked for here."""
        ...


@runtime_checkable
class KeepsComments(Protocol):
    """An engine on whose server comments in front of a statement are read (tracing, monitoring)."""

    def with_comments(self, rendered: Rendered, sql: str) -> Rendered:
        """A rendered statement with the comments that stand in front of ``sql``, from which it was made."""
        ...


@runtime_checkable
class ForeseesReading(Protocol):
    """An engine that knows how long it takes to read its catalogue anew."""

    def reading_ms(self) -> float:
        """What that would take now, in ms; 0 where it is known, or nobody can tell. Asks nothing."""
        ...


@runtime_checkable
class TunesPlanner(Protocol):
    """An engine whose planner has settings that a session may change for itself."""

    def tuned(self) -> bool:
        """Whether this one has, so that another connection's plans would be others. Asks the engine."""
        ...


@runtime_checkable
class GetsReady(Protocol):
    """An engine that loads something for its first statement, and can do so before."""

    def get_ready(self) -> None:
        """Load it; nothing is asked of a connection that is the caller's.

        Raises
        ------
        EngineError
            If the database cannot be asked.
        """
        ...


@runtime_checkable
class ChecksStatements(Protocol):
    """An engine that can also judge statements of which it gives no plan."""

    def check(self, sql: str, params: Parameters = None, *, timeout_s: float | None = None) -> None:
        """Parse a text of any statements, and bind it where that is free of effects; nothing is executed.

        Raises
        ------
        QueryTimeout
            If that takes longer than ``timeout_s``.
        EngineError
            If the engine would refuse it, with its own words and the place.
        """
        ...


@runtime_checkable
class ExplainsSteered(Protocol):
    """An engine that tells the plan of a steered statement without running it."""

    def explain_steered(self, statement: Rendered, *, timeout_s: float | None = None) -> PhysicalPlan:
        """The plan that a statement gets as it will be sent."""
        ...


@runtime_checkable
class Analyzes(Engine, Protocol):
    """An engine that tells actual rows and times per operator only of a run that is thrown away."""

    def analyze(
        self,
        statement: Rendered,
        *,
        timeout_s: float | None = None,
        cancel: CancelToken | None = None,
    ) -> PhysicalPlan:
        """Execute a statement that only reads for its actual rows and times.

        Raises
        ------
        QueryTimeout, QueryCancelled, EngineError
        """
        ...


@runtime_checkable
class HasArms(ExplainsSteered, Protocol):
    """An engine whose settings can be changed for one statement, disturbing nobody."""

    def arms(self, plan: PhysicalPlan) -> tuple[Arm, ...]:
        """Settings worth trying on a statement with this default plan."""
        ...

    def under(self, sql: str, params: Parameters, steering: Steering) -> Rendered:
        """A statement, whose text stays as it is, under a steering of settings alone.

        Raises
        ------
        InvalidInput
            If the steering holds anything else, or what this server does not allow.
        """
        ...


_offers: dict[tuple[type, Any], bool] = {}


def is_fragile(engine: Engine) -> bool:
    """Whether the caller has a transaction open that would be lost if a statement of ours were stopped."""
    return not engine.capabilities.savepoints and engine.in_transaction()


def offers(engine: object, protocol: Any) -> bool:
    """Whether an engine has the methods of a protocol; looked at once per class, which takes microseconds."""
    kinds = (type(engine), protocol)
    known = _offers.get(kinds)
    if known is None:
        known = _offers[kinds] = isinstance(engine, protocol)
    return known
