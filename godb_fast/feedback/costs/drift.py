"""Change detectors on our kernels: Page–Hinkley's test and ADWIN."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast import backend as backends
from godb_fast.errors import InvalidInput

Floats = NDArray[np.float64]

#: Bucket sizes of ADWIN: windows of up to 2^40 values.
_ROWS: Final = 40


class PageHinkley:
    """Page–Hinkley's test for a change of the mean, in either direction.

    Parameters
    ----------
    least_values : int
        Before so many values nothing is a change.
    tolerance : float
        A change of the mean that does not matter.
    threshold : float
        How far deviations add up before they are a change.
    fading : float
        What the sum keeps from one value to the next, in (0, 1].
    backend : str, optional
        Of the kernel.

    References
    ----------
    Page, "Continuous inspection schemes", Biometrika 1954.
    """

    def __init__(
        self,
        *,
        least_values: int = 30,
        tolerance: float = 0.005,
        threshold: float = 50.0,
        fading: float = 0.9999,
        backend: str | None = None,
    ) -> None:
        if least_values < 1 or tolerance < 0 or threshold <= 0 or not 0 < fading <= 1:
            raise InvalidInput(
                f"least_values {least_values}, tolerance {tolerance}, threshold {threshold}, fading "
                f"{fading}: out of range"
            )
        self._parameters = (float(least_values), float(tolerance), float(threshold), float(fading))
        self._kernels = backends.kernels("drift", backend)
        self._state = np.zeros(self._kernels.PAGE_HINKLEY_STATE)

    def update(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Take values in; at which of them there was a change. The next value begins anew."""
        taken = _taken(values)
        changes = np.zeros(len(taken), np.int64)
        self._kernels.page_hinkley(len(taken), taken, *self._parameters, self._state, changes)
        return changes.astype(np.bool_)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what was seen, not the parameters."""
        return {"state": self._state.tolist()}

    def restore(self, raw: dict[str, Any]) -> None:
        """Go on from what :meth:`to_dict` wrote."""
        self._state[:] = _numbers(raw, "state", self._state.shape)


class Adwin:
    """ADWIN: the longest window of the latest values whose mean has not changed.

    Parameters
    ----------
    confidence : float
        Probability of a cut where there was no change (delta), in (0, 1).
    every : int
        Cuts are looked for at every so many values.
    most : int
        Buckets of one size.
    shortest : int
        Values in each part of a cut, at least.
    grace : int
        Values before the first cut.
    backend : str, optional
        Of the kernel.

    References
    ----------
    Bifet and Gavaldà, "Learning from time-changing data with adaptive windowing", SDM 2007.
    """

    def __init__(
        self,
        *,
        confidence: float = 0.002,
        every: int = 32,
        most: int = 5,
        shortest: int = 5,
        grace: int = 10,
        backend: str | None = None,
    ) -> None:
        if not 0 < confidence < 1 or every < 1 or most < 2 or shortest < 1 or grace < 1:
            raise InvalidInput(
                f"confidence {confidence}, every {every}, most {most}, shortest {shortest}, grace {grace}: "
                "out of range"
            )
        self._parameters = (float(confidence), every, most, shortest, grace)
        self._kernels = backends.kernels("drift", backend)
        self._totals = np.zeros((_ROWS, most + 1))
        self._squares = np.zeros((_ROWS, most + 1))
        self._held = np.zeros(_ROWS, np.int64)
        self._counts = np.zeros(self._kernels.ADWIN_COUNTS, np.int64)
        self._state = np.zeros(self._kernels.ADWIN_STATE)

    def update(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Take values in; at which of them the window was cut. The next value begins anew."""
        taken = _taken(values)
        changes = np.zeros(len(taken), np.int64)
        self._kernels.adwin(
            len(taken), taken, *self._parameters, self._totals, self._squares, self._held, self._counts,
            self._state, changes,
        )  # fmt: skip
        return changes.astype(np.bool_)

    @property
    def width(self) -> int:
        """Values in the window."""
        return int(self._counts[0])

    @property
    def mean(self) -> float:
        """Of the values in the window; 0 if there are none."""
        return float(self._state[0]) / self.width if self.width else 0.0

    @property
    def variance(self) -> float:
        """Of the values in the window; 0 if there are none."""
        return float(self._state[1]) / self.width if self.width else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what was seen, not the parameters."""
        return {
            name: getattr(self, f"_{name}").tolist()
            for name in ("totals", "squares", "held", "counts", "state")
        }

    def restore(self, raw: dict[str, Any]) -> None:
        """Go on from what :meth:`to_dict` wrote."""
        read = {name: _numbers(raw, name, getattr(self, f"_{name}").shape) for name in self.to_dict()}
        held, rows = read["held"], read["counts"][2]
        if (held < 0).any() or (held > self._parameters[2]).any() or not 0 <= rows <= _ROWS:
            raise InvalidInput("the kept window of a change detector is damaged")
        for name, values in read.items():
            getattr(self, f"_{name}")[:] = values


def _taken(values: ArrayLike) -> Floats:
    taken = np.ascontiguousarray(np.atleast_1d(np.asarray(values, np.float64)))
    if taken.ndim != 1 or not np.isfinite(taken).all():
        raise InvalidInput("a change detector takes a row of finite numbers")
    return taken


def _numbers(raw: dict[str, Any], name: str, shape: tuple[int, ...]) -> Floats:
    try:
        values = np.array(raw[name], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the kept state of a change detector cannot be read: {error!r}") from error
    if values.shape != shape or not np.isfinite(values).all():
        raise InvalidInput(f"the kept {name} of a change detector has shape {values.shape}, not {shape}")
    return values
