"""No command shows the password of a URL, wherever it is written."""

from __future__ import annotations

import json

import pytest

from godb_fast.cli import main
from godb_fast.cli.commands import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:p@w:x@host/db?sslmode=require", "postgresql://me:***@host/db?sslmode=require"),
        ("postgresql://me@host/db?password=pw&x=1", "postgresql://me@host/db?password=***&x=1"),
        ("postgresql:///db?PASSWORD=pw&sslpassword=q", "postgresql:///db?PASSWORD=***&sslpassword=***"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("duckdb:////data/a:b@c.duckdb", "duckdb:////data/a:b@c.duckdb"),
        ("shop.duckdb", "shop.duckdb"),
    ],
)
def test_a_url_that_may_be_shown(url, shown):
    assert without_password(url) == shown


def test_run_as_json(postgres_url, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GODB_FAST_STORE", "off")
    (tmp_path / "a.sql").write_text("SELECT 1 AS one")
    assert main(["run", postgres_url, str(tmp_path / "a.sql"), "--repetitions", "1", "--json", "-"]) == 0
    shown = capsys.readouterr()
    secret = postgres_url.split(":")[2].split("@")[0]
    assert secret not in shown.out + shown.err
    assert json.loads(shown.out)["url"].startswith("postgresql://postgres:***@")
