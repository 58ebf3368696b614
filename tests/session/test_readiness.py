"""The first statement of a process waits for no import: what it needs is loaded when the session is opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import duckdb
import pytest

CODE = """
import json, sys
import godb_fast
from godb_fast.policy import Policy

url, store, query = sys.argv[1:]
policy = Policy(background=False)
session = godb_fast.connect(url, mode="steer", store=store, policy=policy)
before = set(sys.modules)
result = session.execute(query)
assert result.decision.candidates, result.decision.reason
print(json.dumps(sorted(set(sys.modules) - before)))
"""
QUERY = (
    "SELECT count(*), max(a.n) FROM a JOIN b ON a.k = b.k JOIN c ON c.k = b.k "
    "WHERE a.n < 7 AND b.name LIKE 'x%' AND c.n IN (1, 2, 3) AND c.n IS NOT NULL"
)
TABLES = (
    "CREATE TABLE a AS SELECT i AS k, i % 50 AS n FROM range(1, 3001) t(i)",
    "CREATE TABLE b AS SELECT i AS k, 'x' || (i % 9)::text AS name FROM range(1, 2001) t(i)",
    "CREATE TABLE c AS SELECT i AS k, i % 5 AS n FROM range(1, 1001) t(i)",
)


def imported(url: str, store, query: str = QUERY) -> list[str]:
    """Modules that the first execution of a new process imports."""
    found = subprocess.run(
        [sys.executable, "-c", CODE, url, str(store), query],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GODB_FAST_BACKEND": ""},
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_the_first_statement_imports_nothing_on_duckdb(tmp_path):
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)
    assert imported(str(path), tmp_path / "store.sqlite") == []


def test_nor_on_postgres(postgres_url, tmp_path):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in TABLES:
            connection.execute(statement.replace("range(", "generate_series(").replace("t(i)", "i"))
        connection.execute("ANALYZE")
    assert imported(postgres_url, tmp_path / "store.sqlite") == []


def test_modes_that_never_decide_load_none_of_it(tmp_path):
    code = (
        "import sys, godb_fast\n"
        "session = godb_fast.connect('duckdb://', mode='observe')\n"
        "session.execute('SELECT 42')\n"
        "print('godb_fast.untried' in sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert found.stdout.split() == ["False"]
