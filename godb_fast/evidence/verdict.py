"""One word for a comparison, which an effect inside the noise of A/A never earns."""

from __future__ import annotations

import math
from enum import Enum

from godb_fast.errors import InvalidInput
from godb_fast.evidence.bootstrap import Interval


class Verdict(Enum):
    """What a ratio with its interval allows one to say."""

    GAIN = "gain"
    NO_GAIN = "no gain here"
    INCONCLUSIVE = "inconclusive"
    WORSE = "worse"


def judge(ratio: Interval, same_against_same: Interval, *, margin: float = 0.02) -> Verdict:
    """Compare a ratio (below 1 is faster) with the A/A row, the baseline against itself.

    The noise is the farther end of the A/A interval from 1, in logarithms.

    - ``gain`` or ``worse``: the whole interval lies on one side of 1, and the estimate lies beyond the noise;
    - ``no gain here``: the interval rules out any gain of more than ``margin``, and the estimate is no loss
      of more than ``margin`` either;
    - ``inconclusive``: everything else.

    Raises
    ------
    InvalidInput
        If an interval is not ordered and positive.
    """
    for interval in (ratio, same_against_same):
        if not 0.0 < interval.low <= interval.estimate <= interval.high < math.inf:
            raise InvalidInput(f"interval {interval} is not ordered, positive and finite")
    noise = max(abs(math.log(same_against_same.low)), abs(math.log(same_against_same.high)))
    effect = math.log(ratio.estimate)
    if ratio.high < 1.0 and effect < -noise:
        return Verdict.GAIN
    if ratio.low > 1.0 and effect > noise:
        return Verdict.WORSE
    if ratio.low >= 1.0 - margin and ratio.estimate <= 1.0 + margin:
        return Verdict.NO_GAIN
    return Verdict.INCONCLUSIVE
