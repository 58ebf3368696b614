"""Observations of sub-plans in columns: how evidence is kept, and taken in from others."""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.feedback.shapes import MAX_WIDTH, Floats, Words, mixed

#: Logarithms of rows, or of their ratios, beyond this are none; nor are so many observations.
_MOST_LOG: Final = 700.0
_MOST_SEEN: Final = 1e12
#: As they are kept, on every platform.
_KEPT: Final = {
    "key": "<u8",
    "ratio": "<f8",
    "seen": "<f8",
    "literal": "<u8",
    "log_rows": "<f8",
    "selectivity": "<f4",
    "tokens": "<u8",
}


@dataclass(frozen=True, eq=False)
class Observed:
    """Observations, one per row.

    Parameters
    ----------
    key, literal : uint64 arrays, shape (n,)
        Of the shape, and of the literals.
    ratio : float64 array, shape (n,)
        ln(observed / estimated).
    seen : float64 array, shape (n,)
        When, on the owner's clock.
    log_rows : float64 array, shape (n,)
        ln of the observed rows; NaN where that is not known.
    selectivity : float32 array, shape (n, w)
    tokens : uint64 array, shape (n, w)
        Of the relations' filters, see :class:`~godb_fast.feedback.corrections.SubplanQuery`.
    """

    key: Words
    ratio: Floats
    seen: Floats
    literal: Words
    log_rows: Floats
    selectivity: NDArray[np.float32]
    tokens: Words

    def __len__(self) -> int:
        return len(self.key)

    def only(self, rows: slice | NDArray[Any]) -> Observed:
        """Some of them."""
        return Observed(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})

    def news(self, before: Observed) -> Observed:
        """Those that are not the same in ``before``."""
        return self.only(~np.isin(self._marks(), before._marks()))

    def _marks(self) -> Words:
        mark = mixed(self.key)
        for part in (self.literal, self.ratio.view(np.uint64), self.seen.view(np.uint64)):
            mark = mixed(mark ^ part)
        return mark

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"count": len(self), "width": self.tokens.shape[1]}
        for name, kind in _KEPT.items():
            array = np.ascontiguousarray(getattr(self, name), kind)
            found[name] = base64.b64encode(array.tobytes()).decode("ascii")
        return found

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Observed:
        """What :meth:`to_dict` gave, without what no execution can have shown.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is damaged.
        """
        count, width = int(raw["count"]), int(raw["width"])
        if count < 0 or not 0 <= width <= MAX_WIDTH:
            raise ValueError(f"{count} observations of {width} relations")
        arrays: dict[str, NDArray[Any]] = {}
        for name, kind in _KEPT.items():
            array = np.frombuffer(base64.b64decode(raw[name], validate=True), kind)
            wide = name in ("selectivity", "tokens")
            native = np.dtype(kind).newbyteorder("=")
            arrays[name] = array.reshape((count, width) if wide else count).astype(native)
        beyond = ~(np.abs(arrays["log_rows"]) <= _MOST_LOG)
        arrays["log_rows"][beyond] = np.nan
        shown = (
            (np.abs(arrays["ratio"]) <= _MOST_LOG)
            # What was found to be old counts as seen before the clock began.
            & (np.abs(arrays["seen"]) <= _MOST_SEEN)
            & (np.abs(arrays["selectivity"]) <= _MOST_LOG).all(axis=1)
        )
        return cls(**arrays).only(shown)
