"""One server is one database in what is kept, however its address is written; two servers are two."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from postgres_proxy import proxied
from postgres_server import PostgresServer, running_server

from godb_fast.engines.addresses import is_here, plainly
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import PostgresEngine, borrow, open_url


def known_as(url: str) -> tuple[str, object]:
    """What a connection's database is kept under, and what a statement rests on there."""
    with open_url(url) as engine:
        uses = engine.dependencies("SELECT x FROM item")
        assert uses is not None
        return engine.environment(), uses.digest


@pytest.fixture
def spellings(postgres_server: PostgresServer, postgres_url: str) -> list[str]:
    if postgres_server.folder is None:
        pytest.skip("the socket of somebody else's server is not known")
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("CREATE TABLE item (x int)")
    parts = urlsplit(postgres_url)
    login = f"{parts.username}:{parts.password}"
    socket = quote(str(postgres_server.folder), safe="")
    return [
        postgres_url,
        f"postgresql://{login}@localhost:{parts.port}{parts.path}",
        f"postgresql://{login}@{socket}:{parts.port}{parts.path}",
        f"postgresql://{login}@/{parts.path[1:]}?host=127.0.0.1&port={parts.port}",
    ]


def test_spellings_of_this_machine_are_one_database(
    spellings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(spellings[0])
    services = tmp_path / "services"
    services.write_text(
        f"[shop]\nhost=localhost\nport={parts.port}\ndbname={parts.path[1:]}\nuser={parts.username}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGPASSWORD", str(parts.password))
    found = {known_as(url) for url in [*spellings, "postgresql:///?service=shop"]}
    assert len(found) == 1
    ((environment, _),) = found
    assert environment.startswith(f"localhost:{parts.port}{parts.path} role=")
    assert " system=" in environment


def test_another_server_behind_the_same_address_is_another_database(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """A tunnel that ends at another server today."""
    if postgres_server.folder is None:
        pytest.skip("a second server is started only beside one of our own")
    with running_server() as second, second.database() as other_url:
        name = urlsplit(postgres_url).path
        with psycopg.connect(second.url, autocommit=True) as raw:
            raw.execute(f"ALTER DATABASE {urlsplit(other_url).path[1:]} RENAME TO {name[1:]}")
        seen = []
        for url in (postgres_url, second.database_url(name[1:])):
            with psycopg.connect(url, autocommit=True) as raw:
                raw.execute("CREATE TABLE item (x int)")
            with proxied(url + "?sslmode=disable") as (through, _), open_url(through) as engine:
                uses = engine.dependencies("SELECT x FROM item")
                assert uses is not None
                # The port of the proxy is another each time; all else is the same.
                port = urlsplit(through).port
                seen.append(engine.environment().replace(f":{port}/", ":tunnel/"))
        assert seen[0] != seen[1]
        assert seen[0].partition(" system=")[0] == seen[1].partition(" system=")[0]


def test_an_ordinary_role_knows_it_and_elsewhere_it_is_as_written(
    postgres_server: PostgresServer,
    postgres_url: str,
    ordinary: psycopg.Connection,
    connection: psycopg.Connection,
) -> None:
    assert " system=" in borrow(ordinary).environment()
    # Superusers of managed servers take such rights away.
    connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    try:
        engine = PostgresEngine.borrow(ordinary)
        info = ordinary.info
        assert engine.environment().startswith(f"{info.host}:{info.port}/{info.dbname} role=")
        assert " system=" not in engine.environment()
        ordinary.execute("BEGIN")
        engine = PostgresEngine.borrow(ordinary)
        assert " system=" not in engine.environment()
        assert engine.run(Rendered("SELECT 1")).rows == [(1,)]
        ordinary.execute("ROLLBACK")
    finally:
        connection.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")


@pytest.mark.parametrize(
    ("place", "plain"),
    [
        ("127.0.0.1:5432/shop", "localhost:5432/shop"),
        ("::1:5432/shop", "localhost:5432/shop"),
        ("/var/run/postgresql:5433/shop", "localhost:5433/shop"),
        ("@abstract:5432/shop", "localhost:5432/shop"),
        ("localhost:5432/a:1/b", "localhost:5432/a:1/b"),
        ("10.0.0.5:5432/127.0.0.1:5432/x", "10.0.0.5:5432/127.0.0.1:5432/x"),
        ("db.example:5432/shop", "db.example:5432/shop"),
        ("localhost.example:5432/shop", "localhost.example:5432/shop"),
        ("/data/shop.duckdb", "/data/shop.duckdb"),
        ("fe80::1:5432/shop", "fe80::1:5432/shop"),
    ],
)
def test_places(place: str, plain: str) -> None:
    assert plainly(place) == plain
    assert is_here(place) == plain.startswith("localhost:")
