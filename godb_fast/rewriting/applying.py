"""From a template to its rewrites: every rule at every place, and rules on the result of others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from sqlglot import exp

from godb_fast.core import Guard, Rewrite, Schema, Template
from godb_fast.rewriting.base import Change, Refused, Rule, Statement
from godb_fast.rewriting.output_names import call_name
from godb_fast.rewriting.printing import check_faithful, to_segments
from godb_fast.sql.layout import Syntax
from godb_fast.sql.parsing import parse_statement
from godb_fast.sql.scopes import below

#: Rules one after the other.
MAX_DEPTH: Final = 3
#: Applications of one rule to one statement.
MAX_CHANGES: Final = 4
#: Rewrites of one template.
MAX_REWRITES: Final = 12

log = logging.getLogger("godb_fast.rewriting")


def rules() -> tuple[Rule, ...]:
    """All rules, those first that win most."""
    from godb_fast.rewriting.cte_materialization import CteMaterialization
    from godb_fast.rewriting.decorrelate_aggregate import DecorrelateAggregate
    from godb_fast.rewriting.decorrelate_exists import DecorrelateExists
    from godb_fast.rewriting.distinct_counts import DistinctCounts
    from godb_fast.rewriting.duplicates import SemiJoins
    from godb_fast.rewriting.eager_aggregation import EagerAggregation
    from godb_fast.rewriting.or_to_union import OrToUnion
    from godb_fast.rewriting.predicate_transfer import PredicateTransfer

    return (
        DecorrelateAggregate(),
        DecorrelateExists(),
        EagerAggregation(),
        DistinctCounts(),
        SemiJoins(),
        OrToUnion(),
        PredicateTransfer(),
        CteMaterialization(),
    )


def rewrites(template: Template, schema: Schema) -> tuple[Rewrite, ...]:
    """All rewrites of a template, found once and kept in its ``syntax``, where ``render`` finds them.

    Empty where nothing is certain: the statement passes through, its answer depends on the plan, or the
    parser does not print it as it is written.
    """
    syntax = template.syntax
    if not isinstance(syntax, Syntax):
        return ()
    with syntax.lock:
        known = syntax.rewrites
    if known is None:
        found = _find(template, schema, syntax, rules())
        with syntax.lock:
            known = syntax.rewrites = found if syntax.rewrites is None else syntax.rewrites
    return tuple(known.values())


def read_statement(template: Template, schema: Schema) -> Statement:
    """A template's statement, to be rewritten.

    Raises
    ------
    Refused
        If it may not be.
    """
    syntax = template.syntax
    if not isinstance(syntax, Syntax) or template.order_sensitive is not None:
        raise Refused(template.order_sensitive or template.reason or "the statement passes through")
    parsed = parse_statement(syntax.tokens.parse_text, template.dialect)
    if isinstance(parsed, str):
        raise Refused(parsed)
    statement = Statement(template, schema, parsed, syntax.tokens)
    check_faithful(statement)
    return statement


def _find(template: Template, schema: Schema, syntax: Syntax, tried: Sequence[Rule]) -> dict[str, Rewrite]:
    found: dict[str, Rewrite] = {}
    try:
        statement = read_statement(template, schema)
        level: list[tuple[str, Statement, tuple[Guard, ...], str, int]] = [("", statement, (), "", -1)]
        texts = {to_segments(statement, statement.tree)}
        for _ in range(MAX_DEPTH):
            following: list[tuple[str, Statement, tuple[Guard, ...], str, int]] = []
            for name, current, guards, note, last in level:
                for index, rule in enumerate(tried):
                    # Of rules that do not meet, one order is enough.
                    if index < last or (index == last and name):
                        continue
                    for change in islice(_changes(rule, current), MAX_CHANGES):
                        try:
                            segments = to_segments(current, change.tree)
                            check_output(current, change.tree)
                        except Refused as reason:
                            log.info("%s at %s: %s", rule.name, change.place, reason)
                            continue
                        if segments in texts:
                            continue
                        texts.add(segments)
                        whole = (
                            f"{name}+{rule.name}:{change.place}" if name else f"{rule.name}:{change.place}"
                        )
                        notes = f"{note}; {change.note}" if note else change.note
                        both = tuple(dict.fromkeys((*guards, *change.guards)))
                        found[whole] = Rewrite(whole, segments, both, notes)
                        following.append((whole, current.changed(change.tree), both, notes, index))
                        if len(found) >= MAX_REWRITES:
                            return found
            level = following
    except Refused as reason:
        log.debug("not rewritten: %s", reason)
    except RecursionError:
        log.debug("not rewritten: nested too deeply")
    return found


def _changes(rule: Rule, statement: Statement) -> Iterator[Change]:
    try:
        yield from rule.changes(statement)
    except Refused as reason:
        log.debug("%s: %s", rule.name, reason)


def check_output(statement: Statement, tree: exp.Expression) -> None:
    """Check that the outermost SELECTs show columns of the same names.

    Raises
    ------
    Refused
        If one that has no alias was changed.
    """
    before, after = _shown(statement.tree), _shown(tree)
    if len(before) != len(after):
        raise Refused("another number of output columns")
    for old, new in zip(before, after, strict=True):
        name = (
            old.alias_or_name
            if isinstance(old, (exp.Alias, exp.Column))
            else call_name(old, statement.dialect)
        )
        if old != new and (not name or name != new.alias_or_name):
            raise Refused("the name of an output column would change")


def _shown(tree: exp.Expression) -> list[exp.Expression]:
    """What names the result's columns."""
    while not isinstance(tree, exp.Select):
        if not isinstance(tree, (exp.Subquery, exp.SetOperation)):
            return []
        tree = tree.this
    return [part for entry in tree.expressions for part in _expanded(entry, tree)]


def _expanded(entry: exp.Expression, select: exp.Select) -> list[exp.Expression]:
    # A star that became one star for each relation is checked by the rule that does it.
    return [] if any(isinstance(part, exp.Star) for part in below(entry)[:2]) else [entry]
