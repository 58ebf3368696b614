"""The arms of PostgreSQL: a row per idea, tried where the default plan gives reason to.

``TIMES`` values are multiples of what the session has; memory stays within the rule of
:mod:`godb_fast.engines.postgres.settings`, divided by the processes that would each use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from godb_fast.core import PhysicalPlan
from godb_fast.engines.arms import Arm, worth_trying
from godb_fast.engines.postgres.settings import CUSTOM_PLAN, SteeringSettings
from godb_fast.errors import InvalidInput

_LOOPS: Final = frozenset({"Nested Loop"})
_HASHES: Final = frozenset({"Hash Join"})
_MERGES: Final = frozenset({"Merge Join"})
_GATHERS: Final = frozenset({"Gather", "Gather Merge"})
_INDEXES: Final = frozenset({"Index Scan", "Index Only Scan"})
_BITMAPS: Final = frozenset({"Bitmap Heap Scan"})
_SCANS: Final = frozenset({"Seq Scan"})
#: Operators that use work_mem.
_HUNGRY: Final = frozenset({"Hash", "Sort", "Aggregate:Hashed", "Materialize", "Memoize"})
TIMES: Final = "×"
_NO_LOOPS: Final = ("enable_nestloop", "off")
_NO_HASH: Final = ("enable_hashjoin", "off")
_NO_MERGE: Final = ("enable_mergejoin", "off")
_NO_INDEX: Final = (("enable_indexscan", "off"), ("enable_indexonlyscan", "off"))
_NO_BITMAP: Final = ("enable_bitmapscan", "off")
_NO_JIT: Final = ("jit", "off")
_ALONE: Final = ("max_parallel_workers_per_gather", "0")
_MORE_MEMORY: Final = ("work_mem", f"{TIMES}4")
#: What makes the arm of custom plans worth trying: plans for no values in particular are what is run now.
_GENERIC: Final = "force_generic_plan"

ARMS: Final[tuple[Arm, ...]] = (
    # Underestimated rows make loops out of what should be hashed: the best single arm on CEB, DSB and TPC-DS.
    Arm("no nested loops", (_NO_LOOPS,), _LOOPS, first=True),
    Arm("no hash joins", (_NO_HASH,), _HASHES),
    Arm("no merge joins", (_NO_MERGE,), _MERGES),
    Arm("hash joins only", (_NO_LOOPS, _NO_MERGE), _LOOPS | _MERGES),
    Arm("nested loops only", (_NO_HASH, _NO_MERGE), _HASHES | _MERGES),
    Arm("merge joins only", (_NO_HASH, _NO_LOOPS), _HASHES | _LOOPS),
    Arm("no sequential scans", (("enable_seqscan", "off"),), _SCANS),
    Arm("no index scans", _NO_INDEX, _INDEXES),
    Arm("no bitmap scans", (_NO_BITMAP,), _BITMAPS),
    Arm("sequential scans only", (*_NO_INDEX, _NO_BITMAP), _INDEXES | _BITMAPS),
    Arm("no memoize", (("enable_memoize", "off"),), frozenset({"Memoize"})),
    Arm("no materialize", (("enable_material", "off"),), frozenset({"Materialize"})),
    Arm("no hash aggregation", (("enable_hashagg", "off"),), frozenset({"Aggregate:Hashed"})),
    Arm("hash aggregation only", (("enable_sort", "off"),), frozenset({"Aggregate:Sorted", "Unique"})),
    Arm("no compilation", (_NO_JIT,), frozenset({"JIT"})),
    Arm("one process", (_ALONE,), _GATHERS),
    Arm("eager parallelism", (("parallel_setup_cost", "0"), ("parallel_tuple_cost", "0.001")), _SCANS),
    Arm("more memory", (_MORE_MEMORY,), _HUNGRY, at_run_time=True),
    Arm("wide join search", (("join_collapse_limit", "20"), ("from_collapse_limit", "20")), joins=7),
    Arm("joins as written", (("join_collapse_limit", "1"),), joins=2),
    Arm("exhaustive join search", (("geqo", "off"),), joins=11),
    Arm("cheap random pages", (("random_page_cost", "1"),), _SCANS | _BITMAPS),
    Arm("dear random pages", (("random_page_cost", "10"),), _INDEXES | _BITMAPS),
    Arm("dear rows", (("cpu_tuple_cost", "0.1"),), _LOOPS),
    Arm("no nested loops, one process", (_NO_LOOPS, _ALONE), _LOOPS),
    Arm("no nested loops, no compilation", (_NO_LOOPS, _NO_JIT), _LOOPS),
    Arm("no nested loops, more memory", (_NO_LOOPS, _MORE_MEMORY), _LOOPS, at_run_time=True),
    Arm("custom plans", (CUSTOM_PLAN,), at_run_time=True),
    Arm("no compilation, one process", (_NO_JIT, _ALONE), frozenset({"JIT"})),
)


def arms(plan: PhysicalPlan, settings: SteeringSettings, table: Iterable[Arm] = ARMS) -> tuple[Arm, ...]:
    """The arms worth trying on a statement with this default plan, as this server and role allow them."""
    found = []
    processes = 1 + sum(int(node.extra.get("Workers Planned") or 0) for node in plan.root.walk())
    for arm in worth_trying(table, plan):
        asked = _settled(arm, settings, processes)
        if asked is None:
            continue
        try:
            settings.check(asked.settings)
        except InvalidInput:
            # Not on this server, or not for this role.
            continue
        found.append(asked)
    return tuple(found)


def _settled(arm: Arm, settings: SteeringSettings, processes: int) -> Arm | None:
    """The arm with values in place of multiples; None if it would change no setting."""
    values = []
    for name, value in arm.settings:
        now = settings.allowed.get(name)
        if now is None:
            return None
        if value.startswith(TIMES):
            # pg_settings gives work_mem in kB.
            wanted = int(float(now) * float(value.removeprefix(TIMES)))
            most = settings.work_mem_most_kb // processes
            if min(wanted, most) <= float(now):
                return None
            value = f"{min(wanted, most)}kB"
        elif value == now or (name == CUSTOM_PLAN[0] and now != _GENERIC):
            continue
        values.append((name, value))
    return replace(arm, settings=tuple(values)) if values else None
