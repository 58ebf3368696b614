"""A process may end while advice is being made: no crash, no trace."""

from __future__ import annotations

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
