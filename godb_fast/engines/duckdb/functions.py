"""DuckDB's own functions, from the catalogue of a pristine instance: what is safe to call twice.

The catalogue of the instance in use cannot be trusted for that: a Python function that a caller registers is
listed there as internal and consistent, and a user's macro shadows a built-in function of the same name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from godb_fast.core.forking import RenewedLock
from godb_fast.engines.duckdb import quirks
from godb_fast.engines.duckdb.instance import import_duckdb
from godb_fast.errors import QueryCancelled

#: Table functions that only read, with whether their rows can be relied on to be the same under every plan.
TABLE_FUNCTIONS: Final = frozenset(
    {
        "generate_series", "generate_subscripts", "glob", "json_each", "json_tree", "parquet_scan", "range",
        "read_csv", "read_csv_auto", "read_json", "read_json_auto", "read_json_objects",
        "read_json_objects_auto", "read_ndjson", "read_ndjson_auto", "read_ndjson_objects", "read_parquet",
        "regexp_split_to_table", "repeat", "unnest",
    }
)  # fmt: skip
#: Table functions on the catalogue: they only read, but what they say may change with the instance's state.
CATALOGUE_FUNCTIONS: Final = re.compile(
    r"duckdb_\w+|parquet_(?:file_|kv_)?metadata|parquet_schema|pragma_\w+"
)
#: Aggregates whose value depends on the order in which rows arrive, ties included.
ORDER_DEPENDENT: Final = frozenset(
    {
        "any_value", "approx_quantile", "approx_top_k", "arbitrary", "arg_max", "arg_max_null",
        "arg_max_nulls_last", "arg_min", "arg_min_null", "arg_min_nulls_last", "argmax", "argmin",
        "array_agg", "combine_aggr", "first", "group_concat", "json_group_array", "json_group_object",
        "json_group_structure", "last", "list", "listagg", "lttb", "max_by", "min_by", "mode",
        "reservoir_quantile", "string_agg", "variant_group_array", "variant_group_object",
    }
)  # fmt: skip
#: Window functions that give peers the same value; every other one needs a total order.
PEER_FUNCTIONS: Final = frozenset({"rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist"})
ROW_FUNCTIONS: Final = frozenset(
    {"row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value", "fill"}
)


@dataclass(frozen=True)
class Function:
    """All overloads of one name."""

    overloads: int
    kinds: frozenset[str]
    volatile: bool
    definitions: tuple[str, ...]


_CATALOGUES: dict[str, dict[str, Function]] = {}
_LOCK = RenewedLock()

_LIST: Final = """
SELECT system.main.lower(function_name), system.main.count(*), system.main.list(DISTINCT function_type),
       coalesce(system.main.bool_or(stability = 'VOLATILE' OR has_side_effects), false),
       system.main.list(DISTINCT macro_definition) FILTER (macro_definition IS NOT NULL)
  FROM system.main.duckdb_functions() GROUP BY 1
"""
#: How many overloads each name has, and whether a user added some.
OVERLOADS: Final = """
SELECT system.main.lower(function_name), system.main.count(*), system.main.bool_or(NOT internal)
  FROM system.main.duckdb_functions() GROUP BY 1
"""


def built_in_functions() -> dict[str, Function]:
    """DuckDB's functions by name, read once a process from an instance that nobody touched.

    Raises
    ------
    QueryCancelled
        If the process ends meanwhile.
    """
    duckdb = import_duckdb()
    version: str = duckdb.__version__
    with _LOCK:
        found = _CATALOGUES.get(version)
        if found is None:
            connection = duckdb.connect(":memory:")
            try:
                rows: list[tuple[Any, ...]] = connection.execute(_LIST).fetchall()
            except duckdb.InterruptException as error:
                # By nobody of ours: DuckDB stops what other threads run when the interpreter ends.
                raise QueryCancelled("interrupted from outside") from error
            except RuntimeError as error:
                if quirks.was_ctrl_c(error):
                    raise KeyboardInterrupt from error
                raise
            finally:
                connection.close()
            found = _CATALOGUES[version] = {
                name: Function(count, frozenset(kinds), volatile, tuple(definitions or ()))
                for name, count, kinds, volatile, definitions in rows
            }
        return found


def reads_settings(name: str) -> bool:
    """Whether a built-in function tells a setting, or is a macro that asks for one."""
    function = built_in_functions().get(name)
    definitions = () if function is None else function.definitions
    return name == "current_setting" or any("current_setting" in text.lower() for text in definitions)


def why_impure(name: str, seen: frozenset[str] = frozenset()) -> str | None:
    """Why a built-in function may not be called twice; None if it may."""
    catalogue = built_in_functions()
    function = catalogue.get(name)
    if function is None:
        return f"{name}() is not one of DuckDB's own functions"
    if name == "error":
        # Only fails, as a cast may: an error of a steered run is discarded.
        return None
    if function.volatile:
        return f"{name}() is volatile"
    for definition in function.definitions:
        for called in re.findall(r'([a-z_][a-z0-9_]*)"?\s*\(', definition.lower()):
            # Macros may be named like a function that they call, so names can go in circles.
            if called in catalogue and called != name and called not in seen:
                reason = why_impure(called, seen | {name})
                if reason is not None:
                    return f"{name}() calls {reason}"
    return None
