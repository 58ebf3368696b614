"""What the machine is doing, sampled now and then, never on the hot path."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.learning.features import FEATURES, columns

Floats = NDArray[np.float64]

_SYSTEM: Final = columns("system")
#: Where a container's limit is written: cgroup 2, cgroup 1.
_LIMITS: Final = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
_QUOTA: Final = "sys/fs/cgroup/cpu.max"


class SystemSampler:
    """Samples the machine at most once per interval.

    :attr:`latest` never reads anything: it is what the last :meth:`sample` saw. Where the system does not say
    something (no ``/proc``), its feature keeps a neutral value.

    Parameters
    ----------
    interval_s : float
    root : path
        Where ``proc`` and ``sys`` are.
    clock : callable
        Seconds that only rise.
    """

    def __init__(
        self,
        interval_s: float = 10.0,
        *,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = interval_s
        self._root = root
        self._clock = clock
        self._due = -math.inf
        self._ticks: tuple[float, float] | None = None
        self._waiting = 0.0
        self.latest: Floats = np.array([1, 0, 0, 1, 0, 1, 1], np.float64)
        self.latest.setflags(write=False)

    def sample(self, *, buffer_hits: float | None = None, concurrency: float | None = None) -> Floats:
        """The features of source ``system``, read anew if the last sample is old enough.

        Parameters
        ----------
        buffer_hits, concurrency : float, optional
            What the engine says: its share of buffer hits, its running statements. Kept until said anew.
        """
        now = self._clock()
        sampled = self.latest.copy()
        if now >= self._due:
            self._due = now + self._interval_s
            processors = self._processors()
            memory, available = self._memory()
            sampled[:5] = (
                processors,
                self._load() / processors,
                math.log1p(memory),
                available,
                self._io_wait(),
            )
        if buffer_hits is not None:
            sampled[5] = buffer_hits
        if concurrency is not None:
            sampled[6] = concurrency
        for position, feature in enumerate(FEATURES[_SYSTEM]):
            sampled[position] = min(max(sampled[position], feature.least), feature.most)
        sampled.setflags(write=False)
        self.latest = sampled
        return sampled

    def _read(self, path: str) -> str:
        try:
            return (self._root / path).read_text()
        except OSError:
            # Another system, or a file that this one does not have: the feature says nothing then.
            return ""

    def _processors(self) -> float:
        count = float(os.cpu_count() or 1)
        words = self._read(_QUOTA).split()
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            count = min(count, max(int(words[0]) / int(words[1]), 1.0))
        return count

    def _load(self) -> float:
        words = self._read("proc/loadavg").split()
        return float(words[0]) if words else 0.0

    def _memory(self) -> tuple[float, float]:
        """Bytes that may be used, and the share of them that is free."""
        total = available = 0.0
        for line in self._read("proc/meminfo").splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if words and name in ("MemTotal", "MemAvailable"):
                if name == "MemTotal":
                    total = float(words[0]) * 1024
                else:
                    available = float(words[0]) * 1024
        limits = [float(text) for path in _LIMITS if (text := self._read(path).strip()).isdecimal()]
        limit = min([total, *limits]) if total else min(limits, default=0.0)
        return limit, min(available / limit, 1.0) if limit else 1.0

    def _io_wait(self) -> float:
        """Share of the processors' time since the last sample that passed waiting for a disk."""
        words = self._read("proc/stat").partition("\n")[0].split()[1:]
        if len(words) < 5:
            return 0.0
        ticks = (float(words[4]), sum(float(word) for word in words[:8]))
        before, self._ticks = self._ticks, ticks
        if before is not None and ticks[1] > before[1]:
            self._waiting = max(ticks[0] - before[0], 0.0) / (ticks[1] - before[1])
        return self._waiting
