"""What was observed of each shape: the last few log ratios, with the parameters under which they were seen.

Plain arrays with one row per shape and one column per observation, so that a whole query's evidence is one
gather. Memory is bounded: a full shape forgets its oldest observation, a full table the shape that was not
observed for the longest time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.feedback.observed import Observed
from godb_fast.feedback.shapes import MAX_WIDTH, Floats, Ints, Words

#: Never observed.
_NEVER: Final = -np.inf


class Evidence:
    """Log ratios by shape.

    Parameters
    ----------
    max_shapes : int
    per_shape : int
        Observations that are kept of each shape.

    Attributes
    ----------
    generation : int
        Changes whenever a shape gets another row.
    version : int64 array
        Of each row; changes with each observation.
    """

    def __init__(self, max_shapes: int = 4096, per_shape: int = 32) -> None:
        self.max_shapes, self.per_shape = max_shapes, per_shape
        self.generation = 0
        self.rows: dict[int, int] = {}
        self._room(min(64, max_shapes))

    def _room(self, rows: int) -> None:
        """Arrays for so many shapes, with what there is."""
        shape = (rows, self.per_shape)
        fresh: dict[str, NDArray[Any]] = {
            "ratio": np.zeros(shape),
            "log_rows": np.full(shape, np.nan),
            "seen": np.full(shape, _NEVER),
            "literal": np.zeros(shape, np.uint64),
            "selectivity": np.zeros((*shape, MAX_WIDTH), np.float32),
            "tokens": np.zeros((*shape, MAX_WIDTH), np.uint64),
            "version": np.zeros(rows, np.int64),
            "key": np.zeros(rows, np.uint64),
        }
        for name, array in fresh.items():
            if hasattr(self, name):
                array[: len(getattr(self, name))] = getattr(self, name)
            setattr(self, name, array)

    ratio: Floats
    #: ln of the observed rows; NaN where an earlier version did not keep them.
    log_rows: Floats
    seen: Floats
    literal: Words
    selectivity: NDArray[np.float32]
    tokens: Words
    version: Ints
    key: Words

    def find(self, keys: Words) -> Ints:
        """The row of each key, -1 where nothing was observed."""
        rows = self.rows
        return np.array([rows.get(key, -1) for key in keys.tolist()], np.int64)

    def add(
        self,
        key: int,
        ratio: float,
        now: float,
        literal: int,
        selectivity: NDArray[np.floating[Any]],
        tokens: Words,
        log_rows: float = np.nan,
    ) -> float | None:
        """Keep an observation; the former ln rows under the same literals, which it replaces."""
        row = self.rows.get(key)
        if row is None:
            row = self._new_row(key)
        same = np.flatnonzero((self.literal[row] == np.uint64(literal)) & (self.seen[row] != _NEVER))
        former = float(self.log_rows[row, same[0]]) if same.size else None
        column = int(same[0]) if same.size else int(self.seen[row].argmin())
        width = len(selectivity)
        self.ratio[row, column] = ratio
        self.log_rows[row, column] = log_rows
        self.seen[row, column] = now
        self.literal[row, column] = literal
        self.selectivity[row, column] = 0.0
        self.selectivity[row, column, :width] = selectivity
        self.tokens[row, column] = 0
        self.tokens[row, column, :width] = tokens
        self.version[row] += 1
        return former

    def age(self, key: int, by: float, now: float) -> None:
        """Let all observations of a shape but those made now count as older."""
        row = self.rows[key]
        older = self.seen[row] < now
        self.seen[row, older] -= by
        self.version[row] += 1

    def _new_row(self, key: int) -> int:
        row = len(self.rows)
        if row >= len(self.version):
            if len(self.version) < self.max_shapes:
                self._room(min(2 * len(self.version), self.max_shapes))
            else:
                row = int(self.seen.max(axis=1).argmin())
                del self.rows[int(self.key[row])]
                self.seen[row] = _NEVER
        self.rows[key] = row
        self.key[row] = key
        self.generation += 1
        return row

    def clear(self) -> None:
        """Forget everything."""
        self.rows.clear()
        self.seen[:] = _NEVER
        self.generation += 1

    def observed(self) -> Observed:
        """A copy of all observations; times as they are on the owner's clock."""
        order = np.fromiter(self.rows.values(), np.int64, len(self.rows))
        places, column = np.nonzero(self.seen[order] != _NEVER)
        row = order[places]
        selectivity, tokens = self.selectivity[row, column], self.tokens[row, column]
        used = np.flatnonzero(((selectivity != 0.0) | (tokens != 0)).any(axis=0))
        width = int(used[-1]) + 1 if used.size else 0
        return Observed(
            self.key[row],
            self.ratio[row, column],
            self.seen[row, column],
            self.literal[row, column],
            self.log_rows[row, column],
            selectivity[:, :width],
            tokens[:, :width],
        )

    def load(self, observed: Observed) -> None:
        """Take all of these, in place of what there is."""
        self.clear()
        keys, row, counts = np.unique(observed.key, return_inverse=True, return_counts=True)
        if len(keys) > self.max_shapes or counts.max(initial=0) > self.per_shape:
            # Kept by one that had more room.
            self.take_in(observed)
            return
        if len(keys) > len(self.version):
            self._room(len(keys))
        order = np.argsort(row, kind="stable")
        column = np.empty(len(row), np.int64)
        column[order] = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = observed.tokens.shape[1]
        self.rows.update(zip(keys.tolist(), range(len(keys)), strict=True))
        self.key[: len(keys)] = keys
        self.ratio[row, column] = observed.ratio
        self.seen[row, column] = observed.seen
        self.literal[row, column] = observed.literal
        self.log_rows[row, column] = observed.log_rows
        self.selectivity[row, column] = 0.0
        self.selectivity[row, column, :width] = observed.selectivity
        self.tokens[row, column] = 0
        self.tokens[row, column, :width] = observed.tokens

    def take_in(self, observed: Observed) -> int:
        """Add what another owner observed; of how many observations that was news.

        Of two observations of the same literals the later one stays, and so do the latest of a full shape.
        """
        taken = 0
        # The latest first: where there is no room for all, older ones do not even come in.
        for at in np.argsort(-observed.seen, kind="stable").tolist():
            key, literal, seen = int(observed.key[at]), int(observed.literal[at]), float(observed.seen[at])
            if self._is_news(key, literal, seen):
                self.add(
                    key,
                    float(observed.ratio[at]),
                    seen,
                    literal,
                    observed.selectivity[at],
                    observed.tokens[at],
                    float(observed.log_rows[at]),
                )
                taken += 1
        return taken

    def _is_news(self, key: int, literal: int, seen: float) -> bool:
        row = self.rows.get(key)
        if row is None:
            return len(self.rows) < self.max_shapes or seen > float(self.seen.max(axis=1).min())
        same = (self.literal[row] == np.uint64(literal)) & (self.seen[row] != _NEVER)
        return bool(seen > float(self.seen[row, same].max() if same.any() else self.seen[row].min()))
