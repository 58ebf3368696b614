"""Fingerprints, limits, errors with their place, and the cache of templates."""

from __future__ import annotations

import pytest

from godb_fast.errors import InvalidInput, SqlError
from godb_fast.sql import abridged, fingerprint, literal_value
from godb_fast.sql.fingerprint import (
    MAX_BYTES,
    MAX_JOINS,
    MAX_NESTING,
    MAX_TOKENS,
    beyond_limits,
    has_parameters,
    has_several_statements,
)


def test_bytes_and_str_agree(backend: str) -> None:
    text = "SELECT 'é' FROM tä WHERE x = 'ß' AND y IN ('ü', 'z')"
    one, two = fingerprint(text, backend=backend), fingerprint(text.encode(), backend=backend)
    assert one.hash == two.hash
    assert one.literals == two.literals == ("'é'", "'ß'", ("'ü'", "'z'"))


def test_hash_is_stored_signed_and_frozen(backend: str) -> None:
    # Stored keys live longer than this process: these numbers must never change.
    assert fingerprint("select 1", backend=backend).hash == fingerprint("SELECT 2", backend=backend).hash
    known = {
        ("select 1", "duckdb"): ("select ?i", -8860315267065806807),
        ("select 'a', 1.5 from t where b in (1, 2)", "postgres"): (
            "select ?s, ?d from t where b in (?l01)",
            -8145260494556013743,
        ),
    }
    for (sql, dialect), (text, hashed) in known.items():
        found = fingerprint(sql, dialect, backend=backend)
        assert (found.text, found.hash) == (text, hashed)
    assert fingerprint("select 1", "duckdb").hash != fingerprint("select 1", "postgres").hash


@pytest.mark.parametrize(
    ("sql", "message", "line", "column"),
    [
        ("select\n  'abc", "unterminated string literal at line 2, column 3", 2, 3),
        ("select é, 'abc", "unterminated string literal at line 1, column 11", 1, 11),
        ('\n\n"', "unterminated quoted identifier at line 3, column 1", 3, 1),
        (b"select '\xff'", "invalid UTF-8 at line 1, column 9", 1, 9),
        ("select '\ud800'", "invalid text at line 1, column 9: a lone surrogate", 1, 9),
    ],
)
def test_errors_say_where(sql: str | bytes, message: str, line: int, column: int, backend: str) -> None:
    with pytest.raises(SqlError) as caught:
        fingerprint(sql, backend=backend)
    assert str(caught.value) == message
    assert (caught.value.line, caught.value.column) == (line, column)


def test_what_is_no_text(backend: str) -> None:
    with pytest.raises(InvalidInput, match="str or bytes, not int"):
        fingerprint(5, backend=backend)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="unknown dialect 'oracle'"):
        fingerprint("select 1", "oracle", backend=backend)


def test_empty(backend: str) -> None:
    for sql in ("", "  ", ";", "-- nothing"):
        found = fingerprint(sql, backend=backend)
        assert (found.text, found.tokens, found.literals) == ("", 0, ())


def test_limits(backend: str) -> None:
    assert beyond_limits(fingerprint("select 1", backend=backend)) is None
    many = fingerprint("select 1" + " + 1" * MAX_TOKENS, backend=backend)
    assert "tokens" in (beyond_limits(many) or "")
    joins = fingerprint("select 1 from a" + ", a" * (MAX_JOINS + 1), backend=backend)
    assert "joins" in (beyond_limits(joins) or "")
    deep = fingerprint("select " + "(" * (MAX_NESTING + 1), backend=backend)
    assert "nested" in (beyond_limits(deep) or "")
    # A list of literals counts once.
    assert beyond_limits(fingerprint(f"select a in ({', '.join('1' * 50_000)})", backend=backend)) is None


def test_five_megabytes(backend: str) -> None:
    huge = "select '" + "x" * 5_000_000 + "'"
    found = fingerprint(huge, backend=backend)
    assert f"more than {MAX_BYTES} bytes" in (beyond_limits(found) or "")
    assert found.hash == fingerprint(huge.encode(), backend=backend).hash
    assert found.hash != fingerprint(huge + " ", backend=backend).hash
    assert len(found.text) < 200


def test_flags(backend: str) -> None:
    assert has_several_statements(fingerprint("select 1; drop table t", backend=backend))
    assert not has_several_statements(fingerprint("select ';'; ", backend=backend))
    assert has_parameters(fingerprint("select ?", backend=backend))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("-1", -1.0),
        ("1_000", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("0x1F", 31.0),
        ("'a''b'", "a'b"),
        (r"E'a\n\x41\'\\'", "a\nA'\\"),
        (r"E'\u00e9\101'", "éA"),
        ("$$a'b$$", "a'b"),
        ("$t$a$$b$t$", "a$$b"),
        ("''", ""),
        ("TRUE", 1.0),
        ("false", 0.0),
        ("NULL", None),
        ("$1", None),
        (":name", None),
        ("9" * 400, None),
    ],
)
def test_literal_values(text: str, value: float | str | None) -> None:
    assert literal_value(text) == value
    assert type(literal_value(text)) is type(value)


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_an_abridged_statement_is_the_same_but_for_the_length_of_its_lists(dialect: str) -> None:
    many = ", ".join(f"'é{i}'" for i in range(500))
    sql = (
        f"SELECT 'ü', a FROM t WHERE x IN ({many}) AND y IN (1, 2) AND z NOT IN ({', '.join('7' * 99)}) -- é"
    )
    found = fingerprint(sql, dialect)
    short = abridged(found)
    assert len(short) < 200
    again = fingerprint(short, dialect)
    assert (again.hash, again.key, again.slot_kinds) == (found.hash, found.key, found.slot_kinds)
    assert again.literals[2] == ("1", "2")
    assert abridged(again) is short
    assert abridged(fingerprint(sql.encode(), dialect)) == short
