from __future__ import annotations

import duckdb
import pytest

from godb_fast.engines.positions import located
from godb_fast.errors import EngineError, SqlError


@pytest.mark.parametrize("prefix", ["", "EXPLAIN (FORMAT JSON) "])
@pytest.mark.parametrize("padding", [0, 30, 300])
@pytest.mark.parametrize("line", [1, 3])
def test_the_place_of_a_real_error_is_found(prefix, padding, line):
    before = "".join(f"{number} AS b{number}, " for number in range(padding))
    after = "".join(f", {number} AS a{number}" for number in range(padding))
    head = "SELECT " if line == 1 else "SELECT\n1 AS one,\n"
    sql = f"{head}{before}nope + 1 AS x{after}\nFROM (SELECT 1 AS a) t"
    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect().execute(prefix + sql)
    expected = sql.splitlines()[line - 1].index("nope") + 1
    error = located(EngineError(str(caught.value)), sql, first_line=11)
    assert str(error).startswith(f"line {line + 10}, column {expected}: Binder Error")
    assert "\n" not in str(error)


def test_an_error_without_a_place_is_on_one_line():
    error = located(EngineError("Out of Memory Error:\n  too much\n"), "SELECT 1")
    assert type(error) is EngineError
    assert str(error) == "Out of Memory Error: too much"


def test_a_place_outside_the_statement_is_left_out():
    error = located(EngineError("Error: no\n\nLINE 9: x\n        ^"), "SELECT 1")
    assert str(error) == "Error: no"


def test_our_own_places_move_with_the_statement():
    error = located(SqlError("bad", line=2, column=5), "SELECT\n1", first_line=10)
    assert str(error) == "line 11, column 5: bad"


def test_an_error_at_the_end_of_the_text_is_placed_there() -> None:
    error = located(EngineError("Parser Error: syntax error at end of input"), "CREATE\n  TABLE t (a\n", 3)
    assert isinstance(error, SqlError)
    assert (error.line, error.column) == (4, 13)


def test_the_servers_hint_is_kept() -> None:
    message = 'column "nme" does not exist\nLINE 1: EXPLAIN SELECT nme\n                       ^\nHINT:  Perhaps you\nmeant "name".\nCONTEXT:  none'
    error = located(EngineError(message), "SELECT nme")
    assert str(error) == 'line 1, column 8: column "nme" does not exist. Perhaps you meant "name".'
