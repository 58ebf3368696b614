"""Search paths that put somebody's operators and types in front of the server's: none of ours ever runs one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import godb_fast
from godb_fast.cli import main
from godb_fast.engines.postgres import borrow
from godb_fast.errors import EngineError

#: Each operator that our statements use notes that it was called, on whatever types.
OPERATORS = [
    ("||", "text", "text", "text"), ("=", "name", "text", "boolean"), ("=", "oid", "oid", "boolean"),
    ("=", "text", "text", "boolean"), (">", "interval", "interval", "boolean"), (">=", "oid", "oid", "boolean"),
    ("<>", "name", "name", "boolean"), ("=", '"char"', '"char"', "boolean"), (">", "int8", "int8", "boolean"),
    ("=", "int2", "int2", "boolean"), ("<", "float4", "float4", "boolean"), ("=", "name", "name", "boolean"),
]  # fmt: skip


@pytest.fixture
def raw(postgres_url: str) -> Iterator[Any]:
    with psycopg.connect(postgres_url, autocommit=True) as opened:
        opened.execute("CREATE TABLE item AS SELECT i AS id FROM generate_series(1, 50) AS g(i); ANALYZE")
        opened.execute("CREATE SCHEMA evil; CREATE SEQUENCE evil.called; CREATE SCHEMA tame")
        for number, (name, left, right, gives) in enumerate(OPERATORS):
            opened.execute(
                f"CREATE FUNCTION evil.f{number}({left}, {right}) RETURNS {gives} LANGUAGE plpgsql AS $$ BEGIN "
                f"PERFORM nextval('evil.called'); RETURN NULL; END $$"
            )
            opened.execute(
                f"CREATE OPERATOR evil.{name} (leftarg = {left}, rightarg = {right}, function = evil.f{number})"
            )
        yield opened


def calls(raw: Any) -> int:
    raw.execute("SET search_path = public")
    (row,) = raw.execute("SELECT last_value, is_called FROM evil.called", prepare=False).fetchall()
    return int(row[0]) if row[1] else 0


@pytest.mark.parametrize(
    "path", ["evil, pg_catalog, public", "public, evil, pg_catalog", "pg_temp, evil, pg_catalog, public"]
)
@pytest.mark.parametrize("mode", ["advise", "steer"])
def test_nothing_of_ours_runs_an_operator_of_another(raw: Any, path: str, mode: str) -> None:
    raw.execute(f"SET search_path = {path}")
    with godb_fast.connect(raw, mode=mode) as session:
        for _ in range(3):
            assert session.execute("SELECT count(*) FROM item").fetchall() == [(50,)]
        with pytest.raises(
            EngineError, match="'evil', with operators or types of its own, before pg_catalog"
        ):
            session.optimize("SELECT count(*) FROM item i JOIN item j USING (id)")
    assert calls(raw) == 0


def test_a_type_in_front_of_the_servers(raw: Any) -> None:
    raw.execute("CREATE DOMAIN tame.text AS pg_catalog.text CHECK (VALUE IS NULL)")
    raw.execute("SET search_path = tame, pg_catalog, public")
    with pytest.raises(EngineError, match="'tame', with"):
        borrow(raw).schema_epoch()


def test_other_paths_are_as_good_as_any(raw: Any) -> None:
    engine = borrow(raw)
    for path in ("tame, pg_catalog, public", "public, evil", "pg_catalog, evil, public", '"$user", public'):
        raw.execute(f"SET search_path = {path}")
        assert engine.schema_epoch()
        assert engine.schema().resolve(("item",)) is not None
    # What comes in front later is noticed.
    raw.execute("SET search_path = tame, pg_catalog, public")
    engine.schema_epoch()
    raw.execute("CREATE OPERATOR tame.|| (leftarg = text, rightarg = text, function = evil.f0)")
    with pytest.raises(EngineError, match="'tame', with"):
        engine.schema_epoch()
    assert calls(raw) == 0


def test_commands_ask_nothing_there_either(raw: Any, postgres_url: str, capsys: Any) -> None:
    url = f"{postgres_url}?options=-csearch_path%3Devil,pg_catalog,public"
    for command in (["info", url], ["slow", url]):
        assert main(["--store", "off", *command]) == 2
        assert "before pg_catalog" in capsys.readouterr().err
    assert calls(raw) == 0
