"""Plans that nobody has run yet: chosen by a model for queries that were never explored.

It begins with runs of the engine's own plan that took long: the bound that the watchdog needs. Once they have
taken many times what looking for something better takes (``Policy.patience``), that can lose little. Then the
same candidates that exploration would try are explained, a ranker tells what each will take beside the
engine's own plan, and the gate (:mod:`godb_fast.learning.gate`) lets the best one pass if it is surely not
worse. From the next call on it serves its region of selectivities, under the watchdog, like what was proved;
but it is never applied where only what was proved may be (statements that write, drivers that cannot run a
statement again). What was chosen outlives the process (:mod:`godb_fast.choices`); a region is looked at again
when a newer model comes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from godb_fast import carrying, choices, recall
from godb_fast.background import Task, Worker
from godb_fast.choices import RegionChoice
from godb_fast.core import Steering
from godb_fast.core.forking import renews_locks
from godb_fast.engines.base import Engine, HasTwins, Parameters, TunesPlanner, is_fragile
from godb_fast.errors import EngineError, InvalidInput, QueryCancelled, StoreError
from godb_fast.exploring.candidates import DEFAULT_ARM, Candidate, candidates
from godb_fast.exploring.memo import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.subjects import LiveQuery, Subject, bucket_number
from godb_fast.knowledge import KnownTemplate, Prepared, Scope, Served, explored_near
from godb_fast.learning.gates import Gates, identity
from godb_fast.live_runs import Described, LiveRuns, query_of
from godb_fast.policy import Policy

if TYPE_CHECKING:
    from godb_fast.learning.gate import Gate
    from godb_fast.store import SqliteStore

log = logging.getLogger("godb_fast")

#: What steering a statement costs beside its own run, in ms.
OVERHEAD_MS: Final = 0.2
#: Regions of a template that are looked at.
MOST_REGIONS: Final = 16
#: Seconds between two looks whether there is a newer model.
REFRESH_S: Final = 60.0
#: Seconds after which it is looked whether a region in which nothing was chosen rests on what it did.
AGAIN_S: Final = 300.0
#: What looking takes before it was seen how long it does, in ms; how much each look moves what is expected.
LOOK_MS: Final = 50.0
_MOVES: Final = 0.3
#: After so many runs of a choice it is written how they went, as after the first.
TOLD_RUNS: Final = 3


@dataclass(frozen=True)
class Slow:
    """A run of a statement under the engine's own plan that took long (or was stopped: ``cut``)."""

    sql: str
    params: Parameters
    known: KnownTemplate
    literals: tuple[Any, ...]
    bucket: bytes
    default_ms: float
    cut: bool = False

    @property
    def region(self) -> bytes:
        """The region that a choice is for; empty for the whole template."""
        return self.bucket if self.known.planner is not None else b""


class Untried:
    """Chooses plans for statements that were slow. Thread-safe.

    Parameters
    ----------
    policy : Policy
    worker : Worker
        For the looking, where the engine can be asked on a second connection.
    store : SqliteStore or None
        Keeps choices; the models of its folder serve, and those that ship where there are none.
    count, log_once : callable
        Count an event by its name; log its reason once.
    """

    def __init__(
        self,
        policy: Policy,
        worker: Worker,
        store: SqliteStore | None,
        count: Callable[[str], None],
        log_once: Callable[[str, str], None],
        backend: str | None = None,
    ) -> None:
        self._policy = policy
        self._worker = worker
        self._store = store
        self._count = count
        self._log_once = log_once
        self._backend = backend
        self.gates = Gates(None if store is None else store.models, store, log_once, backend)
        self._refreshed = time.monotonic()
        self._unsaved: dict[tuple[str, str, int, bytes], RegionChoice] = {}
        self._runs = LiveRuns()
        self._look_ms: dict[str, float] = {}
        self._lock = threading.Lock()
        renews_locks(self)

    # -- looking --------------------------------------------------------------------------------------

    def consider(self, engine: Engine, scope: Scope, slow: Slow, *, here: bool = False) -> None:
        """Look for a better plan once it may pay, once per region and model.

        That is done in the background, or now if the policy says so.

        In the background nothing is looked for on a connection that has no second one beside it: the caller
        would wait. ``here`` says that nobody does. Nothing is raised: the caller's statement is done.
        """
        known, region = slow.known, slow.region
        known.slow_ms[region] = known.slow_ms.get(region, 0.0) + slow.default_ms
        if not self._may(engine, known, slow):
            return
        if here or not self._policy.background:
            self._look(engine, scope, slow)
            return
        if not (isinstance(engine, HasTwins) and engine.has_twins):
            scope.unsought(known, "this connection is the caller's, and no other is opened beside it")
            return
        if self._is_tuned(engine):
            scope.unsought(
                known, "this session has planner settings of its own, a second connection does not"
            )
            return

        def work(task: Task) -> None:
            twin = cast(Any, cast(HasTwins, engine).twin())
            try:
                task.interrupt = twin.interrupt
                # What only the session's connection sees (temporary tables, SET) would be planned otherwise.
                same = (twin.schema_epoch(), twin.environment()) == (scope.epoch, scope.environment)
                if not same:
                    scope.unsought(known, "a second connection does not see what this one does")
                elif not task.stopped:
                    self._look(twin, scope, slow)
            finally:
                task.interrupt = None
                twin.close()

        known.looked[region] = self.gates.key(engine.name), time.monotonic()
        known.looking[region] = task = Task(engine, work)
        self._worker.submit(task)

    def outdated(self, engine: str, known: KnownTemplate, served: Served) -> bool:
        """Whether another model than the one that chose a plan is there to ask."""
        self._refresh()
        record, model = known.regions.get(served.region), self.gates.key(engine)
        return record is not None and bool(model) and record.model != model

    def _may(self, engine: Engine, known: KnownTemplate, slow: Slow) -> bool:
        if self._policy.untried == "off" or slow.default_ms < self._policy.learn_from_ms:
            return False
        look_ms = self._look_ms.get(engine.name, LOOK_MS)
        if known.slow_ms[slow.region] < self._policy.patience * look_ms:
            return False
        self._refresh()
        region, model = slow.region, self.gates.key(engine.name)
        task = known.looking.get(region)
        if model == "" or (task is not None and not task.ended):
            return False
        if region not in known.regions and len(known.regions) >= MOST_REGIONS:
            return False
        asked, when = known.looked.get(region, (None, -AGAIN_S))
        if asked == model and time.monotonic() - when < AGAIN_S:
            # Whatever came of it: whether it rests on what it did is looked at later.
            return False
        effects = known.effects
        if not (effects.pure and (effects.steerable or effects.checkable)) or known.unprepared:
            return False
        return engine.capabilities.isolated and not is_fragile(engine)

    def _is_tuned(self, engine: Engine) -> bool:
        """Whether a second connection would plan otherwise; also if the engine cannot tell."""
        try:
            return isinstance(engine, TunesPlanner) and engine.tuned()
        except EngineError as error:
            self._log_once("not_looked_for", str(error))
            return True

    def _look(self, engine: Engine, scope: Scope, slow: Slow) -> None:
        known, region = slow.known, slow.region
        before = known.regions.get(region)
        try:
            gate = self.gates.gate(engine.name)
            known.looked[region] = self.gates.key(engine.name), time.monotonic()
            if gate is None:
                return
            if before is not None and before.model == identity(gate.model.card):
                carrying.look(engine, known)
                if choices.holds(engine, known, before, scope.epoch):
                    return
                before = None
            begun = time.perf_counter()
            try:
                record = choices.settled(before, self._chosen(engine, scope, slow, gate))
            finally:
                # Also where nothing came of it: the next one is to pay anew.
                self._took(engine.name, known, region, (time.perf_counter() - begun) * 1e3)
            self._serve(engine, scope, known, record)
        except QueryCancelled:
            # By the end of the session, or of the process: another one may look.
            known.looked.pop(region, None)
            self._count("looking_interrupted")
            return
        except EngineError as error:
            self._log_once("not_looked_for", str(error))
            scope.unsought(known, str(error))
            return
        except Exception as error:
            log.debug("no untried plan was looked for", exc_info=True)
            self._log_once("not_looked_for", f"{type(error).__name__}: {error}")
            scope.unsought(known, f"{type(error).__name__}: {error}")
            return
        scope.unsought(known, "")
        self._keep(scope, record)
        self.save()
        self._count("untried" if record.steers else "looked_for_in_vain")

    def _chosen(self, engine: Engine, scope: Scope, slow: Slow, gate: Gate) -> RegionChoice:
        # Whoever only serves what an earlier process chose needs nothing of it.
        from godb_fast.exploring.entries import rows_of

        known, region = slow.known, slow.region
        query = LiveQuery("query", slow.sql, slow.params)
        uses = carrying.dependencies_of(engine, known.sql) if known.sql else None
        subject = Subject(query, known.template, slow.literals, region, known.planner, uses)
        found = candidates(engine, subject, feedback=known.feedback or None)
        default = found.pop(DEFAULT_ARM)
        others = [entry for entry in found.values() if self._allows(known, entry)]
        known.cluster = self.gates.cluster(engine.name, scope.environment, known.template)
        choice = gate.choose(
            default.vector,
            [entry.vector for entry in others],
            slow.default_ms,
            overhead_ms=OVERHEAD_MS,
            fingerprint=hexed(known),
            cluster=known.cluster,
            names=["the engine's own plan", *(entry.arm for entry in others)],
            pipelines=[default.pipelines, *(entry.pipelines for entry in others)],
        )
        log.debug("template %s: %s", hexed(known), choice.reason)
        chosen = others[choice.candidate - 1] if choice.candidate else default
        high = 1.0 if choice.bound is None else math.exp(min(choice.bound.log_ratio, 700.0))
        entry = MemoEntry(
            MemoKey(known.template.fingerprint, bucket_number(region)),
            chosen.steering if choice.candidate else Steering(),
            scope.epoch,
            Evidence(
                pairs=0,
                ratio=math.exp(choice.log_ratio),
                low=0.0,
                high=high,
                at_s=time.time(),
                note=chosen.arm,
                default_s=slow.default_ms / 1e3,
                rows=rows_of(engine, subject, uses),
                analyzed=() if uses is None else uses.analyzed,
            ),
            dependencies="" if uses is None else uses.digest,
        )
        told = query_of(known, slow.literals, slow.params)
        own = Described(default.vector, default.pipelines)
        self._runs.default(scope, known, told, own, slow.default_ms, cut=slow.cut)
        if choice.candidate:
            plan = Described(chosen.vector, chosen.pipelines)
            self._runs.chose(known, region, chosen.steering.key, told, plan)
        return RegionChoice(entry, choice, identity(gate.model.card))

    def _took(self, engine: str, known: KnownTemplate, region: bytes, ms: float) -> None:
        """A look has taken so long."""
        known.slow_ms[region] = 0.0
        before = self._look_ms.get(engine, LOOK_MS)
        self._look_ms[engine] = before + _MOVES * (ms - before)

    def _allows(self, known: KnownTemplate, entry: Candidate) -> bool:
        if entry.steering.key in known.quarantine:
            return False
        return self._policy.untried == "rewrites" or not entry.rewritten

    # -- serving --------------------------------------------------------------------------------------

    def _serve(self, engine: Engine, scope: Scope, known: KnownTemplate, record: RegionChoice) -> None:
        """Have a choice serve its region, in place of what was chosen for it."""
        region = record.region
        served = choices.served_by(engine, known, record, scope.environment) if record.steers else None
        with scope.lock:
            known.regions[region] = record
            others = tuple(each for each in known.verified if each.choice is None or each.region != region)
            if served is None and len(others) == len(known.verified):
                # Decisions say why.
                scope.forget_exact(known.template.fingerprint)
                return
            known.verified = others if served is None else (*others, served)
            known.route = None
            known.proved = recall.short_way(known, self._backend)
            carrying.shorten(known)
            scope.forget_exact(known.template.fingerprint)

    def attach(self, engine: Engine, scope: Scope, known: KnownTemplate) -> None:
        """Give a template what was chosen for it in another scope or process, where that still holds."""
        kept = self._kept(scope, known) | known.regions
        known.regions, known.looked = {}, {}
        effects = known.effects
        if self._policy.untried == "off" or not (effects.pure and (effects.steerable or effects.checkable)):
            return
        for region, record in list(kept.items())[-MOST_REGIONS:]:
            steering = record.entry.steering
            forbidden = bool(steering.rewrites) and self._policy.untried != "rewrites"
            if forbidden or explored_near(known, region):
                continue
            if not choices.holds(engine, known, record, scope.epoch):
                continue
            if record.steers and not self.gates.sound(record.model):
                # Who answers for it is gone.
                self._log_once(
                    "model_refused", f"model {record.model} chose a plan and is not there any more"
                )
                continue
            known.quarantine.update(record.discarded)
            known.baseline_ms.setdefault(region, record.entry.evidence.default_s * 1e3)
            if record.runs:
                known.steered_ms.setdefault((region, steering.key), (record.runs, record.best_s * 1e3))
            known.looked[region] = record.model, time.monotonic()
            self._serve(engine, scope, known, record)
            self._count("choices_recalled")

    def _kept(self, scope: Scope, known: KnownTemplate) -> dict[bytes, RegionChoice]:
        if self._store is None or hexed(known) not in scope.chosen:
            return {}
        try:
            states = self._store.choices.of(scope.engine, scope.environment, hexed(known))
        except StoreError as error:
            self._log_once("not_recalled", str(error))
            return {}
        found = {}
        for state in states:
            try:
                record = RegionChoice.from_dict(state)
            except InvalidInput as error:
                self._log_once("not_recalled", str(error))
            else:
                found[record.region] = record
        return found

    def outgrown(self, known: KnownTemplate, served: Served) -> None:
        """What a choice rests on has changed: its region may be looked at again."""
        known.regions.pop(served.region, None)
        known.looked.pop(served.region, None)

    # -- how it turns out -----------------------------------------------------------------------------

    def saw(
        self, scope: Scope, prepared: Prepared, latency_ms: float, default_ms: float, *, cut: bool
    ) -> None:
        """Learn how a choice turned out."""
        known, served = prepared.known, prepared.served
        assert known is not None
        assert served is not None
        assert served.choice is not None
        record = known.regions.get(served.region)
        if record is None or record.entry.steering.key != served.key:
            return
        if not (0.0 < latency_ms < math.inf and 0.0 < default_ms < math.inf):
            return
        ratio = math.log(latency_ms / default_ms)
        held = self.gates.observe(scope.engine, record.model, served.choice, ratio, hexed(known), cut=cut)
        if held is not None:
            self._count("bounds_held" if held else "bounds_broken")
        told = query_of(known, prepared.literals, prepared.params)
        self._runs.ran(scope, known, served.region, served.key, told, latency_ms, cut=cut)
        if not cut:
            record = known.regions[served.region] = record.ran(latency_ms / 1e3)
            if record.runs in (1, TOLD_RUNS):
                self._keep(scope, record)
        if self.gates.key(scope.engine) is None:
            # By a choice of an earlier process: its model is read, and its bounds with it, by somebody else.
            self._later(lambda: self._load(scope.engine))
        if self.gates.full or record.runs in (1, TOLD_RUNS):
            self._later(self.save)

    def discarded(self, scope: Scope, prepared: Prepared, reason: str) -> None:
        """A choice was refused: it is not made again, by this process or the next."""
        known, served = prepared.known, prepared.served
        record = None if known is None or served is None else known.regions.get(served.region)
        if known is None or served is None or record is None or record.entry.steering.key != served.key:
            return
        record = known.regions[served.region] = record.without(served.key, reason)
        known.verified = tuple(each for each in known.verified if each is not served)
        self._keep(scope, record)
        self._later(self.save)

    # -- keeping --------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write what the store does not hold yet. Nothing is raised."""
        store = self._store
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        if store is None:
            return
        for key, record in unsaved.items():
            if not self._written(partial(store.choices.keep, *key[:2], record.to_dict())):
                with self._lock:
                    # The next time; what was noted meanwhile is newer.
                    self._unsaved = {key: record} | self._unsaved
        self._written(partial(self._runs.save, store.trials))
        self._written(self.gates.save)

    def _written(self, write: Callable[[], None]) -> bool:
        """Whether that could be written; if not, it is said."""
        try:
            write()
        except Exception as error:
            if not isinstance(error, StoreError):
                log.debug("a choice was not recorded", exc_info=True)
            self._log_once("not_recorded", str(error) or type(error).__name__)
            return False
        return True

    def _keep(self, scope: Scope, record: RegionChoice) -> None:
        key = scope.engine, scope.environment, record.entry.key.fingerprint, record.region
        with self._lock:
            self._unsaved[key] = record

    def _later(self, work: Callable[[], None]) -> None:
        if self._policy.background:
            self._worker.submit(Task(self, lambda task: work()))
        else:
            work()

    def _load(self, engine: str) -> None:
        self.gates.gate(engine)

    def _refresh(self) -> None:
        """Look for newer models, now and then."""
        if time.monotonic() - self._refreshed >= REFRESH_S:
            self._refreshed = time.monotonic()
            self._later(self.refresh)

    def refresh(self) -> None:
        """Have newer models take over. Reads their files."""
        if self.gates.refresh():
            self._count("models_replaced")


_UNSIGNED: Final = 2**64 - 1


def hexed(known: KnownTemplate) -> str:
    """A template's fingerprint as stores have it."""
    return f"{known.template.fingerprint & _UNSIGNED:016x}"
