"""What makes an answer depend on the plan, as far as the text shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sqlglot import exp

from godb_fast.core import Cut
from godb_fast.core.schema import Schema
from godb_fast.sql.draft import arg, present
from godb_fast.sql.scopes import below, fold, words
from godb_fast.sql.sorting_names import SortingNames, called, is_star, key_of

#: Functions that may give several rows.
SET_RETURNING: Final = words(
    "unnest generate_series generate_subscripts range explode posexplode exploding_generate_series "
    "json_array_elements json_array_elements_text jsonb_array_elements jsonb_array_elements_text json_each "
    "json_each_text jsonb_each jsonb_each_text json_object_keys jsonb_object_keys json_populate_recordset "
    "jsonb_populate_recordset json_to_recordset jsonb_to_recordset jsonb_path_query regexp_matches "
    "regexp_split_to_table string_to_table aclexplode ts_debug ts_parse ts_stat ts_token_type"
)
#: Larger LIMITs are not worth a look at the last two rows.
_MOST_KEPT: Final = 1_000_000
#: Most of a statement's nodes; the check of the others costs more.
_HARMLESS: Final = (exp.Identifier, exp.Column, exp.Literal, exp.EQ, exp.And)
#: Window functions whose value depends on the order of rows that ORDER BY holds equal.
_TIED_WINDOWS: Final = (
    exp.RowNumber,
    exp.Lag,
    exp.Lead,
    exp.FirstValue,
    exp.LastValue,
    exp.NthValue,
    exp.Ntile,
)
#: Aggregates whose value depends on the order of their input.
_ORDERED_AGGREGATES: Final = (
    exp.ArrayAgg,
    exp.List,
    exp.GroupConcat,
    exp.First,
    exp.Last,
    exp.AnyValue,
    exp.ArgMax,
    exp.ArgMin,
    exp.ApproxDistinct,
    exp.ApproxQuantile,
)
_ORDERED_NAMES: Final = words(
    "list string_agg listagg arbitrary any_value first last arg_min arg_max argmin argmax min_by max_by "
    "arg_min_null arg_max_null mode array_agg group_concat json_group_array json_group_object histogram "
    "reservoir_quantile approx_quantile approx_count_distinct approx_top_k map_from_entries ntile "
    "row_number random setseed uuid gen_random_uuid uuidv7 nextval currval"
)


def order_sensitivity(
    nodes: Sequence[exp.Expression], dialect: str, schema: Schema | None = None
) -> str | None:
    """Why the rows of the answer may differ from plan to plan, or None if nothing in the text says so.

    Parameters
    ----------
    nodes
        All nodes of the statement.
    schema
        In which names of columns are looked up.
    """
    return _sensitivity(nodes, SortingNames(nodes, dialect, schema))


def _sensitivity(nodes: Sequence[exp.Expression], names: SortingNames) -> str | None:
    for node in nodes:
        if not isinstance(node, _HARMLESS):
            reason = _of_node(node, names)
            if reason is not None:
                return reason
    return None


def cut_of(
    statement: exp.Expression, nodes: Sequence[exp.Expression], dialect: str, schema: Schema | None = None
) -> Cut | None:
    """The statement's LIMIT, if it is all that makes the answer depend on the plan, and a row more tells.

    Parameters are those of :func:`order_sensitivity`.
    """
    if not isinstance(statement, exp.Select) or any(statement.args.get(name) for name in ("offset", "fetch")):
        return None
    limit, order = statement.args.get("limit"), statement.args.get("order")
    count = limit.args.get("expression") if limit is not None else None
    if limit is None or order is None or not isinstance(count, exp.Literal) or not count.name.isdigit():
        return None
    others = any(value for name, value in limit.args.items() if name != "expression")
    if others or not 0 < int(count.name) < _MOST_KEPT:
        return None
    bare = statement.__class__()
    # Its parts stay where they are.
    bare.args = {**statement.args, "limit": None}
    names = SortingNames(nodes, dialect, schema)
    if _of_node(bare, names) or _sensitivity([node for node in nodes if node is not statement], names):
        return None
    keys = tuple(_places(statement, order, names))
    return Cut(int(count.name), keys) if keys else None


def _places(statement: exp.Select, order: exp.Expression, names: SortingNames) -> Iterator[int | str]:
    """Leading keys of ORDER BY that are columns of the result."""
    shown = [key_of(entry) for entry in statement.expressions]
    starred = _is_starred(statement)
    for entry in order.expressions:
        key = entry.this if isinstance(entry, exp.Ordered) else entry
        if not starred:
            text = names.ordered(key, statement)
            if text is None or text not in shown:
                return
            yield shown.index(text)
        elif isinstance(key, exp.Literal) and not key.is_string and key.name.isdigit():
            yield int(key.name) - 1
        elif isinstance(key, exp.Column) and key.args.get("table") is None:
            # A name of the result before one of the tables.
            yield fold(key.this, "postgres")
        else:
            return


def _of_node(node: object, names: SortingNames) -> str | None:
    if isinstance(node, (exp.Select, exp.SetOperation, exp.Subquery)):
        if any(node.args.get(name) for name in ("limit", "offset", "fetch")) and not _is_determined(
            node, names
        ):
            return "LIMIT or OFFSET without a total order"
        distinct = node.args.get("distinct")
        if isinstance(distinct, exp.Distinct) and distinct.args.get("on"):
            return "DISTINCT ON keeps one of several rows"
        if node.args.get("locks"):
            return "a locking clause"
        if node.args.get("sample"):
            return "sampling"
    elif isinstance(node, (exp.Array, exp.JSONArray)) and _keeps_order(node, names):
        return "an array of a query's rows has their order"
    elif isinstance(node, exp.TableSample):
        return "sampling"
    elif isinstance(node, exp.Window):
        return _of_window(node)
    elif isinstance(node, _ORDERED_AGGREGATES) or (
        # JSON_ARRAY(SELECT …) is read as a function.
        isinstance(node, exp.Anonymous)
        and (str(node.name).lower() in _ORDERED_NAMES or _keeps_order(node, names))
    ):
        return f"{(node.name or type(node).__name__).lower()} depends on the order of its input"
    elif isinstance(node, (exp.Rand, exp.Uuid)):
        return "a random function"
    elif isinstance(node, exp.Join) and str(node.args.get("method") or "") in ("ASOF", "POSITIONAL"):
        return f"a join by position ({str(node.args['method']).lower()})"
    return None


def _of_window(node: exp.Window) -> str | None:
    function = node.this
    while isinstance(function, (exp.IgnoreNulls, exp.RespectNulls, exp.Filter)):
        function = function.this
    if isinstance(function, _TIED_WINDOWS):
        return f"{function.sql_name().lower()} numbers rows that its ORDER BY may hold equal"
    spec = node.args.get("spec")
    if spec is not None and str(spec.args.get("kind") or "").upper() != "RANGE":
        bounds = {str(spec.args.get(name) or "").upper() for name in ("start", "end")}
        if bounds != {"UNBOUNDED"}:
            return "a window frame that counts rows its ORDER BY may hold equal"
    return None


def _is_determined(node: exp.Expression, names: SortingNames) -> bool:
    """Whether LIMIT keeps the same rows under every plan.

    So it is if the rows that tie are alike: ORDER BY holds every column of the result, or every key of GROUP
    BY; if there is one row at most; and inside EXISTS, where only the presence of a row counts.
    """
    if isinstance(node.parent, exp.Exists) and not node.args.get("offset"):
        limit = node.args.get("limit")
        count = limit.args.get("expression") if limit is not None else None
        return isinstance(count, exp.Literal) and count.name.isdigit() and int(count.name) > 0
    if not isinstance(node, exp.Select):
        return False
    limit = node.args.get("limit") or node.args.get("fetch")
    if limit is not None and (
        not isinstance(limit.args.get("expression") or limit.args.get("count"), exp.Literal)
        or limit.args.get("limit_options")
    ):
        return False
    group, order = node.args.get("group"), node.args.get("order")
    if group is None and _is_one_row(node):
        return True
    if order is None:
        return False
    keys = [entry.this if isinstance(entry, exp.Ordered) else entry for entry in order.expressions]
    if any(isinstance(key, exp.Var) and key.name.upper() == "ALL" for key in keys):
        return True
    resolved = [names.ordered(key, node) for key in keys]
    ordered = {text for text in resolved if text is not None}
    shown = {key_of(entry) for entry in node.expressions}
    if node.args.get("distinct") and not all(text in shown for text in resolved):
        # DuckDB sorts by a column of whichever of the rows that are alike it kept.
        return False
    if shown <= ordered and not _is_starred(node):
        return True
    if group is None or present(group) - {"expressions"}:
        return False
    if any(gives_rows(entry) for entry in node.expressions):
        # A group has several rows.
        return False
    grouped = [names.grouped(entry, node) for entry in group.expressions]
    return all(readings is not None and readings <= ordered for readings in grouped)


def _keeps_order(node: exp.Expression, names: SortingNames) -> bool:
    """Whether something is made of a query's rows, in an order that ORDER BY leaves open."""
    for part in node.expressions:
        query = part.this if isinstance(part, exp.Subquery) and isinstance(node, exp.Array) else part
        if isinstance(query, (exp.Select, exp.SetOperation)) and not _sorts_all(query, names):
            return True
    return False


def _sorts_all(query: exp.Expression, names: SortingNames) -> bool:
    """Whether ORDER BY holds every column that a query shows."""
    order = query.args.get("order")
    if not isinstance(query, exp.Select) or order is None or _is_starred(query):
        return False
    keys = [entry.this if isinstance(entry, exp.Ordered) else entry for entry in order.expressions]
    return {key_of(entry) for entry in query.expressions} <= {names.ordered(key, query) for key in keys}


def gives_rows(shown: exp.Expression) -> bool:
    """Whether an entry of a SELECT list may give several rows."""
    if any(isinstance(node, (exp.Unnest, exp.Explode, exp.GenerateSeries)) for node in below(shown)):
        return True
    return not SET_RETURNING.isdisjoint(called(shown.sql()))


def _is_starred(node: exp.Select) -> bool:
    return any(is_star(entry) for entry in node.expressions)


def _is_one_row(node: exp.Select) -> bool:
    """A SELECT of aggregates without GROUP BY."""
    shown = [entry.this if isinstance(entry, exp.Alias) else entry for entry in node.expressions]
    return (
        bool(shown)
        and all(isinstance(entry, exp.AggFunc) for entry in shown)
        and arg(node, "from") is not None
    )
