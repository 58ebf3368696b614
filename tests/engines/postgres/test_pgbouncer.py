"""Through PgBouncer's transaction pooling: every transaction may be another server connection's."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from postgres_server import PostgresServer

import godb_fast
from godb_fast.cli import main
from godb_fast.demo.postgres_server import unprivileged
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import open_url
from godb_fast.errors import EngineError, InvalidInput
from godb_fast.optimizer import Policy

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here: apt-get install pgbouncer")

TABLES = """
CREATE TABLE station (id int PRIMARY KEY, region int, name text);
CREATE TABLE sensor (id int PRIMARY KEY, station_id int, kind int);
CREATE TABLE reading (id int, sensor_id int, a int, value float8);
INSERT INTO station SELECT i, i % 10, 'station ' || i FROM generate_series(1, 200) g(i);
INSERT INTO sensor SELECT i, 1 + i % 200, i % 7 FROM generate_series(1, 2000) g(i);
INSERT INTO reading SELECT i, 1 + i % 2000, i % 10, i / 3.0 FROM generate_series(1, 40000) g(i);
ANALYZE;
"""
QUERY = (
    "SELECT s.name, count(*) FROM reading r JOIN sensor e ON e.id = r.sensor_id "
    "JOIN station s ON s.id = e.station_id WHERE s.id = {} AND r.a < 9 GROUP BY s.name"
)


@pytest.fixture
def pooled(postgres_server: PostgresServer, postgres_url: str) -> Iterator[str]:
    """A URL through a pool of one server connection, so that whoever comes next gets what was left behind."""
    assert PROGRAM is not None
    with psycopg.connect(postgres_url) as connection:
        # What PostgreSQL would not do by itself, so that there is something to steer.
        connection.execute(TABLES)
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET join_collapse_limit = 1")
    parts = urlsplit(postgres_url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="godb_pool_"))
    (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
    (folder / "pool.ini").write_text(
        f"[databases]\n{parts.path[1:]} = host={parts.hostname} port={parts.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = plain\nauth_file = {folder}/users\n"
        "unix_socket_dir =\npool_mode = transaction\ndefault_pool_size = 1\n"
        "ignore_startup_parameters = extra_float_digits,options\n"
    )
    user = unprivileged()
    more = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    if user is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
    process = subprocess.Popen([PROGRAM, "-q", folder / "pool.ini"], **more)
    url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def test_steered_statements_leave_nothing_in_the_pool(pooled: str) -> None:
    # A busy machine is no reason to give up.
    policy = Policy(margin=1.0, allowance=50.0, allowance_floor_ms=10_000.0, regression_budget=math.inf)
    with (
        godb_fast.connect(pooled, mode="steer", policy=policy) as session,
        psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as other,
    ):
        names = "join_collapse_limit", "from_collapse_limit", "statement_timeout", "transaction_read_only"
        show = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        before = other.execute(show).fetchone()
        steered = 0
        # Past five runs psycopg would prepare a statement, which the pool's next connection does not know.
        for number in range(1, 40):
            sql = QUERY.format(1 + number % 8)
            expected = other.execute(sql).fetchall()
            result = session.execute(sql)
            assert sorted(result.fetchall()) == sorted(expected)
            assert "no bound yet" in (result.observation.fell_back or "no bound yet")
            steered += result.observation.steered
            assert other.execute(show).fetchone() == before
        assert steered


def test_a_statement_that_fails_leaves_nothing_either(pooled: str) -> None:
    with (
        godb_fast.connect(pooled, mode="steer") as session,
        psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as other,
    ):
        with pytest.raises(EngineError, match="division by zero"):
            session.execute("SELECT 1 / (s.id - s.id) FROM station s JOIN sensor e ON e.station_id = s.id")
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert session.execute("SELECT count(*) FROM station").fetchall() == [(200,)]


def test_reading_only_makes_nobody_else_read_only(pooled: str) -> None:
    with (
        open_url(pooled, read_only=True) as engine,
        psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as other,
    ):
        assert engine.run(Rendered("SELECT count(*) FROM station")).rows == [(200,)]
        with pytest.raises(EngineError, match="read-only transaction"):
            engine.run(Rendered("WITH gone AS (DELETE FROM station RETURNING id) SELECT count(*) FROM gone"))
        with pytest.raises(InvalidInput, match="through a connection pool"):
            engine.run(Rendered("DELETE FROM station"))
        other.execute("CREATE TABLE written (x int)")
        assert other.execute("SELECT count(*) FROM station").fetchone() == (200,)


def test_commands_through_the_pool(pooled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.sql").write_text(QUERY.format(4))
    for arguments, said in (
        (["info", pooled], "behind a pool"),
        (["explain", pooled, QUERY.format(4)], "block 0"),
        (["run", pooled, str(tmp_path / "a.sql"), "--repetitions", "1"], "1 of 1 the same"),
        (["slow", pooled, "--files", str(tmp_path / "a.sql")], "yes"),
    ):
        assert main(["--store", "off", *arguments]) == 0
        shown = capsys.readouterr()
        assert said in shown.out
        assert str(urlsplit(pooled).password) not in shown.out + shown.err
