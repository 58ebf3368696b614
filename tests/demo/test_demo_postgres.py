"""The demo on a PostgreSQL server: the same rows and answers as on DuckDB."""

from __future__ import annotations

import json

import duckdb
import psycopg
import pytest
from postgres_server import PostgresServer

from godb_fast.cli import main
from godb_fast.demo import TABLES, stream
from godb_fast.demo.database import load
from godb_fast.demo.postgres import load_postgres

SCALE = 0.02


def test_rows_and_answers_are_those_of_duckdb(postgres_server: PostgresServer) -> None:
    with postgres_server.database("demo") as url, psycopg.connect(url, autocommit=True) as there:
        rows = load_postgres(there, SCALE)
        with duckdb.connect() as here:
            assert load(here, SCALE) == rows
            for table in TABLES:
                count = f"SELECT count(*) FROM {table.name}"
                assert there.execute(count).fetchone() == here.execute(count).fetchone()
            different = []
            for query in stream(instances=1, scale=SCALE):
                ours = [tuple(map(str, row)) for row in here.execute(query.sql).fetchall()]
                theirs = [tuple(map(str, row)) for row in there.execute(query.sql).fetchall()]
                # DuckDB averages to a double, PostgreSQL to a numeric.
                if sorted(ours) != sorted(theirs) and "avg(" not in query.sql:
                    different.append(query.name)
            assert not different


@pytest.mark.slow
def test_the_command_compares_on_a_server_of_its_own(
    postgres_server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    if postgres_server.process_id is None:
        pytest.skip("the server in use was not started by the tests")
    arguments = [
        "demo",
        "--full",
        "--engine",
        "postgres",
        "--scale",
        "0.005",
        "--queries",
        "1",
        "--only",
        "*_star",
    ]
    assert main([*arguments, "--repetitions", "1", "--store", "none", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["engine"]["name"] == "postgresql"
    assert told["summary"]["different"] == told["summary"]["failed"] == 0
    assert told["summary"]["compared"] > 3


def test_keep_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--full", "--engine", "postgres", "--keep", "x.duckdb"]) == 2
    assert "--keep" in capsys.readouterr().err
