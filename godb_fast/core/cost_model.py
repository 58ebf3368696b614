"""What a join costs, as a short table of coefficients that the kernels read.

The operator model charges, for a join of ``left`` (probe side, left input) and ``right`` (build side):

- hash join: ``probe · |left| + build · |right| + output · |result|``
- index nested loop, when the right side is one relation with a usable index:
  ``lookup · |left| + output · |result|`` (and the right side's scan is not paid)
- merge join: ``sort · (|left| · ln(1 + |left|) + |right| · ln(1 + |right|)) + output · |result|``
- a scan of relation i costs ``scan · |i|``
- a cross product costs ``probe · |left| · max(1, |right|) + output · |result|``

Every term but the cross product depends on one set only, so a pair costs two additions and a minimum.
C_out is the same with only ``output`` set (to 1).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput


@dataclass(frozen=True)
class CostModel:
    """Coefficients, in one unit of the model's choice (nanoseconds for calibrated models).

    ``math.inf`` for ``lookup`` or ``sort`` forbids that operator.
    """

    scan: float = 0.0
    build: float = 0.0
    probe: float = 0.0
    output: float = 1.0
    lookup: float = float("inf")
    sort: float = float("inf")
    name: str = "c_out"

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name != "name" and not value >= 0:
                raise InvalidInput(f"cost coefficient {entry.name} is {value}; coefficients are not negative")

    def coefficients(self) -> NDArray[np.float64]:
        """float64, shape (6,): scan, build, probe, output, lookup, sort."""
        return np.array([self.scan, self.build, self.probe, self.output, self.lookup, self.sort])


#: Sum of the rows of all intermediate results (and of the final one): Cluet and Moerkotte 1995.
C_OUT: Final = CostModel()
#: A main-memory hash-join engine: building costs about twice what probing does.
OPERATORS: Final = CostModel(scan=0.2, build=2.0, probe=1.0, output=1.0, name="operators")
