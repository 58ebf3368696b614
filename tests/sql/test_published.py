"""Published query texts: nearly all are planned, and whatever join tree is rendered, DuckDB binds it.

The tables are empty here: what is checked is names and types, not rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
from oracles.catalogue import Catalogue
from oracles.join_trees import random_tree

from benchmarks.common import Options
from benchmarks.corpora import Corpus, ceb, job, stack, tpcds, tpch
from godb_fast.core import Steering
from godb_fast.sql import fingerprint, parse_template, render

pytestmark = pytest.mark.data


def described(connection: Any, sql: str) -> list[tuple[str, str]]:
    return [row[:2] for row in connection.execute(f"DESCRIBE {sql}").fetchall()]


@pytest.mark.parametrize(
    ("read", "step", "unplanned"),
    [(job, 4, 0), (ceb, 200, 0), (stack, 400, 0), (tpch, 1, 2), (tpcds, 3, 1)],
    ids=["JOB", "CEB", "Stack", "TPC-H", "TPC-DS"],
)
def test_every_tree_binds(data: Path, read: Callable[[Options], Corpus], step: int, unplanned: int) -> None:
    corpus = read(Options(data))
    connection = corpus.connect()
    schema = Catalogue(connection)
    rng = Random(1)
    left = refused = 0
    for text in corpus.texts[::step]:
        found = fingerprint(text)
        template = parse_template(found, "duckdb", schema)
        left += not template.plannable
        try:
            expected = described(connection, text.rstrip().rstrip(";"))
        except duckdb.Error:
            # JOB has an alias, "at", that DuckDB reserves.
            refused += 1
            continue
        trees = tuple((block.index, random_tree(block.graph, rng)) for block in template.plannable)
        steered = render(template, found.literals, Steering(trees))
        assert described(connection, steered.rstrip().rstrip(";")) == expected, steered
    connection.close()
    assert left <= unplanned
    assert refused <= len(corpus.texts[::step]) // 4
