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

PostgreSQL 18 from pip, as ``EXPLAIN (ANALYZE, TIMING OFF)`` of counting joins: 2·10⁶ probe rows in cache,
build sides of 10³ to 10⁶ rows, ``work_mem`` large, no parallel workers, no jit:

======================================  =========================  ======
work                                    measured, ns per row       used
======================================  =========================  ======
read a row; with two filters            75 to 97; 135 to 165       80
enter a row into a hash table           180 to 250                 200
probe, no match                         61 (build side in cache)   80
                                        to 1200 (10⁶ rows)
a row more of result                    40 to 330                  80
look a row up in a unique index         1540 (10³ rows)            1500
                                        to 6600 (10⁶ rows)
sort, per row and ln(rows)              65                         65
======================================  =========================  ======

A row costs PostgreSQL ten times what it costs DuckDB, all kinds of work alike, so orders differ less between
the two than one may think; what differs is that looking up in an index may replace a scan.
"""

from __future__ import annotations

from typing import Final

from godb_fast.core import CostModel

#: DuckDB 1.4 and 2.0: vectorized hash joins, the right input being the build side.
DUCKDB: Final = CostModel(scan=5.0, build=50.0, probe=8.0, output=20.0, name="duckdb")
#: PostgreSQL 13 to 18: hash joins of one process, the right input being the build side, and index lookups.
POSTGRES: Final = CostModel(
    scan=80.0, build=200.0, probe=80.0, output=80.0, lookup=1500.0, sort=65.0, name="postgresql"
)
#: How many times cheaper a plan must be estimated, at least, where the coefficients leave much out.
#: PostgreSQL joins by index lookups, whose inputs need no scan, and chooses operators by itself, where all of
#: DuckDB's joins are hash joins over scans. Verified runs, not formulas, are to lower it.
_MARGINS: Final = {"postgresql": 2.0}
_BY_ENGINE: Final = {"duckdb": DUCKDB, "postgresql": POSTGRES}


def cost_model(engine: str) -> CostModel:
    """The coefficients of an engine, by its ``Engine.name``; those of DuckDB for one that we do not know."""
    return _BY_ENGINE.get(engine, DUCKDB)


def least_margin(engine: str) -> float:
    """The least margin under which a plan may be proposed on an engine, by its ``Engine.name``."""
    return _MARGINS.get(engine, 1.0)
