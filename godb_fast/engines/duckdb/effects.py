"""Whether a statement only reads, and whether its answer is the same under every plan.

Judged on DuckDB's own syntax tree (``json_serialize_sql``): only constructs and functions that are listed
here are let through, everything else is "unknown", which means: run once, unchanged.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from godb_fast.engines.base import Effects
from godb_fast.engines.duckdb import quirks
from godb_fast.engines.duckdb.connection import Connection
from godb_fast.engines.duckdb.functions import (
    CATALOGUE_FUNCTIONS,
    ORDER_DEPENDENT,
    OVERLOADS,
    PEER_FUNCTIONS,
    ROW_FUNCTIONS,
    TABLE_FUNCTIONS,
    built_in_functions,
    reads_settings,
    why_impure,
)
from godb_fast.engines.duckdb.schema import DuckDBSchema
from godb_fast.errors import EngineError
from godb_fast.sql.order import SET_RETURNING

Node = dict[str, Any]

_EXPRESSIONS: Final = frozenset(
    {
        "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT",
        "FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR", "PARAMETER", "POSITIONAL_REFERENCE", "STAR",
        "SUBQUERY", "TYPE", "WINDOW",
    }
)  # fmt: skip
_QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SOURCES: Final = frozenset(
    {"BASE_TABLE", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "JOIN", "PIVOT", "SUBQUERY", "TABLE_FUNCTION"}
)
#: What makes of a star another one than that of ORDER BY ALL.
_STAR_PARTS: Final = (
    "relation_name", "exclude_list", "qualified_exclude_list", "replace_list", "rename_list", "expr",
)  # fmt: skip
#: Whose columns are those of what they hold.
_NAMELESS_SOURCES: Final = frozenset({"EMPTY", "EMPTY_FROM", "JOIN", "SUBQUERY"})
_MODIFIERS: Final = frozenset(
    {"DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"}
)
_SERIALIZE: Final = "SELECT system.main.json_serialize_sql(?::VARCHAR)::VARCHAR"
#: Parts of an expression that do not belong to what it says.
_POSITIONS: Final = frozenset({"query_location", "query_location_length", "alias"})
_KEPT: Final = 512
_MAX_VIEW_DEPTH: Final = 32


class _Impure(Exception):
    """Why a statement is not certain to only read."""


class Judge:
    """Judges statements on one connection; on an instance of ours answers are kept while nothing changed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kept: OrderedDict[tuple[str, int], Effects] = OrderedDict()
        self._functions: tuple[int, dict[str, tuple[int, bool]]] | None = None

    def judge(self, sql: str, schema: DuckDBSchema) -> Effects:
        """Whether ``sql`` only reads and may be steered."""
        instance = self._connection.instance
        key = None if instance is None else (sql, instance.catalog_changes)
        if key is not None and key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        try:
            found = self._judged(sql, schema)
        except _Impure as reason:
            found = Effects(pure=False, reason=str(reason))
        except RecursionError:
            found = Effects(pure=False, reason="nested too deeply to be judged")
        if key is not None:
            self._kept[key] = found
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _judged(self, sql: str, schema: DuckDBSchema) -> Effects:
        try:
            kinds = self._connection.kinds(sql)
        except EngineError as error:
            return Effects(pure=False, reason=f"DuckDB cannot read it: {error}")
        if kinds != ("SELECT",):
            what = "several statements" if len(kinds) > 1 else f"a statement of type {(*kinds, 'none')[0]}"
            return Effects(pure=False, reason=f"{what}, not one SELECT")
        walk = _Walk(self, schema)
        walk.text(sql, 0)
        collation, checked = self._connection.query(
            "SELECT system.main.current_setting('default_collation'), "
            "system.main.current_setting('scalar_subquery_error_on_multiple_rows')"
        )[0]
        if collation:
            walk.doubt("a default collation is set")
        if not checked:
            walk.doubt("scalar subqueries may have several rows here")
        doubt = walk.doubts[0] if walk.doubts else ""
        return Effects(pure=True, steerable=not doubt, reason=doubt)

    def tree(self, sql: str) -> Node:
        """DuckDB's syntax tree of one SELECT."""
        raw = self._connection.query(_SERIALIZE, [sql])[0][0]
        parsed = json.loads(raw)
        if parsed.get("error"):
            raise _Impure(str(parsed.get("error_message") or "DuckDB cannot serialize it"))
        if len(parsed["statements"]) != 1:
            raise _Impure("several statements, not one SELECT")
        node: Node = parsed["statements"][0]["node"]
        return node

    def function(self, name: str) -> None:
        """Let a function through, or say why not."""
        overloads, users = self._overloads().get(name, (0, False))
        if users:
            raise _Impure(f"{name}() is a user's own function")
        reason = why_impure(name)
        if reason is not None:
            raise _Impure(reason)
        if overloads != built_in_functions()[name].overloads:
            # A Python function under a built-in name is listed as internal.
            raise _Impure(f"{name}() has been replaced or extended on this connection")

    def get_ready(self) -> None:
        """Read which functions there are."""
        self._overloads()

    def _overloads(self) -> dict[str, tuple[int, bool]]:
        instance = self._connection.instance
        stamp = None if instance is None else instance.catalog_changes
        if self._functions is None or self._functions[0] != stamp or stamp is None:
            rows = self._connection.query(OVERLOADS)
            self._functions = (stamp or 0, {name: (count, users) for name, count, users in rows})
        return self._functions[1]


class _Walk:
    """One pass over a syntax tree and the views that it reads."""

    def __init__(self, judge: Judge, schema: DuckDBSchema) -> None:
        self._judge = judge
        self._schema = schema
        self._seen: set[str] = set()
        #: Why the answer may depend on the plan.
        self.doubts: list[str] = []

    def doubt(self, reason: str) -> None:
        """The answer may depend on the plan."""
        self.doubts.append(reason)

    def text(self, sql: str, depth: int) -> None:
        """Judge a SELECT's text."""
        if depth > _MAX_VIEW_DEPTH:
            raise _Impure("views are nested too deeply")
        root = self._judge.tree(sql)
        common = {
            str(entry["key"]).lower() for node in _nodes(root) for entry in _entries(node.get("cte_map"))
        }
        names: set[str] = set()
        inputs = _InputNames(root, self._schema, common)
        for node in _nodes(root):
            self._node(node, common, depth, names, inputs)
        for name in sorted(names):
            self._judge.function(name)

    def _node(self, node: Node, common: set[str], depth: int, names: set[str], inputs: _InputNames) -> None:
        kind, expression = node.get("type"), node.get("class")
        if expression is not None:
            self._expression(node, str(expression), names)
        elif "modifiers" in node:
            if kind not in _QUERIES:
                raise _Impure(f"it holds a {kind}")
            self._query(node, inputs)
        elif "ref_type" in node or "sample" in node:
            self._source(node, str(kind), common, depth, names)
        elif kind is not None and str(kind).endswith("_MODIFIER") and kind not in _MODIFIERS:
            raise _Impure(f"it holds a {kind}")

    def _expression(self, node: Node, expression: str, names: set[str]) -> None:
        if expression not in _EXPRESSIONS:
            raise _Impure(f"it holds an expression of class {expression}")
        if expression == "COLLATE":
            self.doubt("COLLATE makes different texts equal")
        if expression not in ("FUNCTION", "WINDOW"):
            return
        name = str(node["function_name"]).lower()
        if expression == "WINDOW":
            self._window(node, name)
            if name in PEER_FUNCTIONS or name in ROW_FUNCTIONS:
                # 1.x has no entry for them; macros cannot take their place.
                return
        names.add(name)
        if reads_settings(name):
            self.doubt(f"{name}() reads the connection's settings, which steering changes")
        if expression == "WINDOW":
            return
        if name in ORDER_DEPENDENT and not _ordered_by_arguments(node):
            self.doubt(f"{name}() depends on the order of rows")

    def _window(self, node: Node, name: str) -> None:
        if name in PEER_FUNCTIONS:
            return
        frame = (str(node.get("start")), str(node.get("end")))
        if name in ROW_FUNCTIONS or name in ORDER_DEPENDENT:
            self.doubt(f"the window function {name}() depends on the order of rows")
        elif any(bound.endswith("_ROWS") for bound in frame):
            self.doubt(f"the window frame of {name}() counts rows")

    def _query(self, node: Node, inputs: _InputNames) -> None:
        if node.get("sample"):
            self.doubt("it samples rows")
        if node.get("key_targets"):
            self.doubt("a recursive CTE with USING KEY depends on the order of rows")
        orders: list[Node] = []
        distinct = any(modifier["type"] == "DISTINCT_MODIFIER" for modifier in node["modifiers"])
        for modifier in node["modifiers"]:
            kind = modifier["type"]
            if kind == "ORDER_MODIFIER":
                orders = modifier["orders"]
            elif kind == "DISTINCT_MODIFIER" and modifier.get("distinct_on_targets"):
                self.doubt("DISTINCT ON keeps whichever row comes first")
            elif kind in ("LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER"):
                bounds = [modifier.get("limit"), modifier.get("offset")]
                if any(bound is not None and not _is_null(bound) for bound in bounds) and not (
                    self._single_row(node) or _total(node, orders, inputs, distinct)
                ):
                    self.doubt("LIMIT without a total order")

    def _single_row(self, node: Node) -> bool:
        """Whether a SELECT aggregates everything to one row."""
        if node["type"] != "SELECT_NODE" or node.get("group_expressions") or node.get("group_sets"):
            return False
        if node.get("aggregate_handling") not in (None, "STANDARD_HANDLING"):
            # GROUP BY ALL
            return False
        catalogue = built_in_functions()
        return any(
            entry.get("class") == "FUNCTION"
            and "aggregate" in getattr(catalogue.get(str(entry["function_name"]).lower()), "kinds", ())
            for column in node.get("select_list", ())
            for entry in _nodes(column, into_windows=False)
        )

    def _source(self, node: Node, kind: str, common: set[str], depth: int, names: set[str]) -> None:
        if kind not in _SOURCES:
            raise _Impure(f"it reads from a {kind}")
        if node.get("sample"):
            self.doubt("it samples rows")
        if kind == "JOIN" and node.get("ref_type") in ("POSITIONAL", "ASOF"):
            self.doubt(f"a join of type {node['ref_type']} depends on the order of rows")
        elif kind == "TABLE_FUNCTION":
            function = node["function"]
            name = str(function.get("function_name", "")).lower()
            if CATALOGUE_FUNCTIONS.fullmatch(name):
                self.doubt(f"{name}() reads the instance's state")
            elif name not in TABLE_FUNCTIONS:
                raise _Impure(f"the table function {name}() is not known to only read")
        elif kind == "BASE_TABLE":
            self._table(node, common, depth, names)

    def _table(self, node: Node, common: set[str], depth: int, names: set[str]) -> None:
        parts = _table_parts(node)
        table = self._schema.resolve(parts)
        if table is None:
            if len(parts) == 1 and (parts[0].lower() in common or any(sign in parts[0] for sign in "./*?")):
                # A CTE, or a file that DuckDB reads.
                return
            raise _Impure(f"the catalogue has no table {'.'.join(parts)}")
        if table.name in self._seen:
            return
        self._seen.add(table.name)
        if self._schema.collated(table):
            self.doubt(f"{table.name} has a collation: different texts may be equal")
        for expression in self._schema.generated(table):
            self.text(f"SELECT {expression}", depth + 1)
        if self._schema.is_view(table):
            body = self._schema.body(table)
            if body is not None:
                self.text(body, depth + 1)
            else:
                self.doubt(f"{table.name} is one of DuckDB's own views")


def _nodes(root: Any, *, into_windows: bool = True) -> Iterator[Node]:
    """All objects of a tree; with ``into_windows=False`` those of the same query and no window."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if not into_windows and (node.get("class") in ("WINDOW", "SUBQUERY")):
                continue
            yield node
            stack.extend(value for value in node.values() if isinstance(value, dict | list))
        elif isinstance(node, list):
            stack.extend(node)


def _entries(common_tables: Any) -> list[Node]:
    return list(common_tables.get("map", ())) if isinstance(common_tables, dict) else []


def _bare(node: Any) -> Any:
    """An expression without its position and alias, to compare."""
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key not in _POSITIONS}
    if isinstance(node, list):
        return [_bare(entry) for entry in node]
    return node


def _is_null(node: Node) -> bool:
    return node.get("class") == "CONSTANT" and quirks.constant(node)[0]


def _ordered_by_arguments(node: Node) -> bool:
    """Whether an aggregate sorts by all of its arguments, so that ties are equal."""
    orders = [_bare(entry["expression"]) for entry in (node.get("order_bys") or {}).get("orders", ())]
    arguments = [_bare(child) for child in quirks.arguments(node) if child.get("class") != "CONSTANT"]
    return bool(orders) and bool(arguments) and all(argument in orders for argument in arguments)


class _InputNames:
    """Names that columns of the inputs of a statement's SELECTs may have, in lower case."""

    def __init__(self, root: Node, schema: DuckDBSchema, common: set[str]) -> None:
        self._root, self._schema, self._common = root, schema, common

    def may_have(self, name: str, select: Node) -> bool:
        """Whether an input of a SELECT may have a column of that name."""
        return (
            self._columns is None
            or name in self._columns
            or any(
                # Derived tables give the names of their SELECT lists.
                str(output.get("alias") or "").lower() == name
                for node in _nodes(self._root)
                if node is not select
                for output in node.get("select_list") or ()
            )
        )

    @cached_property
    def _columns(self) -> frozenset[str] | None:
        """Columns of tables; None if not all are known."""
        found = {"rowid"}
        for node in _nodes(self._root):
            if node.get("class") is not None or "modifiers" in node:
                continue
            if "ref_type" not in node and "sample" not in node:
                continue
            found.update(str(name).lower() for name in node.get("column_name_alias") or ())
            if node.get("type") == "BASE_TABLE":
                table = self._schema.resolve(_table_parts(node))
                if table is not None:
                    found.update(column.lower() for column in table.columns)
                elif str(node.get("table_name", "")).lower() not in self._common:
                    return None
            elif node.get("type") not in _NAMELESS_SOURCES:
                return None
        return frozenset(found)


def _table_parts(node: Node) -> tuple[str, ...]:
    return tuple(str(node[part]) for part in ("catalog_name", "schema_name", "table_name") if node.get(part))


def _total(node: Node, orders: list[Node], inputs: _InputNames, distinct: bool) -> bool:
    """Whether ORDER BY sorts by every output column, or by every grouping key: ties are then equal rows."""
    columns = node
    while columns["type"] == "SET_OPERATION_NODE":
        if "BY_NAME" in str(columns.get("setop_type")):
            # It may have more columns than its first part.
            return False
        columns = quirks.operands(columns)[0]
    if columns["type"] != "SELECT_NODE":
        return False
    outputs: list[Node] = columns.get("select_list", [])
    bare = [_bare(output) for output in outputs]
    sorted_outputs: set[int] = set()
    sorted_by: list[Any] = []
    for entry in orders:
        key = entry["expression"]
        if key.get("class") == "STAR":
            return not any(key.get(part) for part in _STAR_PARTS)
        places = _sorted_outputs(key, outputs, bare)
        if distinct and not places:
            # Sorted by a column of whichever of the rows that are alike it kept.
            return False
        if places is not None:
            sorted_outputs.update(places)
            if not _named(key, outputs):
                sorted_by.append(_bare(key))
    if outputs and all(
        index in sorted_outputs or output.get("class") == "CONSTANT" for index, output in enumerate(outputs)
    ):
        return all(output.get("class") != "STAR" for output in outputs)
    groups = columns.get("group_expressions", []) if columns is node else []
    if any(str(part.get("function_name") or "").lower() in SET_RETURNING for part in _nodes(outputs)):
        # A group has several rows.
        return False
    if not groups or len(columns.get("group_sets", [])) != 1:
        return False
    reached = [*sorted_by, *(bare[index] for index in sorted_outputs)]
    return all(
        meant in reached for group in groups for meant in _grouping_keys(group, outputs, columns, inputs)
    )


def _sorted_outputs(key: Node, outputs: list[Node], bare: list[Any]) -> list[int] | None:
    """The entries of the SELECT list that a key of ORDER BY sorts by; None if it is not sure which."""
    if key.get("class") == "CONSTANT":
        position = quirks.constant(key)[1]
        return [position - 1] if position is not None and 1 <= position <= len(outputs) else []
    named = _named(key, outputs)
    if named:
        # An alias before a column of that name; a star may bring another one.
        starred = any(output.get("class") == "STAR" for output in outputs)
        return named if not starred and len({str(bare[index]) for index in named}) == 1 else None
    if any(_named(part, outputs) for part in _nodes(key)):
        # Inside of an expression either may be meant.
        return None
    wanted = _bare(key)
    return [index for index, output in enumerate(bare) if output == wanted]


def _named(key: Node, outputs: list[Node]) -> list[int]:
    """The entries of the SELECT list whose alias a bare name is."""
    names: list[str] = key.get("column_names") or []
    if len(names) != 1:
        return []
    wanted = str(names[0]).lower()
    return [index for index, output in enumerate(outputs) if str(output.get("alias") or "").lower() == wanted]


def _grouping_keys(group: Node, outputs: list[Node], select: Node, inputs: _InputNames) -> list[Any]:
    """What a GROUP BY key may be, ordinals and aliases resolved: a column of an input before an alias."""
    if group.get("class") == "CONSTANT":
        position = quirks.constant(group)[1]
        if position is not None and 1 <= position <= len(outputs):
            return [_bare(outputs[position - 1])]
    named = _named(group, outputs)
    found = [_bare(outputs[index]) for index in named]
    name = str(group["column_names"][0]).lower() if named else ""
    # Of a column of that name a table's is shown: were there another one, the bare name would be ambiguous.
    shown = any(str((outputs[index].get("column_names") or [""])[-1]).lower() == name for index in named)
    if not named or (not shown and inputs.may_have(name, select)):
        found.append(_bare(group))
    return found
