"""Interleaved confirmation of a candidate, which may be looked at after every pair.

In a pair the candidate runs first, and the default is cut at 1.2 × the candidate's time: that it has not
finished by then is a win, and how large a win does not need to be known. A cut default enters with the
ratio 1 / 1.2, which is never better for the candidate than the truth. A candidate that is cut at the
default's known time is refuted at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from godb_fast.errors import InvalidInput
from godb_fast.evidence import log_ratio_test, sign_evidence

#: The default is cut at this multiple of the candidate's time.
DEFAULT_CUT: Final = 1.2


class Standing(Enum):
    """Where a confirmation stands."""

    OPEN = "open"
    PROMOTED = "promoted"
    REFUTED = "refuted"


@dataclass(frozen=True)
class PairRule:
    """When a candidate is promoted.

    Parameters
    ----------
    alpha : float
        Probability of ever promoting a candidate that is not faster.
    most_pairs : int
        A candidate that has not been confirmed by then is given up.
    """

    alpha: float = 0.05
    most_pairs: int = 12

    def standing(self, evidence: PairEvidence) -> Standing:
        """Look at the evidence; any number of looks keeps ``alpha``."""
        if evidence.cut:
            return Standing.REFUTED
        if evidence.ratio < 1.0 and evidence.against_equality >= 1.0 / self.alpha:
            return Standing.PROMOTED
        # Two losses more than wins: a confirmation would take longer than it can pay.
        if evidence.pairs >= 2 * evidence.wins + 2 or evidence.pairs >= self.most_pairs:
            return Standing.REFUTED
        return Standing.OPEN


@dataclass
class PairEvidence:
    """Log ratios (candidate over default) of the pairs run so far, in order."""

    log_ratios: list[float] = field(default_factory=list)
    cut: bool = False

    @property
    def pairs(self) -> int:
        """Pairs run."""
        return len(self.log_ratios)

    @property
    def wins(self) -> int:
        """Pairs in which the candidate was faster."""
        return sum(value < 0.0 for value in self.log_ratios)

    @property
    def ratio(self) -> float:
        """Geometric mean of the ratios; 1 before the first pair."""
        return math.exp(sum(self.log_ratios) / self.pairs) if self.pairs else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Confidence sequence's present interval of the ratio."""
        test = log_ratio_test(self.log_ratios)
        return test.low, test.high

    @property
    def against_equality(self) -> float:
        """E-value that the candidate is not faster: the mean of the t-test's and the sign test's."""
        if not self.pairs:
            return 1.0
        return 0.5 * (log_ratio_test(self.log_ratios).evidence + sign_evidence(self.wins, self.pairs))

    def candidate_cut(self) -> None:
        """The candidate had not ended at the default's known time: it is refuted, whatever came before."""
        self.cut = True

    def pair(self, candidate_s: float, default_s: float) -> None:
        """A pair whose candidate ended; ``default_s`` is where the default ended or was cut.

        Raises
        ------
        InvalidInput
            If a time is not positive.
        """
        for value in (candidate_s, default_s):
            if not (math.isfinite(value) and value > 0.0):
                raise InvalidInput(f"{value} is not a time of a run in seconds")
        self.log_ratios.append(math.log(candidate_s / default_s))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"log_ratios": list(self.log_ratios), "cut": self.cut}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> PairEvidence:
        """What :meth:`to_dict` wrote."""
        return cls([float(value) for value in raw["log_ratios"]], bool(raw["cut"]))
