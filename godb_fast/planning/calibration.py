"""Cost coefficients of the engines that we steer, in nanoseconds of one thread's work.

Measured with ``python -m benchmarks.estimation --calibrate`` (hash joins of 10³ to 3·10⁶ build rows with
4·10⁶ probe rows, one thread, DuckDB's own choice of sides switched off) and rounded; the search needs their
proportions, and the chooser the order of magnitude.

======================================  =========================  ======
work                                    measured, ns per row       used
======================================  =========================  ======
read a row and test its filters         5 to 24 (LIKE)             5
enter a row into a hash table           32 to 49                   50
probe, nine in ten without a match      6 (build side in cache)    8
                                        to 67 (3·10⁶ rows)
probe, match, gather both sides         18 (build side in cache)   8 + 20
                                        to 120 (3·10⁶ rows)
======================================  =========================  ======

Large build sides cost cache misses for each *probe*, which a cost that is linear in the inputs cannot say;
they are dear here because entering their rows is.
"""

from __future__ import annotations

from typing import Final

from godb_fast.core import CostModel

#: DuckDB 1.4 and 2.0: vectorized hash joins, the right input being the build side.
DUCKDB: Final = CostModel(scan=5.0, build=50.0, probe=8.0, output=20.0, name="duckdb")
