"""The interface of a store, what it returns, and where the default one lies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from godb_fast.core import Decision, Observation
from godb_fast.errors import InvalidInput

if TYPE_CHECKING:
    from godb_fast.store.choices import KeptChoices
    from godb_fast.store.corrections import KeptCorrections
    from godb_fast.store.costs import KeptCosts
    from godb_fast.store.explorations import Explorations
    from godb_fast.store.trials import TrialStore

#: Values of ``GODB_FAST_STORE`` and ``--store`` that mean: record nothing.
OFF: Final = frozenset({"off", "none", "0"})


@dataclass(frozen=True)
class StoreHealth:
    """How a store fares.

    Parameters
    ----------
    state : str
        ``ok``, ``degraded`` (records are dropped now; ``reason`` says why and what to do) or ``closed``.
    written, dropped, queued : int
        Records of this process, since the store was opened (or since the fork).
    """

    state: str
    location: str
    written: int
    dropped: int
    queued: int
    reason: str | None = None


@dataclass(frozen=True)
class StoredDecision:
    """A decision as it was recorded; ``details`` is :meth:`Decision.to_dict` without the SQL text.

    ``text`` is the statement's normalized text, ``sql`` the text as sent (only if literals are kept).
    """

    id: str
    at: datetime
    fingerprint: int
    engine: str
    epoch: str
    action: str
    reason: str
    steering: str
    text: str | None
    sql: str | None
    details: dict[str, Any]


@dataclass(frozen=True)
class LatencySummary:
    """Latencies of one fingerprint under one kind of plan; only complete runs count."""

    fingerprint: int
    steered: bool
    runs: int
    total_ms: float
    p50_ms: float
    p95_ms: float
    worst_ms: float


@dataclass(frozen=True)
class TemplateRuns:
    """Complete executions of one template in one database, under whatever plans.

    ``text`` is the normalized statement (None if it was not recorded), ``sql`` one as it was sent (only if
    literals are kept).
    """

    fingerprint: int
    engine: str
    database: str
    runs: int
    total_ms: float
    worst_ms: float
    rows: int | None
    text: str | None
    sql: str | None


@runtime_checkable
class Store(Protocol):
    """Keeps decisions and observations. Thread-safe.

    ``record``, ``flush`` and ``close`` never raise and never wait on a disk for long; the others are
    explicit questions and raise :class:`~godb_fast.errors.StoreError`.
    """

    def record(self, decision: Decision, observation: Observation, text: str | None = None) -> None:
        """Keep an execution and, once, the decision behind it. ``text`` is the normalized statement."""
        ...

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was recorded so far is written; False if it was dropped or time ran out."""
        ...

    def close(self) -> None:
        """Write what is queued and release the store."""
        ...

    def health(self) -> StoreHealth:
        """Counts and state."""
        ...

    def check(self) -> None:
        """Raise StoreError if the store cannot be read and written."""
        ...

    def counts(self) -> dict[str, int]:
        """Number of decisions, observations and templates."""
        ...

    def decisions(self, limit: int = 100, *, fingerprint: int | None = None) -> list[StoredDecision]:
        """The most recent decisions, newest first."""
        ...

    def observations(
        self, limit: int = 100, *, fingerprint: int | None = None, since: datetime | None = None
    ) -> list[Observation]:
        """The most recent observations with their plans, newest first."""
        ...

    def latencies(self, fingerprint: int | None = None) -> Sequence[LatencySummary]:
        """Latencies per fingerprint and kind of plan, largest total first."""
        ...


@runtime_checkable
class KeepsExplorations(Protocol):
    """A store that also keeps what exploration has proved."""

    @property
    def explorations(self) -> Explorations:
        """Verified steerings, the state of explorations, and the ledger."""
        ...


@runtime_checkable
class KeepsCorrections(Protocol):
    """A store that also keeps what cardinality feedback has learned."""

    @property
    def corrections(self) -> KeptCorrections:
        """One state per database."""
        ...


@runtime_checkable
class KeepsCosts(Protocol):
    """A store that also keeps what operators cost."""

    @property
    def costs(self) -> KeptCosts:
        """One state per database and machine."""
        ...


@runtime_checkable
class KeepsTrials(Protocol):
    """A store that also keeps which plan of a query took how long."""

    @property
    def trials(self) -> TrialStore:
        """Runs of plans, for training."""
        ...


@runtime_checkable
class KeepsChoices(Protocol):
    """A store that also keeps what models chose."""

    @property
    def choices(self) -> KeptChoices:
        """Regions of statements that a model was asked for."""
        ...


def default_path() -> Path | None:
    """``GODB_FAST_STORE``, else a file in the user's data folder; None if the variable says ``off``."""
    named = os.environ.get("GODB_FAST_STORE", "").strip()
    if named.lower() in OFF:
        return None
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("godb_fast", appauthor=False)) / "store.sqlite"


def open_store(target: object = None, *, keep_literals: bool = False) -> Store | None:
    """The store that ``target`` means.

    Parameters
    ----------
    target : None, str, path or Store
        None or ``"off"`` keeps nothing; ``"default"`` is :func:`default_path`; a path names a file; a Store
        is returned as it is. Nothing is opened before the first record or question.
    keep_literals : bool
        Also store the literals of statements, plans and error messages.

    Raises
    ------
    InvalidInput
        For anything else.
    """
    if target is None or (isinstance(target, str) and target.lower() in OFF):
        return None
    if isinstance(target, Store):
        return target
    if isinstance(target, (str, os.PathLike)):
        path = default_path() if target == "default" else Path(target)
        if path is None:
            return None
        from godb_fast.store.sqlite import SqliteStore

        return SqliteStore(path, keep_literals=keep_literals)
    raise InvalidInput(f"store is {target!r}; give a path, a Store, 'default', or None to keep nothing")
