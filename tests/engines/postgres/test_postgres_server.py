"""The server that the tests start: fresh databases, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from postgres_server import PostgresServer


def test_each_database_is_fresh_and_gone_afterwards(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as one, postgres_server.database() as two:
        assert one != two
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE here (x int)")
        with psycopg.connect(two) as connection:
            assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(one)


def test_a_database_goes_with_whoever_is_still_connected(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        left = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_tests_are_stopped(
    postgres_server: PostgresServer, ending: signal.Signals
) -> None:
    if postgres_server.process_id is None:
        pytest.skip("the server in use was not started by the tests")
    if ending is signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent was killed")
    program = (
        "import time\nfrom postgres_server import running_server\n"
        "with running_server() as server:\n"
        "    print(server.process_id, server.folder, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        started = process.stdout.readline().split()
        if started:
            process.send_signal(ending)
        errors = process.communicate()[1]
    assert started, errors
    server, folder = int(started[0]), Path(started[1])
    deadline = time.monotonic() + 20
    while _runs(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(server)
    if ending is signal.SIGINT:
        assert not folder.exists()
    else:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def _runs(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
