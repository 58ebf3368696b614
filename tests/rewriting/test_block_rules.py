"""Rules share what was read of a statement: looking for forms changes nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import sqlglot

from godb_fast.rewriting.block_rules import changed_trees
from godb_fast.rewriting.distinct_counts import DistinctCounts
from godb_fast.rewriting.duplicates import SemiJoins
from godb_fast.rewriting.eager_aggregation import EagerAggregation
from godb_fast.rewriting.join_block import Blocks, Unsuitable
from godb_fast.sql.scopes import below

STATEMENTS = (
    "SELECT u.id, count(*) FROM users u JOIN comments c ON c.user_id = u.id JOIN votes v ON v.user_id = u.id "
    "GROUP BY u.id",
    "SELECT u.id, count(DISTINCT c.post_id), count(DISTINCT v.kind) FROM users u LEFT JOIN comments c "
    "ON c.user_id = u.id LEFT JOIN votes v ON v.user_id = u.id GROUP BY u.id",
    "SELECT DISTINCT u.level FROM users u JOIN comments c ON c.user_id = u.id JOIN votes v ON v.user_id = u.id",
    "SELECT max(p.views) FROM posts p JOIN comments c ON c.post_id = p.id WHERE p.id IN "
    "(SELECT c.post_id FROM comments c JOIN votes v ON v.user_id = c.user_id)",
)
RULES: tuple[Callable[[], object], ...] = (EagerAggregation, DistinctCounts, SemiJoins)


@pytest.mark.parametrize("sql", STATEMENTS)
def test_forms_found_in_shared_blocks_are_those_of_blocks_of_their_own(sql, site_schema):
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    before = tree.sql("duckdb")
    shared = Blocks(tree, site_schema, "duckdb")
    read = []
    for number in range(len(shared.selects)):
        with suppress(Unsuitable):
            read.append(shared.at(number))
    texts = [block.select.sql("duckdb") for block in read]
    found = 0
    for _ in range(2):
        for rule in RULES:
            apart = [
                (place, changed.sql("duckdb"))
                for place, changed in changed_trees(rule(), tree, site_schema, "duckdb")
            ]
            together = [
                (place, changed.sql("duckdb"))
                for place, changed in changed_trees(rule(), tree, site_schema, "duckdb", shared)
            ]
            assert together == apart
            found += len(together)
    assert found
    assert tree.sql("duckdb") == before
    assert [block.select.sql("duckdb") for block in read] == texts


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_look_before_reading_loses_no_form(sql, site_schema):
    """What ``may_fit`` turns down, the rule would have turned down as well."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    blocks = Blocks(tree, site_schema, "duckdb")
    for rule in (EagerAggregation(), DistinctCounts(), SemiJoins()):
        for number, select in enumerate(blocks.selects):
            if select.args.get("joins") and rule.may_fit(select):
                continue
            with suppress(Unsuitable):
                assert not list(rule.plans(blocks.at(number)))
    assert all(node.parent is not None for node in below(tree)[1:])
