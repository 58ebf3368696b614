"""The short demo: its site, and what the command shows of it on both engines."""

from __future__ import annotations

import hashlib
import json
import tempfile

import duckdb
import numpy as np
import psycopg
import pytest
from postgres_server import PostgresServer

from godb_fast.cli import main
from godb_fast.core import Steering
from godb_fast.demo import showing
from godb_fast.demo.showing import Row, _blind_ms, show_site
from godb_fast.demo.site import (
    HEAVY_SHARE,
    QUERIES,
    TABLES,
    generate_site,
    load_site,
    load_site_postgres,
)
from godb_fast.engines.registry import open_engine
from godb_fast.errors import InvalidInput
from godb_fast.exploring.outcome import QueryOutcome
from godb_fast.rewriting import rewrites
from godb_fast.session import Optimizer, Session
from godb_fast.sql import fingerprint, parse_template
from godb_fast.store import open_store


def digest(share: float) -> str:
    total = hashlib.blake2b(digest_size=8)
    for name, columns in generate_site(share, 0.05).items():
        for column, values in columns.items():
            total.update(f"{name}.{column}.{values.dtype.str}".encode())
            total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def test_the_published_sites_and_queries_never_change():
    # Written down before any query was run: a change says why.
    assert [digest(0.0), digest(HEAVY_SHARE)] == ["c72a2b36b3e3787e", "5d52c65ecfe3f837"]
    text = "\n".join(f"{name}: {sql}" for name, sql in QUERIES.items())
    assert hashlib.blake2b(text.encode(), digest_size=8).hexdigest() == "fe46447fa33d8a81"


def test_one_site_has_a_heavy_account_and_the_other_has_none():
    for share, least, most in ((HEAVY_SHARE, 0.8 * HEAVY_SHARE, 1.3 * HEAVY_SHARE), (0.0, 0.0, 0.001)):
        comments = generate_site(share, 0.5)["comments"]
        written = np.bincount(comments["user_id"])
        assert least < written.max() / written.sum() < most
        assert (comments["user_id"].min(), len(written)) >= (1, 100)
    with pytest.raises(InvalidInput, match="scale"):
        generate_site(0.0, 0.0)


def test_rows_and_answers_are_the_same_on_both_engines(postgres_server: PostgresServer):
    with (
        postgres_server.database("site") as url,
        psycopg.connect(url, autocommit=True) as there,
        duckdb.connect() as here,
    ):
        assert load_site_postgres(there, HEAVY_SHARE, 0.02) == load_site(here, HEAVY_SHARE, 0.02)
        for table in TABLES:
            ours, theirs = (
                [
                    tuple(map(str, row))
                    for row in connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
                ]
                for connection in (here, there)
            )
            assert ours == theirs
        for name, sql in QUERIES.items():
            ours, theirs = (
                [tuple(map(str, row)) for row in connection.execute(sql).fetchall()]
                for connection in (here, there)
            )
            assert ours == theirs, name
            assert ours, name


@pytest.mark.parametrize(
    ("engine", "scale", "budget"), [("duckdb", "0.2", "60s"), ("postgres", "0.02", "1s")]
)
def test_the_command_shows_both_sites(
    engine, scale, budget, capsys, tmp_path, monkeypatch, postgres_server: PostgresServer
):
    if engine == "postgres" and postgres_server.process_id is None:
        pytest.skip("the server in use was not started by the tests")
    monkeypatch.setenv("GODB_FAST_STORE", str(tmp_path / "own.db"))
    if engine == "duckdb":
        # A server's own user could not reach this folder.
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = tmp_path / "demo.json"
    arguments = ["demo", "--engine", engine, "--scale", scale, "--budget", budget, "--json", str(file)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    # A progress bar is for terminals.
    assert err == ""
    told = json.loads(file.read_text())
    heavy, even = told["sites"]["heavy"], told["sites"]["even"]
    assert heavy["heaviest"] > even["heaviest"]
    for site in (heavy, even):
        assert [row["name"] for row in site["queries"]] == list(QUERIES)
        assert not [row for row in site["queries"] if row["different"] or row["problem"]]
        assert site["explored"]["spent_s"] > 0
    texts = [
        "its heaviest account wrote ",
        "A/A: engine, engine again",
        "our overhead",
        "godb-fast explore ",
    ]
    if engine == "duckdb":
        # The account's comments times its votes are many times more rows than any other form has to make, and
        # the budget is larger than all that is worth a run.
        assert any(row["explored"]["promoted"] and row["steered"] for row in heavy["queries"])
        texts.append("without us, as godb-fast export prints it:")
    for text in texts:
        assert text in out
    # Nothing is left, and the user's own store knows nothing of a database that is gone.
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


def test_plans_that_do_not_finish_are_named_as_cut(capsys):
    assert main(["demo", "--scale", "0.02", "--cap", "0.0005", "--budget", "0.2s", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert "cut off after 0.0005 s under the engine's plan: top users" in err
    row = json.loads(out)["sites"]["heavy"]["queries"][0]
    assert row["cut_s"] == 0.0005
    assert row["times_ms"]["default"] == []


def test_where_nothing_finishes_there_is_no_median(capsys, monkeypatch):
    def unfinished(*given, **more):
        shown = show_site(*given, **more)
        for row in shown.rows:
            row.times_ms, row.cut_s, row.overhead_us = {arm: [] for arm in row.times_ms}, 0.0005, [9.0]
        return shown

    monkeypatch.setattr(showing, "show_site", unfinished)
    assert main(["demo", "--scale", "0.02", "--cap", "0.0005", "--budget", "0.2s", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert "cut off after 0.0005 s under the engine's plan: top users" in err
    assert "our overhead" not in err
    assert json.loads(out)["sites"]["even"]["queries"][0]["gain"] is None


def test_an_interrupt_while_measuring_keeps_what_was_measured(tmp_path):
    path = str(tmp_path / "site.duckdb")
    with duckdb.connect(path) as connection:
        site = load_site(connection, HEAVY_SHARE, 0.01)
    seen = []

    def interrupt(what: str, share: float) -> None:
        seen.append(share)
        if what == "measuring posts per year":
            raise KeyboardInterrupt

    queries = {name: QUERIES[name] for name in ("one account", "posts per year", "busiest posts")}
    optimizer = Optimizer(store=open_store(str(tmp_path / "s.db")))
    with Session(optimizer, open_engine(path, read_only=True), mode="steer") as session:
        shown = show_site(session, site, queries, budget="0.2s", cap_s=5.0, progress=interrupt)
    assert shown.interrupted
    assert [bool(row.times_ms["ours"]) for row in shown.rows] == [True, False, False]
    assert seen == sorted(seen)


def test_a_plan_of_the_other_site_is_run_unproved_here_also_of_a_statement_that_is_left_alone(tmp_path):
    with duckdb.connect(str(tmp_path / "even.duckdb")) as connection:
        load_site(connection, 0.0, 0.05)
    sql = QUERIES["above own average"].strip()
    with open_engine(str(tmp_path / "even.duckdb"), read_only=True) as engine:
        template = parse_template(fingerprint(sql, "duckdb"), "duckdb", engine.schema())
        names = [each.name for each in rewrites(template, engine.schema())]
        rewrite = next(name for name in names if "decorrelate_aggregate" in name)
        session = Session(Optimizer(), engine, mode="steer")
        assert session.execute(sql).decision.reason.startswith("left alone")
        row = Row("above own average", sql, QueryOutcome("above own average"))
        took_ms = _blind_ms(session, row, Steering(rewrites=(rewrite,)), 20.0)
        assert took_ms is not None
        assert 0.0 < took_ms < 20_000.0
