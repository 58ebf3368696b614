"""The stages of a session's life, and what learning costs, on a small site: they run, and tell what they should."""

from __future__ import annotations

from pathlib import Path

import duckdb

from benchmarks import feedback, lifetime
from benchmarks.common import Options, collect
from benchmarks.workloads import Loaded
from godb_fast.demo.site import load_site


def test_each_stage_has_a_row_and_no_answer_differs():
    report = collect("lifetime", lifetime.run, Options(quick=True))
    rows = [row for row in report.rows if row["table"] == "stages"]
    assert [row["stage"] for row in rows] == [
        "cold start",
        "learned for 1x",
        "learned for 2x",
        "few resources",
        "other data, at once",
        "other data, explored anew",
    ]
    assert all(row["R"] > 0.0 and row["steered"].endswith("of 10") for row in rows)
    assert rows[0]["promoted"] == 0
    assert rows[1]["explored_s"] > 0.0
    assert report.floors["answers that differ"]["holds"]


def test_other_data_are_even_and_as_many(tmp_path: Path):
    path = str(tmp_path / "site.duckdb")
    with duckdb.connect(path) as connection:
        load_site(connection, 0.02, 0.05)
        before = connection.execute(
            "SELECT count(*), max(n) FROM (SELECT count(*) AS n FROM comments GROUP BY user_id)"
        ).fetchone()
    lifetime.Site(Loaded(path, [], []), tmp_path / "store.sqlite", 0.05).even()
    with duckdb.connect(path) as connection:
        rows = connection.execute(
            "SELECT count(*), max(user_id), min(user_id), max(post_id) FROM comments"
        ).fetchone()
        users, posts = (
            connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("users", "posts")
        )
        most = connection.execute(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM comments GROUP BY user_id)"
        ).fetchone()[0]
    assert rows[0] == 5500
    assert 1 <= rows[2] <= rows[1] <= users
    assert rows[3] <= posts
    assert most <= 6 < before[1]


def test_learning_is_charged_with_its_profiles():
    report = collect("feedback", feedback.run, Options(quick=True))
    together = [row for row in report.rows if row["table"] == "together"]
    if not together:
        assert any("nothing is learned from" in note for note in report.notes)
        return
    # Where a fast machine leaves few slow queries, these do not pay for a profile yet.
    assert together[0]["learned_from"] + together[0]["put_off"] > 0
    assert together[0]["learning"] > 0.0
