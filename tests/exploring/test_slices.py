"""Rewrites of queries that do not finish are compared on parts of them, on a real DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from godb_fast.core import Rewrite, Steering
from godb_fast.engines.base import EngineResult, Rendered
from godb_fast.engines.registry import open_engine
from godb_fast.errors import QueryTimeout
from godb_fast.exploring import slices
from godb_fast.exploring.candidates import DEFAULT_ARM, candidates
from godb_fast.exploring.slices import AGREEING, SliceEvidence, compare_slices
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.exploring.trials import LiveExecutor
from godb_fast.rewriting import rewrites
from godb_fast.rewriting.slicing import SliceKey, slice_keys, sliced

SETUP = """
CREATE TABLE account (id INTEGER PRIMARY KEY, name VARCHAR, city INTEGER);
CREATE TABLE post (id INTEGER PRIMARY KEY, account INTEGER, score INTEGER);
CREATE TABLE vote (id BIGINT PRIMARY KEY, post INTEGER NOT NULL, worth DOUBLE);
INSERT INTO account SELECT i, 'name ' || i, i % 7 FROM range(400) t(i);
INSERT INTO post SELECT i, i * i % 400, i % 11 FROM range(3000) t(i);
INSERT INTO vote SELECT i, i * 7 % 3000, i FROM range(9000) t(i);
"""
MULTIPLYING = (
    "SELECT DISTINCT a.name FROM account a JOIN post p ON p.account = a.id JOIN vote v ON v.post = p.id "
    "WHERE p.score > 3 OR a.city = 2"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "site.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(SETUP)
    opened = open_engine(f"duckdb:///{path}")
    yield opened
    opened.close()


def subject_of(engine: Any, sql: str, params: Any = None) -> Subject:
    subject = examine(engine, LiveQuery("q", sql, params))
    assert isinstance(subject, Subject), subject
    return subject


def runs(engine: Any, log: list[str] | None = None) -> Any:
    def run(statement: Rendered, limit_s: float) -> EngineResult:
        assert limit_s > 0
        if log is not None:
            log.append(statement.sql)
        return engine.run(statement, timeout_s=limit_s)

    return run


def compared(
    engine: Any, subject: Subject, name: str, run: Any = None, total_s: float = 60.0
) -> SliceEvidence:
    steering = Steering(rewrites=(name,))
    return compare_slices(engine, subject, steering, run or runs(engine), limit_s=20.0, total_s=total_s)


class TestKeys:
    def test_keys_of_the_outermost_relations(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING)
        found = slice_keys(subject.template, engine.schema())
        assert [str(key) for key in found if key.unique] == ["a.id", "p.id", "v.id"]
        assert {str(key) for key in found if not key.unique} == {"a.city", "p.account", "p.score", "v.post"}

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT count(*) FROM (SELECT id FROM post) x JOIN (SELECT post FROM vote) y ON x.id = y.post",
            "SELECT id FROM post UNION ALL SELECT post FROM vote",
        ],
    )
    def test_where_there_are_none(self, engine: Any, sql: str) -> None:
        assert slice_keys(subject_of(engine, sql).template, engine.schema()) == ()

    def test_relations_that_a_subquery_names_come_first(self, engine: Any) -> None:
        sql = (
            "SELECT a.name, p.id FROM account a JOIN post p ON p.account = a.id "
            "WHERE p.score > (SELECT avg(x.score) FROM post x WHERE x.account = p.account)"
        )
        found = slice_keys(subject_of(engine, sql).template, engine.schema())
        assert [(str(key), key.outer, key.tied) for key in found] == [
            ("p.id", True, False),
            ("p.score", True, False),
            ("p.account", True, True),
            ("a.id", False, False),
            ("a.city", False, False),
        ]

    def test_padded_relations_are_not_cut(self, engine: Any) -> None:
        sql = "SELECT a.id, p.id FROM account a LEFT JOIN post p ON p.account = a.id"
        found = slice_keys(subject_of(engine, sql).template, engine.schema())
        assert {key.alias for key in found} == {"a"}

    @pytest.mark.parametrize("parts", [4, 7])
    def test_parts_make_the_whole(self, engine: Any, parts: int) -> None:
        sql = MULTIPLYING.replace("DISTINCT a.name", "a.id, p.id, v.worth")
        subject = subject_of(engine, sql)
        whole = sorted(engine.run(Rendered(sql)).rows)
        for key in slice_keys(subject.template, engine.schema()):
            found = []
            for part in range(parts):
                text = sliced(subject.template, engine.schema(), subject.literals, key, parts, part)
                found.extend(engine.run(Rendered(text)).rows)
            assert sorted(found) == whole, key


class TestComparing:
    def test_a_right_rewrite_agrees(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING)
        names = [entry.name for entry in rewrites(subject.template, engine.schema())]
        assert names
        for name in names[:3]:
            log: list[str] = []
            found = compared(engine, subject, name, runs(engine, log))
            assert found.enough, (name, found)
            assert (found.agreed, found.by, found.differs) == (AGREEING, "v.id % 64", None)
            assert sum("EXISTS" not in text for text in log) == AGREEING

    def test_parameters_are_bound(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING.replace("> 3", "> ?"), [3])
        name = rewrites(subject.template, engine.schema())[0].name
        assert compared(engine, subject, name).enough

    def test_conditions_before_and_behind_a_subquery(self, engine: Any) -> None:
        sql = (
            "WITH busy AS (SELECT account, count(*) AS posts FROM post GROUP BY account) "
            "SELECT a.name FROM busy b, account a WHERE b.posts >= (SELECT avg(x.posts) FROM busy x "
            "WHERE x.account = b.account) AND a.city < 5 AND a.id = b.account ORDER BY a.name LIMIT 500"
        )
        subject = subject_of(engine, sql)
        name = rewrites(subject.template, engine.schema())[0].name
        assert name.startswith("decorrelate")
        assert compared(engine, subject, name).enough

    @pytest.mark.parametrize("least", [40, 100])
    def test_groups_that_having_leaves_out_are_compared(self, engine: Any, least: int) -> None:
        """Of the whole query some groups, or none, are large enough; of a part, none."""
        sql = (
            "SELECT a.city, count(*) AS posts FROM account a JOIN post p ON p.account = a.id WHERE p.score > "
            "(SELECT avg(x.score) FROM post x WHERE x.account = p.account) "
            f"GROUP BY a.city HAVING count(*) > {least} AND max(p.score) > 1 ORDER BY posts, a.city LIMIT 100"
        )
        subject = subject_of(engine, sql)
        name = rewrites(subject.template, engine.schema())[0].name
        assert name.startswith("decorrelate")
        log: list[str] = []
        found = compared(engine, subject, name, runs(engine, log))
        assert found.enough, found
        assert all("having_holds" in text for text in log)

    @pytest.mark.parametrize("having", ["count(*) > ?", "count(*) > (SELECT 1)"])
    def test_having_that_stays_where_it_is(self, engine: Any, having: str) -> None:
        sql = (
            "SELECT a.city FROM account a JOIN post p ON p.account = a.id WHERE a.id > 0 AND p.score > "
            f"(SELECT avg(x.score) FROM post x WHERE x.account = p.account) GROUP BY a.city HAVING {having}"
        )
        subject = subject_of(engine, sql, [1] if "?" in having else None)
        name = rewrites(subject.template, engine.schema())[0].name
        assert name.startswith("decorrelate")
        log: list[str] = []
        assert compared(engine, subject, name, runs(engine, log)).enough
        assert not any("having_holds" in text for text in log)

    def test_a_wrong_rewrite_is_shown(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A rule with a fault in it: it forgets DISTINCT."""

        def faulty(template: Any, schema: Any) -> Any:
            right = rewrites(template, schema)
            first, *rest = (
                template.syntax.rewrites["right"].segments
                if "right" in template.syntax.rewrites
                else ("", "")
            )
            text = "".join(piece if isinstance(piece, str) else str(piece) for piece in (first, *rest))
            assert not text
            tokens = template.syntax.tokens.parse_text.replace("DISTINCT", "")
            for stand_in, slot in template.syntax.tokens.stand_ins.items():
                tokens = tokens.replace(stand_in, f"\0{slot}\0")
            pieces = tuple(int(piece) if n % 2 else piece for n, piece in enumerate(tokens.split("\0")))
            template.syntax.rewrites["wrong@1:x"] = Rewrite("wrong@1:x", pieces)
            return right

        monkeypatch.setattr(slices, "rewrites", faulty)
        found = compared(engine, subject_of(engine, MULTIPLYING), "wrong@1:x")
        assert not found.enough
        assert "rows instead of" in str(found.differs)
        assert "v.id % 64 = 0" in found.example
        engine.run(Rendered(found.example))

    def test_a_rewrite_that_is_not_found_proves_nothing(self, engine: Any) -> None:
        found = compared(engine, subject_of(engine, MULTIPLYING), "no_such@1:0")
        assert (found.agreed, found.enough, found.differs) == (0, False, None)

    def test_parts_without_rows_prove_nothing(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING.replace("p.score > 3 OR a.city = 2", "p.score > 300"))
        name = rewrites(subject.template, engine.schema())[0].name
        log: list[str] = []
        found = compared(engine, subject, name, runs(engine, log))
        assert (found.agreed, found.enough, found.differs) == (0, False, None)
        # The original was never asked: the rewrite has no rows.
        assert all("EXISTS" in text for text in log)

    def test_what_could_not_be_compared_is_refused_and_not_said_to_differ(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING.replace("p.score > 3 OR a.city = 2", "p.score > 300"))
        found = candidates(engine, subject)
        arms = [DEFAULT_ARM, *(name for name, each in found.items() if each.rewritten)]
        executor = LiveExecutor(engine, [subject], [found], arms, cap_s=5.0)
        executor.unfinished(0)
        assert executor.run(0, 1, 5.0).failed
        (refusal,) = executor.refusals
        assert "too little says that the answer is right" in refusal.why
        assert not refusal.differs

    def test_coarser_parts_where_fine_ones_have_no_rows(self, engine: Any) -> None:
        sql = MULTIPLYING.replace("p.score > 3 OR a.city = 2", "v.id IN (16, 20, 25, 30)")
        subject = subject_of(engine, sql)
        name = rewrites(subject.template, engine.schema())[0].name
        found = compared(engine, subject, name)
        assert found.enough
        assert found.by == "v.id % 16"

    def test_another_key_where_one_takes_too_long(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING)
        name = rewrites(subject.template, engine.schema())[0].name

        def slow(statement: Rendered, limit_s: float) -> EngineResult:
            if "v.id %" in statement.sql and "EXISTS" not in statement.sql:
                raise QueryTimeout("too long")
            return runs(engine)(statement, limit_s)

        found = compared(engine, subject, name, slow)
        assert not found.by.startswith("v.id")
        assert found.enough

    def test_finer_parts_where_coarse_ones_take_too_long(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING)
        name = rewrites(subject.template, engine.schema())[0].name

        def slow(statement: Rendered, limit_s: float) -> EngineResult:
            if "% 64" in statement.sql and "EXISTS" not in statement.sql:
                raise QueryTimeout("too long")
            return runs(engine)(statement, limit_s)

        found = compared(engine, subject, name, slow)
        assert (found.enough, found.by) == (True, "v.id % 1024")

    def test_time_is_bounded(self, engine: Any) -> None:
        subject = subject_of(engine, MULTIPLYING)
        name = rewrites(subject.template, engine.schema())[0].name
        log: list[str] = []
        found = compared(engine, subject, name, runs(engine, log), total_s=1e-9)
        assert (found.agreed, log) == (0, [])


def test_a_key_is_written_as_it_reads() -> None:
    assert str(SliceKey("a", "id", True)) == "a.id"
