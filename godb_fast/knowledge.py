"""What a process knows of statements and databases, and for how long it holds.

When its epoch changes, a :class:`Scope` is left as a whole, so that no decision outlives the names and
columns on which it rests. Of a template whose own dependencies are what they were, the next scope takes over
what was learned; of all others nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Mapping, Set
from copy import copy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Protocol

from godb_fast.background import Task
from godb_fast.core import CostModel, Decision, Template
from godb_fast.core.forking import renews_locks
from godb_fast.engines.base import Effects, EngineResult, Parameters, Rendered
from godb_fast.engines.dependencies import Dependencies
from godb_fast.planning.draft import OwnPlans
from godb_fast.planning.proposal import TemplatePlanner
from godb_fast.sql import Fingerprint, fingerprint

if TYPE_CHECKING:
    from godb_fast.exploring.memo import MemoEntry
    from godb_fast.feedback.costs import Arm
    from godb_fast.learning.choosing import Choice

#: Exact texts and templates that one scope remembers; the oldest are forgotten first.
MAX_EXACT: Final = 20_000
MAX_TEMPLATES: Final = 5_000
#: Longer texts (they have lists of literals in them) are known by their template alone.
MAX_EXACT_LENGTH: Final = 10_000


#: Fields of a Decision that no model was asked for.
NO_MODEL: Final[dict[str, Any]] = {"models": (), "bound": None, "support": None, "cluster": None}


@dataclass(frozen=True, eq=False)
class Served:
    """What exploration proved, or a model chose, with what every call that it serves needs, made once.

    ``before`` holds its settings, and ``pieces`` what is sent under them: pieces of text, and slots for the
    texts of literals; None for the text as it is. ``before`` is None where more than literals decides what is
    sent: then it is rendered anew for each call. It serves within ``near`` steps of its region, per relation,
    but not in the regions ``apart``.
    """

    entry: MemoEntry
    region: bytes
    reason: str
    key: str
    before: tuple[str, ...] | None
    pieces: tuple[str | int, ...] | None = None
    near: int = 1
    apart: frozenset[bytes] = frozenset()
    #: The environment under which the store keeps it: of another role, maybe.
    database: str = ""
    #: Why a model chose it, and which one, where no run has verified it.
    choice: Choice | None = None
    model: str = ""


@dataclass(eq=False)
class KnownTemplate:
    """A template with all that is known of it in one scope."""

    template: Template
    effects: Effects
    planner: TemplatePlanner | None = None
    #: The planner before the template was left alone.
    given_up: TemplatePlanner | None = None
    #: The same by costs that are on trial.
    rival: TemplatePlanner | None = None
    reason: str = ""
    #: It could be planned, had its statistics been loaded.
    unprepared: bool = False
    #: What loads them in the background, and how often that was begun.
    preparation: Task | None = None
    preparations: int = 0
    #: The engine was seen to accept it.
    readable: bool = False
    #: How many times cheaper than the engine's own a plan must be estimated.
    margin: float = 1.25
    #: The short way of new literals to a decision, once a default plan is known.
    route: Any = None
    #: The short way to what was proved of it (``kernels.routes.Proved``), where literals decide what is sent.
    proved: Any = None
    #: How often the engine's EXPLAIN took too long.
    slow_explains: int = 0
    #: How long it took to read, and its last EXPLAIN, in ms.
    read_ms: float = 0.0
    explain_ms: float = 0.0
    #: The engine's own plans by bucket.
    own_plans: dict[bytes, OwnPlans] = field(default_factory=dict)
    #: Fastest complete run of the default plan, by bucket, in ms: the lower bound of the watchdog.
    baseline_ms: dict[bytes, float] = field(default_factory=dict)
    #: What they took lately, by bucket: a moving average.
    recent_ms: dict[bytes, float] = field(default_factory=dict)
    #: Unprofiled runs of a steering and the fastest of them in ms, by bucket and steering.
    steered_ms: dict[tuple[bytes, str], tuple[int, float]] = field(default_factory=dict)
    #: Estimated cost of a steering over that of the engine's own plan, by bucket and steering; NaN: unknown.
    estimated: dict[tuple[bytes, str], float] = field(default_factory=dict)
    #: Regions in which it was explored: there only what was proved steers.
    explored: tuple[bytes, ...] = ()
    #: Regions for which a plan was looked for that nobody had run (``choices.RegionChoice``), what looks at
    #: them, which model was asked last, and when by ``time.monotonic()``.
    regions: dict[bytes, Any] = field(default_factory=dict)
    looking: dict[bytes, Task] = field(default_factory=dict)
    looked: dict[bytes, tuple[str | None, float]] = field(default_factory=dict)
    #: What slow runs have taken by region since it was last looked at, in ms.
    slow_ms: dict[bytes, float] = field(default_factory=dict)
    #: Why no such plan is looked for, where that is the connection's fault.
    unsought: str = ""
    #: The cluster of queries that it belongs to, once a model was asked.
    cluster: str | None = None
    #: Steerings refused from now on, with the reason.
    quarantine: dict[str, str] = field(default_factory=dict)
    #: Its way to what executions taught (``feedback.TemplateFeedback``), and whether that changes decisions.
    feedback: Any = None
    corrected: bool = False
    #: Slow runs that could be described for training.
    described: int = 0
    #: How often corrections were asked for, and the least that this took, in ms.
    corrections_ms: tuple[int, float] = (0, math.inf)
    #: Runs of the default plan that took long since one was profiled, by bucket.
    slow_runs: dict[bytes, int] = field(default_factory=dict)
    #: Names and types of the default plan's result.
    columns: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    #: What exploration proved of it, and then what was chosen unverified.
    verified: tuple[Served, ...] = ()
    #: How often an answer under a steering was not certain, because rows tie where LIMIT cuts.
    ties: dict[str, int] = field(default_factory=dict)
    #: Steerings that the engine was seen to obey, with the region; an empty one stands for all.
    obeyed: set[tuple[bytes, str]] = field(default_factory=set)
    #: A text of it, what that uses (None where nobody can tell), and when that was looked up by
    #: ``time.monotonic()``.
    sql: str = ""
    dependencies: Dependencies | None = None
    looked_at: float = 0.0

    def unchosen(self, region: bytes) -> tuple[str, dict[str, Any]]:
        """What there is to say where no plan serves that nobody has run: words, and fields of a Decision."""
        record = self.regions.get(region)
        if record is not None and not record.steers:
            choice = record.choice
            model = record.model.partition("@")[0]
            told = {"bound": choice.bound, "support": choice.support, "cluster": choice.cluster}
            return f"; nor to a plan that nobody has run: {choice.reason}", {"models": (model,), **told}
        if self.unsought:
            return f"; no plan is looked for that nobody has run: {self.unsought}", NO_MODEL
        return "", NO_MODEL

    def slow(self, least_ms: float) -> bool:
        """Whether its own plan was seen to take so long, with whatever values."""
        return any(took >= least_ms for took in self.baseline_ms.values())

    def has_obeyed(self, bucket: bytes, steering_key: str) -> bool:
        """Whether the engine was seen to obey a steering of a query in a region."""
        return (bucket, steering_key) in self.obeyed or (b"", steering_key) in self.obeyed

    def carried(self) -> KnownTemplate:
        """A copy for another scope, without what is attached to this one: it learns apart from now on."""
        copied = copy(self)
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, dict | set):
                setattr(copied, each.name, value.copy())
        copied.route = copied.proved = copied.feedback = copied.preparation = None
        copied.verified, copied.rival = (), None
        copied.looking = {}
        return copied


class Prepared:
    """A decision with what its execution needs."""

    __slots__ = ("_rendered", "bucket", "decision", "known", "literals", "params", "served", "text")

    def __init__(
        self,
        decision: Decision,
        rendered: Rendered | None = None,
        known: KnownTemplate | None = None,
        bucket: bytes = b"",
        literals: tuple[Any, ...] = (),
        params: Parameters = None,
        text: str | None = None,
    ) -> None:
        self.decision = decision
        #: The normalized text of a statement that is only observed.
        self.text = text
        self._rendered = rendered
        self.known = known
        self.bucket = bucket
        self.literals = literals
        self.params = params
        #: What was proved of the decision's steering, or why it was chosen unverified.
        self.served: Served | None = None

    @property
    def verified(self) -> MemoEntry | None:
        """What was proved of the decision's steering, where it was explored."""
        return None if self.served is None or self.served.choice is not None else self.served.entry

    @property
    def rendered(self) -> Rendered:
        """The statement to send: under the decision's steering, or as it is."""
        if self._rendered is None and (served := self.served) is not None and served.before is not None:
            self._rendered = Rendered(
                self.decision.sql, self.params, served.before, steering=served.entry.steering
            )
        return self._rendered or Rendered(self.decision.sql, self.params)


class FirstRun:
    """A run of a statement that another thread gets to know meanwhile; either may end first.

    Parameters
    ----------
    tell : callable
        Told the decision and the run, once both are there.
    """

    def __init__(self, tell: Callable[[Prepared, EngineResult], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._known: Prepared | None = None
        self._run: EngineResult | None = None

    def known(self, prepared: Prepared) -> None:
        """What would have been decided."""
        self._known = prepared
        self._both()

    def ran(self, result: EngineResult) -> None:
        """How long it took under the engine's own plan, and what it gave."""
        self._run = EngineResult(result.columns, result.types, (), result.latency_ms)
        self._both()

    def _both(self) -> None:
        with self._lock:
            prepared, run = self._known, self._run
            if prepared is None or run is None:
                return
            self._known = self._run = None
        self._tell(prepared, run)


class Unmet(Prepared):
    """A statement that nobody knows yet."""

    __slots__ = ("first_run",)

    first_run: FirstRun


class Unasked(Prepared):
    """A decision without what the engine could not be asked for; the next call may know more."""

    __slots__ = ()


class OnTrial(Prepared):
    """A decision by one of two models of costs that differ; the next call may take the other's."""

    __slots__ = ("arm", "candidate")

    arm: Arm
    #: What was on trial.
    candidate: CostModel


class Kept(Protocol):
    """A decision that a route made (``kernels.routes.Kept``): what its execution needs comes later."""

    @property
    def decision(self) -> Decision: ...

    def prepared(self) -> Prepared:
        """The decision with what its execution needs."""
        ...


@dataclass(eq=False)
class Scope:
    """What is known of one database at one epoch; shared by its sessions."""

    engine: str
    environment: str
    epoch: str
    exact: dict[Hashable, Prepared | Kept] = field(default_factory=dict)
    templates: dict[tuple[int, int], tuple[bytes, KnownTemplate]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    #: What exploration proved, by unsigned fingerprint, with the environment that keeps it; whether it rests
    #: on what there is now is looked at template by template.
    verified: dict[int, tuple[tuple[MemoEntry, str], ...]] = field(default_factory=dict)
    #: Regions of templates that were explored, by unsigned fingerprint.
    explored: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    #: Fingerprints (in hexadecimal) of templates for which the store keeps what models chose.
    chosen: frozenset[str] = frozenset()
    #: The scope of the same environment that this one came after.
    former: Scope | None = None
    #: What executions taught (``lessons.Lessons``), once something took long enough to be learned from.
    lessons: Any = None
    #: What they showed of costs (``lessons.CostLessons``).
    costs: Any = None
    #: What another thread looks at (or has looked at in vain), and how often that was begun.
    meetings: dict[Hashable, tuple[Task, int]] = field(default_factory=dict)
    #: The short way from a text to a decision: ``kernels.routes.Routes``. Set by the Optimizer.
    routes: Any = None

    def __post_init__(self) -> None:
        renews_locks(self)

    def knows(self, sql: str, params: Parameters, dialect: str, backend: str | None = None) -> bool:
        """Whether a statement can be decided on without reading anything of its template or its tables.

        Raises
        ------
        SqlError
            If it cannot be read.
        """
        key = exact_key(sql, params)
        if key is not None and key in self.exact:
            return True
        known = self.template(fingerprint(sql, dialect, backend=backend))
        return known is not None and not known.unprepared

    def unsought(self, known: KnownTemplate, why: str) -> None:
        """Have decisions say why no plan is looked for that nobody has run; nothing if one is."""
        if known.unsought != why:
            known.unsought = why
            self.forget_exact(known.template.fingerprint)

    def template(self, print_: Fingerprint) -> KnownTemplate | None:
        """The known template of a fingerprint; its text is compared, so collisions never mix queries."""
        entry = self.templates.get((print_.hash, print_.casing))
        return entry[1] if entry is not None and entry[0] == print_.key else None

    def promises(self, print_: Fingerprint) -> bool:
        """Whether something was proved or chosen for a template, in whatever process."""
        unsigned = print_.hash & (2**64 - 1)
        return unsigned in self.verified or f"{unsigned:016x}" in self.chosen

    def carries(self, print_: Fingerprint) -> bool:
        """Whether a template was known in the scope before: it may be carried over."""
        return self.former is not None and self.former.template(print_) is not None

    def remember(self, print_: Fingerprint, known: KnownTemplate) -> KnownTemplate:
        """Keep what is known of a template. Returns what is kept: another thread may have come first."""
        place = print_.hash, print_.casing
        with self.lock:
            entry = self.templates.get(place)
            if entry is not None and entry[0] == print_.key:
                return entry[1]
            if len(self.templates) >= MAX_TEMPLATES:
                self._make_room()
            self.templates[place] = (print_.key, known)
        return known

    def _make_room(self) -> None:
        """Forget the oldest templates, with what was decided of them: that would keep them."""
        gone = list(self.templates)[: max(1, MAX_TEMPLATES // 10)]
        for place in gone:
            self.templates.pop(place, None)
        self._forget_decisions({hash_ for hash_, _ in gone})

    def decided(self, key: Hashable) -> Prepared | None:
        """What was decided under an exact key, with what its execution needs."""
        found = self.exact.get(key)
        if found is None or isinstance(found, Prepared):
            return found
        made = found.prepared()
        if self.exact.get(key) is found:
            self.exact[key] = made
        return made

    def remember_exact(self, key: Hashable, prepared: Prepared) -> None:
        if len(self.exact) >= MAX_EXACT:
            with self.lock:
                # A good many at once: a route finds nothing while there is no room.
                _bound(self.exact, MAX_EXACT - MAX_EXACT // 10)
        self.exact[key] = prepared

    def forget_exact(self, fingerprint_: int) -> None:
        """Drop the cached decisions of one template, after its knowledge changed."""
        with self.lock:
            self._forget_decisions({fingerprint_})

    def _forget_decisions(self, fingerprints: Set[int]) -> None:
        entries = list(self.exact.items())
        stale = [key for key, entry in entries if entry.decision.fingerprint in fingerprints]
        for key in stale:
            self.exact.pop(key, None)


def _bound(mapping: dict[Any, Any], limit: int) -> None:
    while len(mapping) >= limit:
        mapping.pop(next(iter(mapping)), None)


def exact_key(sql: str, params: Parameters) -> Hashable | None:
    """Cache key of a statement with its parameters; None if it is too long or cannot be hashed."""
    if len(sql) > MAX_EXACT_LENGTH:
        return None
    if params is None:
        return sql
    values = tuple(sorted(params.items())) if isinstance(params, Mapping) else tuple(params)
    # The type counts: 1, 1.0 and True compare equal but are different literals.
    key = (sql, values, tuple(type(value) for value in values))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def explored_near(known: KnownTemplate, bucket: bytes) -> bool:
    """Whether a template was explored in a region, or one step of its scale beside it."""
    return any(
        not region or (len(region) == len(bucket) and max(map(abs, map(int.__sub__, region, bucket))) <= 1)
        for region in known.explored
    )


def distance(seen: bytes, wanted: bytes) -> int:
    """How far apart two buckets are."""
    return sum(abs(one - other) for one, other in zip(seen, wanted, strict=True))
