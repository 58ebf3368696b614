"""Grouping, bounded memory, and texts that several sources write differently."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.errors import InvalidInput
from godb_fast.sql import fingerprint
from godb_fast.workload import QueryUsage, rank
from godb_fast.workload.collecting import PLAN, Collector
from godb_fast.workload.intake import with_examples
from godb_fast.workload.shapes import bound, is_complete, numbered, quoted, reads, shape


def text_of(sql, dialect="postgres"):
    return fingerprint(sql, dialect).text


def test_statements_of_one_template_are_one_row():
    collector = Collector("postgres")
    collector.add("SELECT a FROM t WHERE b = 1", total_ms=2.0, rows=3)
    collector.add("select a  from t where b = 22 -- again", total_ms=4.0, rows=5)
    collector.add("SELECT a FROM t WHERE b = 'x'", total_ms=1.0)
    first, second = collector.workload("here").queries
    assert (first.calls, first.total_ms, first.max_ms, first.mean_ms, first.rows) == (2, 6.0, 4.0, 3.0, 8)
    assert first.fingerprint == fingerprint("SELECT a FROM t WHERE b = 7", "postgres").hash
    assert second.calls == 1


def test_the_slowest_complete_query_is_the_example():
    collector = Collector("postgres")

    def add(sql, ms):
        collector.add(sql, total_ms=ms, provenance="logged", example=lambda: sql)

    add("SELECT a FROM t WHERE b = 1", 2.0)
    add("SELECT a FROM t WHERE b = 2", 9.0)
    add("SELECT a FROM t WHERE b = 3", 4.0)
    add("SELECT a FROM t WHERE b = $1", 99.0)
    add("DELETE FROM t WHERE b = 3", 99.0)
    add("SELECT 1; DROP TABLE t", 99.0)
    examples = {usage.text: usage.example for usage in collector.workload("here").queries}
    assert examples[text_of("SELECT a FROM t WHERE b = 1")] == "SELECT a FROM t WHERE b = 2"
    assert set(examples.values()) == {None, "SELECT a FROM t WHERE b = 2"}


def test_executions_that_are_logged_twice_count_once():
    collector = Collector("postgres")
    for _ in range(3):
        collector.add("SELECT 1", total_ms=2.0)
        collector.add("SELECT 1", total_ms=1.9, rows=1, kind=PLAN)
    collector.add("SELECT only_plan FROM t", total_ms=5.0, rows=7, kind=PLAN)
    workload = collector.workload("here")
    assert [(usage.calls, usage.total_ms, usage.rows) for usage in workload.queries] == [
        (3, 6.0, 3),
        (1, 5.0, 7),
    ]
    assert (workload.calls, workload.total_ms) == (4, 11.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50)), max_size=200))
def test_what_is_forgotten_stays_in_the_whole(runs):
    collector = Collector("postgres", limit=10)
    for column, ms in runs:
        collector.add(f"SELECT c{column} FROM t", total_ms=float(ms))
    workload = collector.workload("here")
    assert workload.calls == len(runs)
    assert (workload.total_ms or 0.0) == pytest.approx(sum(ms for _, ms in runs))
    assert len(workload.queries) <= 10
    shares = [entry.share for entry in rank(workload, 100)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.0 + 1e-9


def test_texts_are_bounded_by_their_bytes():
    collector = Collector("postgres", limit_bytes=100_000)
    for number in range(300):
        collector.add(f"SELECT c{number}, {', '.join(f'col{i}' for i in range(300))} FROM t", total_ms=1.0)
    workload = collector.workload("here")
    assert workload.calls == 300
    assert sum(len(usage.text) for usage in workload.queries) < 100_000


def test_calls_are_ranked_where_no_times_are_known():
    collector = Collector("duckdb")
    for sql in ("SELECT 1", "SELECT a FROM t", "SELECT a FROM t"):
        collector.add(sql)
    collector.add("SELECT 'not ended")
    workload = collector.workload("here")
    assert [usage.calls for usage in workload.queries] == [2, 1]
    assert workload.total_ms is None
    assert [(entry.share, entry.usage.total_ms) for entry in rank(workload, 1)] == [(None, None)]
    assert "1 texts" in workload.notes[0]


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        ("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = 5"),
        ("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = -5.5"),
        ("SELECT a FROM t WHERE b IN ($1, $2, $3)", "select a from t where b in ('x', 'y')"),
        ("SELECT a FROM t WHERE b IN ($1 /*, ... */)", "select a from t where b in (1, 2, 3)"),
        (
            "SELECT a FROM t WHERE d > date $1 LIMIT $2",
            "SELECT a FROM t WHERE d > date '2020-01-01' LIMIT 10",
        ),
        ("SELECT a + interval $1 FROM t", "SELECT a + interval '1 day' FROM t"),
        ("SELECT a FROM t WHERE b = $1 OFFSET $2", "SELECT a FROM t WHERE b = TRUE OFFSET 3"),
        ("SELECT coalesce(a, $1) FROM t", "SELECT coalesce(a, NULL) FROM t"),
        (
            "SELECT a FROM t WHERE b IS NULL AND c IS NOT TRUE",
            "select a from t where b is null and c is not true",
        ),
    ],
)
def test_texts_with_and_without_values_have_one_shape(listed, sent):
    assert shape(text_of(listed)) == shape(text_of(sent))


def test_what_differs_has_another_shape():
    texts = [
        "SELECT a FROM t WHERE b = 1",
        "SELECT a FROM t WHERE b IS NULL",
        "SELECT a FROM t WHERE b IS NOT NULL",
    ]
    texts += ["SELECT a FROM t WHERE b IN (1)", "SELECT a FROM u WHERE b = 1", "SELECT a FROM t ORDER BY 1"]
    texts += ["SELECT a FROM t ORDER BY 2", 'SELECT "true" FROM t', "SELECT a FROM t WHERE b IS TRUE"]
    assert len({shape(text_of(text)) for text in texts}) == len(texts)


def test_examples_are_lent_by_the_first_source_that_has_one():
    wanted = QueryUsage(text_of("SELECT a FROM t WHERE b = $1"), 1, 1)
    has = QueryUsage(text_of("SELECT 1"), 2, 1, example="SELECT 1", provenance="logged")
    collectors = [Collector("postgres"), Collector("postgres")]
    for number, collector in enumerate(collectors):
        sql = f"SELECT a FROM t WHERE b = {number}"
        collector.add(sql, provenance="logged", example=lambda sql=sql: sql)
    first, second = with_examples([wanted, has], [collector.workload("") for collector in collectors])
    assert (first.example, first.provenance) == ("SELECT a FROM t WHERE b = 0", "logged")
    assert second is has


def test_values_go_into_placeholders_only():
    sql = "SELECT '$1', \"$1\", $tag$ $1 $tag$, $1 /* $1 */ -- $1\n, E'\\'$1', $2, a$1, x IN ($1, '$1', $2)"
    assert bound(sql, ["1", "'é'"]) == (
        "SELECT '$1', \"$1\", $tag$ $1 $tag$, 1 /* $1 */ -- $1\n, E'\\'$1', 'é', a$1, x IN (1, '$1', 'é')"
    )
    assert bound("SELECT $3", ["1"]) is None
    assert bound("SELECT 5 -$1", ["-3"]) == "SELECT 5 - -3"
    assert bound("SELECT 'é€', $1", ["'ß'"]) == "SELECT 'é€', 'ß'"


@pytest.mark.parametrize("value", ["x'; DROP TABLE t; --", "\\'; DROP TABLE t; --", "$1", "''", "\x00", "\\"])
def test_a_hostile_value_stays_one_literal(value):
    sql = bound("SELECT a FROM t WHERE b = $1", [quoted(value)])
    print_ = fingerprint(sql, "postgres")
    assert print_.text == text_of("SELECT a FROM t WHERE b = 'x'")
    assert is_complete(sql, "postgres")


def test_what_begins_as_a_query_does():
    for sql in (
        "SELECT 1",
        "  (select 1)",
        "/* app */ WITH a AS (SELECT 1) SELECT 1",
        "-- x\nVALUES (1)",
        "FROM t",
    ):
        assert reads(sql), sql
    for sql in (
        "DELETE FROM t",
        "",
        "   ",
        "SELECTED",
        "/* SELECT */ UPDATE t SET a = 1",
        " " * 5_000 + "SELECT 1",
    ):
        assert not reads(sql), sql


def test_a_normalized_text_becomes_a_statement():
    assert numbered(text_of("SELECT a FROM t WHERE b = 'x' AND c IN (1, 2) AND d = -5")) == (
        "select a from t where b = $1 and c in ($2) and d = -$3"
    )


def test_an_example_and_where_it_is_from_go_together():
    with pytest.raises(InvalidInput):
        QueryUsage("select 1", 1, 1, example="SELECT 1")
    with pytest.raises(InvalidInput):
        QueryUsage("select 1", 1, 1, provenance="logged")
    with pytest.raises(InvalidInput):
        QueryUsage("select 1", 1, 1, example="SELECT 1", provenance="guessed")
