"""The gates of a process, one per engine: models that are replaced while they serve, bounds that outlive it.

A gate's bounds are those of its model's card, moved by every outcome that is known of that model's choices,
whatever process saw it. A newer version begins with the bounds of its own card: what the former one got wrong
is not held against it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from godb_fast.core import Template
from godb_fast.errors import GodbError, InvalidInput, ModelRefused, StoreError
from godb_fast.learning.choosing import Choice
from godb_fast.learning.clustering import QueryClusters
from godb_fast.learning.gate import WINDOW, Gate, hears_latency, score_of
from godb_fast.learning.models import Model, shipped
from godb_fast.learning.models.card import Card
from godb_fast.learning.models.folder import ModelFolder
from godb_fast.learning.retraining import ModelSlot
from godb_fast.learning.terms import query_terms
from godb_fast.store.outcomes import Outcome

if TYPE_CHECKING:
    from godb_fast.store import SqliteStore

#: Outcomes that wait to be written.
MOST_WAITING: Final = 8

_all: weakref.WeakSet[Gates] = weakref.WeakSet()


def identity(card: Card) -> str:
    """A version of a model and the hash of its file: versions of different folders may have one number."""
    return f"{card.key}@{card.sha256[:12]}"


class Gates:
    """Gates by engine. Thread-safe.

    Parameters
    ----------
    folder : path or None
        The user's own models; those that ship serve where there are none.
    store : SqliteStore or None
        Where outcomes and clusters are kept.
    say : callable
        Takes what happened and why: ``model_refused`` and a reason, say.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        store: SqliteStore | None,
        say: Callable[[str, str], None],
        backend: str | None = None,
    ) -> None:
        self._folder = folder
        self._store = store
        self._say = say
        self._backend = backend
        self._slots: dict[str, ModelSlot] = {}
        self._gates: dict[str, Gate | None] = {}
        self._sound: dict[str, bool] = {}
        self._clusters: dict[tuple[str, str], QueryClusters] = {}
        self._placed: set[tuple[str, str]] = set()
        self._waiting: list[Outcome] = []
        _all.add(self)
        self.reset()

    def reset(self) -> None:
        """Locks that nobody holds: at first, and in the child of a fork."""
        self._lock = threading.RLock()
        for slot in self._slots.values():
            slot.reset()

    # -- models ---------------------------------------------------------------------------------------

    def gate(self, engine: str) -> Gate | None:
        """The gate of an engine's plans; None if there is no model that can be used. Loads it at first."""
        with self._lock:
            if engine not in self._gates:
                slot = ModelSlot(f"{engine}-ranker", self._folder, backend=self._backend)
                self._slots[engine] = slot
                self._gates[engine] = self._made(slot)
            return self._gates[engine]

    def key(self, engine: str) -> str | None:
        """Which model the gate has: empty if none, None if nobody has asked for the gate yet."""
        if engine not in self._gates:
            return None
        gate = self._gates[engine]
        return "" if gate is None else identity(gate.model.card)

    def refresh(self) -> bool:
        """Have newer models take the place of those before; whether any did. Reads their files."""
        changed = False
        with self._lock:
            self._sound.clear()
            for engine, slot in self._slots.items():
                told = slot.refused
                if slot.refresh():
                    gate = self._made(slot)
                    # One that says nothing of when to act is no successor.
                    if gate is not None:
                        self._gates[engine] = gate
                        changed = True
                elif slot.refused is not told:
                    # What serves goes on; that a newer one is of no use is told once.
                    self._tell(slot)
        return changed

    def sound(self, model: str) -> bool:
        """Whether a model that chose something is still there, as it was, and may be used."""
        with self._lock:
            found = self._sound.get(model)
            if found is None:
                found = self._sound[model] = self._is_sound(model)
            return found

    def _is_sound(self, model: str) -> bool:
        name, _, version = model.partition("@")[0].rpartition("/")
        for place in (self._folder, shipped.SHIPPED):
            if place is None or not version.isdecimal():
                continue
            try:
                card = ModelFolder(place).check(name, int(version))
            except ModelRefused as error:
                if error.reason != "missing":
                    self._say("model_refused", str(error))
                continue
            if identity(card) == model:
                return True
        return False

    def _tell(self, slot: ModelSlot) -> None:
        for each in slot.refused:
            self._say("model_refused", str(each))

    def _made(self, slot: ModelSlot) -> Gate | None:
        self._tell(slot)
        if slot.model is None:
            return None
        try:
            gate = Gate(slot.model, latency=self._latency(slot.model.card))
        except GodbError as error:
            self._say("model_refused", str(error))
            return None
        for outcome in self._known(identity(slot.model.card)):
            gate.replay(outcome.score, outcome.fingerprint, outcome.cluster, cut=outcome.cut)
        return gate

    def _latency(self, ranker: Card) -> Model | None:
        """The latency model that a ranker was judged with, if it was."""
        if not hears_latency(ranker):
            return None
        refused: list[ModelRefused] = []
        found = shipped.find(f"{ranker.engine}-latency", self._folder, refused=refused, backend=self._backend)
        for each in refused:
            self._say("model_refused", str(each))
        return found

    def _known(self, model: str) -> Sequence[Outcome]:
        if self._store is None:
            return ()
        waiting = [outcome for outcome in self._waiting if outcome.model == model]
        try:
            return [*self._store.outcomes.of(model, WINDOW), *waiting]
        except StoreError as error:
            self._say("not_recalled", str(error))
            return waiting

    # -- outcomes -------------------------------------------------------------------------------------

    def observe(
        self, engine: str, model: str, choice: Choice, log_ratio: float, fingerprint: str, *, cut: bool
    ) -> bool | None:
        """Learn how a choice turned out; whether its bound held; None if it is not the gate's model."""
        outcome = Outcome(model, fingerprint, choice.cluster, score_of(choice, log_ratio), cut)
        gate = self._gates.get(engine)
        if self._store is not None:
            with self._lock:
                # A gate that nobody has asked for yet begins with it.
                self._waiting.append(outcome)
                del self._waiting[:-WINDOW]
        if gate is None or identity(gate.model.card) != model:
            return None
        return gate.observe(choice, log_ratio, fingerprint=fingerprint, cut=cut)

    @property
    def predictions(self) -> tuple[int, int]:
        """Predictions that were remembered, and that were made."""
        caches = [gate.predictions for gate in self._gates.values() if gate is not None]
        return sum(cache.hits for cache in caches), sum(cache.misses for cache in caches)

    def strained(self, engine: str) -> bool:
        """Whether bounds of an engine's gate break more often than they may."""
        gate = self._gates.get(engine)
        return gate is not None and gate.strained

    @property
    def full(self) -> bool:
        """Whether enough waits to be written."""
        return len(self._waiting) >= MOST_WAITING

    def save(self) -> None:
        """Write outcomes and clusters that the store does not hold yet.

        Raises
        ------
        StoreError
            If it cannot be written; what waits is tried again the next time.
        """
        store = self._store
        if store is None:
            return
        with self._lock:
            waiting, self._waiting = self._waiting, []
            placed, self._placed = self._placed, set()
        try:
            store.outcomes.keep(waiting)
            waiting = []
            for where in placed:
                clusters = self._clusters[where]
                kept = store.clusters.saved(*where)
                if kept is not None:
                    clusters.adopt(QueryClusters.from_dict(kept))
                store.clusters.save(*where, clusters.to_dict())
        except (StoreError, InvalidInput) as error:
            with self._lock:
                self._waiting = [*waiting, *self._waiting]
            if isinstance(error, StoreError):
                raise
            self._say("not_recorded", str(error))

    # -- clusters -------------------------------------------------------------------------------------

    def cluster(self, engine: str, database: str, template: Template) -> str:
        """The cluster of a template among those of its database."""
        where = engine, database
        with self._lock:
            clusters = self._clusters.get(where)
            if clusters is None:
                clusters = self._clusters[where] = self._kept_clusters(where)
            known = len(clusters)
            found = clusters.assign(query_terms(template, [""] * len(template.slots)).structure)
            if len(clusters) > known:
                self._placed.add(where)
            return found

    def _kept_clusters(self, where: tuple[str, str]) -> QueryClusters:
        if self._store is not None:
            try:
                kept = self._store.clusters.saved(*where)
                return QueryClusters() if kept is None else QueryClusters.from_dict(kept)
            except (StoreError, InvalidInput) as error:
                self._say("not_recalled", str(error))
        return QueryClusters()


def _after_fork() -> None:
    for gates in list(_all):
        gates.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
