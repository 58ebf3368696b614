from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.cli.statements import read, split
from godb_fast.errors import InvalidInput, SqlError


def test_statements_with_names_and_lines():
    text = """-- a file of queries
-- name: monthly revenue
SELECT ';' AS "a;b", $$;$$, $x$ ; $y$ ; $x$ /* ; /* nested ; */ ; */ -- ;
FROM t;

/* name: no */ SELECT 2;
;; -- nothing
-- name: last one
SELECT E'it\\'s; fine'"""
    found = split(text)
    assert [(entry.name, entry.line) for entry in found] == [
        ("monthly revenue", 3),
        ("statement 2", 6),
        ("last one", 9),
    ]
    assert found[0].sql.startswith("SELECT ';'")
    assert found[0].sql.endswith("FROM t")
    assert found[2].sql == "SELECT E'it\\'s; fine'"


def test_names_that_repeat_are_numbered():
    assert [entry.name for entry in split("-- name: a\nSELECT 1; -- name: a\nSELECT 2")] == ["a", "a (2)"]


def test_calls_belong_to_the_statement_that_follows():
    text = "-- calls: 20\n-- name: a\nSELECT 1;\nSELECT 2; -- calls: 0\nSELECT 3; -- calls: many\nSELECT 4;--CALLS:7 \nSELECT 5"
    assert [entry.calls for entry in split(text)] == [20, 1, 1, 1, 7]


def test_nothing_is_nothing():
    assert split("") == []
    assert split(" ;\n-- only a comment\n;/* and another */") == []


@pytest.mark.parametrize(
    ("text", "what", "line", "column"),
    [
        ("SELECT 1;\nSELECT 'open", "string", 2, 8),
        ('SELECT "open', "quoted name", 1, 8),
        ("SELECT $a$ open $b$", "string", 1, 8),
        ("SELECT /* open /* */", "comment", 1, 8),
        ("SELECT e'open\\'", "string", 1, 8),
    ],
)
def test_what_does_not_end_is_placed(text, what, line, column):
    with pytest.raises(SqlError, match=f"the {what} that begins here does not end") as caught:
        split(text)
    assert (caught.value.line, caught.value.column) == (line, column)


pieces = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "';'",
        "'it''s'",
        '";"',
        "-- ;\n",
        "/* ; */",
        "$$;'$$",
        "$t$ $$ $t$",
        "$1",
        "1.5",
        "name",
    ]
)


@given(st.lists(st.lists(pieces, min_size=1, max_size=8).map("".join), max_size=5))
@settings(max_examples=150, deadline=None)
def test_semicolons_between_statements_are_the_only_ones_that_split(parts):
    found = split(";".join(parts))
    alone = [entry for part in parts for entry in split(part)]
    assert [entry.sql for entry in found] == [entry.sql for entry in alone]


@given(st.text(alphabet="'\"$-/*;\\eE a\n", max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_text_is_split_or_refused(text):
    try:
        found = split(text)
    except SqlError as error:
        unfinished = error
    else:
        assert all(entry.sql and entry.sql in text for entry in found)
        return
    assert 1 <= unfinished.line <= text.count("\n") + 1
    assert unfinished.column >= 1


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InvalidInput, match="cannot read"):
        read(str(tmp_path / "absent.sql"))
    with pytest.raises(InvalidInput, match="cannot read"):
        read(str(tmp_path))
    latin = tmp_path / "latin.sql"
    latin.write_bytes(b"SELECT '\xe9'")
    with pytest.raises(InvalidInput, match=r"byte 0xe9 at offset 8"):
        read(str(latin))
    marked = tmp_path / "marked.sql"
    marked.write_bytes(b"\xef\xbb\xbfSELECT 1")
    assert read(str(marked)) == "SELECT 1"
