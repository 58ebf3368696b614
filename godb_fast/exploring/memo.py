"""The verified plan memo: what was proved for a query and a region of its parameters."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from typing import Any

from godb_fast.core import Steering
from godb_fast.errors import InvalidInput


@dataclass(frozen=True)
class MemoKey:
    """A query's fingerprint and the bucket of its parameters; bucket 0 where they do not matter."""

    fingerprint: int
    bucket: int = 0


@dataclass(frozen=True)
class Evidence:
    """Why a steering is believed.

    Parameters
    ----------
    pairs : int
        Interleaved pairs run; 0 for a promotion without confirmation.
    ratio, low, high : float
        Time over the default's, with its interval.
    at_s : float
        When it was last verified, in seconds since 1970, UTC.
    note : str
        What a reader must know (verified on slices, say).
    rows : tuple of (str, float)
        Rows of its tables then.
    analyzed : tuple of (str, float)
        When statistics of its tables had last been made, in seconds since 1970, where the engine tells.
    default_s : float
        The default's time beside which it was verified; where that did not finish, where it was cut.
        0 where it is not known.
    """

    pairs: int
    ratio: float
    low: float
    high: float
    at_s: float
    note: str = ""
    default_s: float = 0.0
    rows: tuple[tuple[str, float], ...] = ()
    analyzed: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class MemoEntry:
    """A steering that has beaten the default, and what it was verified on.

    ``epoch`` is that of the whole catalogue then, ``dependencies`` the digest of what the query uses of it
    (:class:`godb_fast.engines.dependencies.Dependencies`); where there is one, it alone decides. Where there
    is none (engines that cannot tell, temporary tables, stores of earlier versions) it is the epoch.
    ``reverify`` marks one of an epoch gone by: it is not steered to until it has been confirmed again.
    ``apart`` are neighbouring buckets in which it failed while it holds in its own: they are split off.
    """

    key: MemoKey
    steering: Steering
    epoch: str
    evidence: Evidence
    reverify: bool = False
    apart: tuple[int, ...] = ()
    dependencies: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "fingerprint": f"{self.key.fingerprint & (2**64 - 1):016x}",
            "bucket": self.key.bucket,
            "steering": self.steering.to_json(),
            "epoch": self.epoch,
            "evidence": asdict(self.evidence),
            "reverify": self.reverify,
            "apart": list(self.apart),
            "dependencies": self.dependencies,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> MemoEntry:
        """What :meth:`to_dict` wrote; fingerprints come back unsigned."""
        return cls(
            MemoKey(int(raw["fingerprint"], 16), int(raw["bucket"])),
            Steering.from_json(raw["steering"]),
            str(raw["epoch"]),
            _evidence(raw["evidence"]),
            bool(raw["reverify"]),
            tuple(int(bucket) for bucket in raw.get("apart", ())),
            str(raw.get("dependencies", "")),
        )


def _evidence(raw: dict[str, Any]) -> Evidence:
    by_table = {
        name: tuple((str(table), float(value)) for table, value in raw.get(name, ()))
        for name in ("rows", "analyzed")
    }
    return Evidence(**{**raw, **by_table})


class Memo:
    """Entries by key, bounded: the one that was not asked for longest makes room. Not thread-safe.

    Raises
    ------
    InvalidInput
        If the capacity is not positive.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < 1:
            raise InvalidInput(f"a memo of {capacity} entries holds nothing")
        self.capacity = capacity
        self._entries: OrderedDict[MemoKey, MemoEntry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: MemoEntry) -> None:
        """Keep an entry in place of its key's former one."""
        self._entries[entry.key] = entry
        self._entries.move_to_end(entry.key)
        while len(self._entries) > self.capacity:
            self._entries.popitem(last=False)

    def steering(self, key: MemoKey, epoch: str) -> Steering | None:
        """The steering to use now; None if there is none, or it awaits verification.

        An entry of another epoch is marked for verification.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        if entry.epoch != epoch and not entry.reverify:
            self._entries[key] = entry = replace(entry, reverify=True)
        return None if entry.reverify else entry.steering

    def entry(self, key: MemoKey) -> MemoEntry | None:
        """The entry as it stands."""
        return self._entries.get(key)

    def drop(self, key: MemoKey) -> None:
        """Forget an entry, if there is one."""
        self._entries.pop(key, None)

    def to_verify(self) -> list[MemoEntry]:
        """Entries that await verification, least recently used first."""
        return [entry for entry in self._entries.values() if entry.reverify]

    def to_dicts(self) -> list[dict[str, Any]]:
        """All entries as plain data, least recently used first."""
        return [entry.to_dict() for entry in self._entries.values()]

    @classmethod
    def from_dicts(cls, raw: list[dict[str, Any]], capacity: int = 10_000) -> Memo:
        """A memo of what :meth:`to_dicts` wrote."""
        memo = cls(capacity)
        for entry in raw:
            memo.put(MemoEntry.from_dict(entry))
        return memo
