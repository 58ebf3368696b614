"""Cost coefficients of the engines that we steer, in nanoseconds of one thread's work.

Measured with ``python -m benchmarks.estimation --calibrate`` (hash joins of 10³ to 3·10⁶ build rows with 10⁶
and 4·10⁶ probe rows, one thread, DuckDB's own choice of sides switched off) and rounded; the search needs
their proportions, and the chooser the order of magnitude.

======================================  =========================  ======
work                                    measured, ns per row       used
======================================  =========================  ======
read a row and test its filters         4 to 25 (LIKE)             5
enter a row into a hash table           44 to 50                   50
probe, no match                         1 to 10                    6
probe, match, gather both sides         12 (build side in cache)   15
                                        to 90 (10⁶ rows and more)
======================================  =========================  ======

Large build sides cost a cache miss for each *match*, which a cost that is linear in the inputs cannot say;
they are dear here because entering their rows is.
"""

from __future__ import annotations

from typing import Final

from godb_fast.core import CostModel

#: DuckDB 1.4 and 2.0: vectorized hash joins, the right input being the build side.
DUCKDB: Final = CostModel(scan=5.0, build=50.0, probe=6.0, output=15.0, name="duckdb")
