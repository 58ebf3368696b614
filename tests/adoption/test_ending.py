"""A process may end while advice is being made: no crash, no trace."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
from sqlalchemy import create_engine, text
from godb_fast.sqlalchemy import install

engine = create_engine("duckdb:///:memory:")
adoption = install(engine, mode="advise")
with engine.connect() as connection:
    print(connection.execute(text("SELECT 42")).all())
"""


@pytest.mark.parametrize("attempt", range(3))
def test_the_interpreter_ends_while_a_thread_of_ours_is_inside_the_driver(attempt):
    pytest.importorskip("duckdb_engine", reason="SQLAlchemy's dialect of DuckDB is not installed")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[(42,)]\n"
    assert "Traceback" not in done.stderr


FORKING = """
import os
import sys

import sqlalchemy

from godb_fast.sqlalchemy import install

engine = sqlalchemy.create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://"))
adoption = install(engine, mode="advise")


def run(count):
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT " + "count(*), " * count + "1 FROM pg_class")).all()


run(1)
if sys.argv[2] == "after":
    assert adoption.wait(30)
child = os.fork()
if child == 0:
    engine.dispose(close=False)
    before = adoption.optimizer.counters["advised"]
    run(2)
    good = adoption.wait(30) and adoption.optimizer.counters["advised"] == before + 1
    os._exit(0 if good else 1)
assert os.waitpid(child, 0)[1] == 0
assert adoption.wait(30)
engine.dispose()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("when", ["during", "after"])
def test_a_child_is_advised_by_a_thread_of_its_own(postgres_url, when):
    command = [sys.executable, "-c", FORKING, postgres_url, when]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
