"""Session settings by which PostgreSQL is steered: a table of what may be asked for, with bounds.

``SteeringSettings`` holds what the server and the role allow: a managed server may lack a setting, and
some need a superuser. Memory has a rule of its own: a query may use ``work_mem`` once for each sort and hash
of each process, so what is asked for is bounded by the server's ``shared_buffers`` as a measure of the
machine. A hash table may take ``hash_mem_multiplier`` times as much: the two are bounded together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres.connection import Ask
from godb_fast.errors import InvalidInput

#: What makes PostgreSQL follow the order of JOINs as they are written.
JOIN_ORDER: Final = ("join_collapse_limit", "1")
#: Keeps a derived table's joins apart from those of the query around it.
KEEP_DERIVED: Final = ("from_collapse_limit", "1")

#: A session may force generic plans, which know no values; even a statement that is never prepared gets one.
CUSTOM_PLAN: Final = ("plan_cache_mode", "force_custom_plan")

#: ``work_mem`` may be raised to this share of shared_buffers for one steered statement.
WORK_MEM_SHARE: Final = 0.25
#: It may always be set up to this, whatever the server says of itself.
WORK_MEM_LEAST_KB: Final = 64 * 1024
HASH_MEM_MOST: Final = 8.0
#: What the server multiplies work_mem by for hash tables, unless it is told otherwise: from 15 on.
HASH_MEM_USUAL: Final = 2.0

_SWITCHES: Final = (
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_memoize",
    "enable_material",
    "enable_seqscan",
    "enable_indexscan",
    "enable_indexonlyscan",
    "enable_bitmapscan",
    "enable_hashagg",
    "enable_sort",
    "enable_incremental_sort",
    "enable_parallel_hash",
    "enable_parallel_append",
    "enable_gathermerge",
    "enable_partitionwise_join",
    "enable_partitionwise_aggregate",
    "jit",
    "geqo",
)
_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{1,6})?")
_SIZE: Final = re.compile(r"(\d{1,9})\s*(kB|MB|GB)?")
_STATEMENT: Final = re.compile(r"SET LOCAL (?P<name>[a-z_]+) = '(?P<value>[A-Za-z0-9_. ]*)'")


@dataclass(frozen=True)
class Knob:
    """A setting that may be asked for: ``switch``, ``integer``, ``real``, ``memory`` or ``choice``."""

    kind: str
    least: float = 0.0
    most: float = 0.0
    choices: tuple[str, ...] = ()


#: All that may be asked for. The time limit is not among it: that is ``run()``'s.
KNOBS: Final[Mapping[str, Knob]] = {
    **{name: Knob("switch") for name in _SWITCHES},
    "max_parallel_workers_per_gather": Knob("integer", 0, 64),
    "join_collapse_limit": Knob("integer", 1, 64),
    "from_collapse_limit": Knob("integer", 1, 64),
    "geqo_threshold": Knob("integer", 2, 1000),
    "work_mem": Knob("memory"),
    "temp_file_limit": Knob("memory"),
    "hash_mem_multiplier": Knob("real", 1.0, HASH_MEM_MOST),
    "random_page_cost": Knob("real", 0.01, 1000.0),
    "seq_page_cost": Knob("real", 0.01, 1000.0),
    "cpu_tuple_cost": Knob("real", 0.0, 100.0),
    "cpu_index_tuple_cost": Knob("real", 0.0, 100.0),
    "cpu_operator_cost": Knob("real", 0.0, 100.0),
    "parallel_setup_cost": Knob("real", 0.0, 1e9),
    "parallel_tuple_cost": Knob("real", 0.0, 1e6),
    "min_parallel_table_scan_size": Knob("memory"),
    "jit_above_cost": Knob("real", 0.0, 1e9),
    "cursor_tuple_fraction": Knob("real", 0.0, 1.0),
    "plan_cache_mode": Knob("choice", choices=("auto", "force_generic_plan", "force_custom_plan")),
}


class SteeringSettings:
    """What this server, under this role, can be asked for.

    Parameters
    ----------
    allowed : mapping of str to str
        Settings that the role may change, with their values outside of any steering.
    shared_buffers_kb : float
        The server's buffer cache.
    """

    def __init__(self, allowed: Mapping[str, str], shared_buffers_kb: float) -> None:
        self.allowed = dict(allowed)
        self.work_mem_most_kb = int(max(WORK_MEM_LEAST_KB, WORK_MEM_SHARE * shared_buffers_kb))

    @classmethod
    def discover(cls, ask: Ask) -> SteeringSettings:
        """Ask the server; one statement.

        ``context`` is ``user`` for what anybody may set; ``superuser`` settings need a superuser (or, from
        15 on, a grant, which is seen by asking for the privilege).
        """
        rows = ask(
            "SELECT name, setting, context, "
            "pg_catalog.current_setting('is_superuser') = 'on' FROM pg_catalog.pg_settings "
            "WHERE name = ANY(%s)",
            ([*KNOBS, "shared_buffers"],),
        )
        allowed = {
            name: setting
            for name, setting, context, superuser in rows
            if name in KNOBS and (context == "user" or (context == "superuser" and superuser))
        }
        # shared_buffers counts blocks of 8 kB.
        blocks = next((float(setting) for name, setting, *_ in rows if name == "shared_buffers"), 0.0)
        return cls(allowed, 8.0 * blocks)

    def check(self, settings: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Names and values as they will be sent, each name once (the last value counts).

        Raises
        ------
        InvalidInput
            For a setting that is unknown, not allowed here, or out of its bounds.
        """
        checked: dict[str, str] = {}
        for name, value in settings:
            knob = KNOBS.get(name)
            if knob is None:
                raise InvalidInput(f"setting {name!r} is not one that PostgreSQL is steered by")
            if name not in self.allowed:
                raise InvalidInput(f"setting {name!r} cannot be changed on this server by this role")
            checked[name] = self._value(name, str(value).strip(), knob)
        if "hash_mem_multiplier" in checked:
            self._check_hashes(checked)
        return tuple(checked.items())

    def _check_hashes(self, checked: Mapping[str, str]) -> None:
        """A hash table may take no more than it would under the most work_mem and the usual multiplier."""
        work_mem = (checked.get("work_mem") or self.allowed.get("work_mem") or "0").removesuffix("kB")
        multiplier = float(checked["hash_mem_multiplier"])
        wanted, most = float(work_mem) * multiplier, HASH_MEM_USUAL * self.work_mem_most_kb
        if wanted > most:
            raise InvalidInput(
                f"hash_mem_multiplier {multiplier:g} with work_mem {work_mem}kB makes hash tables of "
                f"{wanted:.0f}kB; on this server a steered statement may have {most:.0f}kB for one"
            )

    def _value(self, name: str, value: str, knob: Knob) -> str:
        if knob.kind == "switch":
            if value.lower() not in ("on", "off"):
                raise InvalidInput(f"setting {name} is {value!r}; it is on or off")
            return value.lower()
        if knob.kind == "choice":
            if value not in knob.choices:
                raise InvalidInput(f"setting {name} is {value!r}; it is one of {', '.join(knob.choices)}")
            return value
        if knob.kind == "memory":
            return self._memory(name, value)
        if not _NUMBER.fullmatch(value) or (knob.kind == "integer" and "." in value):
            raise InvalidInput(f"setting {name} is {value!r}; it is a number")
        if not knob.least <= float(value) <= knob.most:
            raise InvalidInput(f"setting {name} is {value}; it is between {knob.least:g} and {knob.most:g}")
        return value

    def _memory(self, name: str, value: str) -> str:
        found = _SIZE.fullmatch(value)
        if found is None:
            raise InvalidInput(f"setting {name} is {value!r}; write 64MB or 65536 (kB)")
        kilobytes = int(found[1]) * {None: 1, "kB": 1, "MB": 1024, "GB": 1024 * 1024}[found[2]]
        if name != "work_mem":
            if found[2] is None:
                raise InvalidInput(f"setting {name} is {value!r}; write it with a unit, such as 8MB")
            return f"{kilobytes}kB"
        if not 64 <= kilobytes <= self.work_mem_most_kb:
            raise InvalidInput(
                f"work_mem is {value}; on this server a steered statement may have 64kB to "
                f"{self.work_mem_most_kb}kB of it"
            )
        return f"{kilobytes}kB"


def statement(name: str, value: str) -> str:
    """The setting as text, for ``Rendered.before``."""
    return f"SET LOCAL {name} = '{value}'"


def parse(statements: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Names and values of what :func:`statement` wrote.

    Raises
    ------
    InvalidInput
        For anything else: nothing but a known setting is ever sent in front of a statement.
    """
    found = []
    for text in statements:
        match = _STATEMENT.fullmatch(text)
        if match is None or match["name"] not in KNOBS:
            raise InvalidInput(f"{text!r} is not a setting that PostgreSQL is steered by")
        found.append((match["name"], match["value"]))
    return tuple(found)


def imposed(statement: Rendered) -> tuple[tuple[str, str], ...]:
    """Settings for a steered statement: those that it asks for, and a plan for the values that it is given.

    EXPLAIN with values shows such a plan whatever the session forces: it is to be the one that runs.

    Raises
    ------
    InvalidInput
        As :func:`parse`.
    """
    asked = parse(statement.before)
    if statement.params is None or any(name == CUSTOM_PLAN[0] for name, _ in asked):
        return asked
    return (*asked, CUSTOM_PLAN)


def limited(settings: tuple[tuple[str, str], ...], timeout_s: float | None) -> tuple[tuple[str, str], ...]:
    """Settings with the time limit, which the server then keeps by itself."""
    if timeout_s is None:
        return settings
    return (*settings, ("statement_timeout", str(max(1, round(timeout_s * 1e3)))))
