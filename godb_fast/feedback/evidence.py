"""What was observed of each shape: the last few log ratios, with the parameters under which they were seen.

Plain arrays with one row per shape and one column per observation, so that a whole query's evidence is one
gather. Memory is bounded: a full shape forgets its oldest observation, a full table the shape that was not
observed for the longest time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.feedback.shapes import MAX_WIDTH, Floats, Ints, Words

#: Never observed.
_NEVER: Final = -np.inf
#: Logarithms of rows, or of their ratios, beyond this are none; nor are so many observations.
_MOST_LOG: Final = 700.0
_MOST_SEEN: Final = 1e12


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
        selectivity: Floats,
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data; times as they are on the owner's clock."""
        shapes = []
        for key, row in self.rows.items():
            entries = []
            for column in np.flatnonzero(self.seen[row] != _NEVER).tolist():
                entries.append(
                    [
                        float(self.ratio[row, column]),
                        float(self.seen[row, column]),
                        int(self.literal[row, column]),
                        [round(float(value), 4) for value in self.selectivity[row, column]],
                        self.tokens[row, column].tolist(),
                        None if np.isnan(self.log_rows[row, column]) else float(self.log_rows[row, column]),
                    ]
                )
            shapes.append([key, entries])
        return {"shapes": shapes}

    def load(self, data: dict[str, Any]) -> None:
        """What :meth:`to_dict` gave, added to what there is."""
        for key, entries in data["shapes"]:
            for entry in entries:
                self._take(int(key), entry)

    def take_in(self, before: dict[str, Any], theirs: dict[str, Any]) -> int:
        """Add what another owner observed; of how many observations that was news.

        Of two observations of the same literals the later one stays, and so do the latest of a full shape.

        Parameters
        ----------
        before, theirs : dict
            States: the one that both began with, and what the other one made of it.
        """
        known = {
            (int(key), int(literal)): (ratio, seen)
            for key, entries in before["shapes"]
            for ratio, seen, literal, *_ in entries
        }
        taken = 0
        for key, entries in theirs["shapes"]:
            for entry in entries:
                ratio, seen, literal = entry[:3]
                if known.get((int(key), int(literal))) != (ratio, seen) and self._is_news(
                    int(key), int(literal), float(seen)
                ):
                    taken += self._take(int(key), entry)
        return taken

    def _is_news(self, key: int, literal: int, seen: float) -> bool:
        row = self.rows.get(key)
        if row is None:
            return len(self.rows) < self.max_shapes or seen > float(self.seen.max(axis=1).min())
        same = (self.literal[row] == np.uint64(literal)) & (self.seen[row] != _NEVER)
        return bool(seen > float(self.seen[row, same].max() if same.any() else self.seen[row].min()))

    def _take(self, key: int, entry: list[Any]) -> bool:
        """Add an observation of :meth:`to_dict`; whether an execution can have shown it."""
        ratio, seen, literal, selectivity, tokens, *more = entry
        if not (abs(ratio) <= _MOST_LOG and 0.0 <= seen <= _MOST_SEEN):
            return False
        self.add(
            key,
            float(ratio),
            float(seen),
            int(literal),
            np.array(selectivity[:MAX_WIDTH], np.float64),
            np.array(tokens[:MAX_WIDTH], np.uint64),
            float(more[0]) if more and more[0] is not None and abs(more[0]) <= _MOST_LOG else np.nan,
        )
        return True
