"""Parameters keep their values, whatever order a rendered statement puts them in."""

from __future__ import annotations

import pytest

from godb_fast.engines.postgres.parameters import doubled, is_numbered, named, numbered, placed
from godb_fast.errors import InvalidInput


@pytest.mark.parametrize(
    ("sql", "params", "text", "values"),
    [
        ("a = %s AND b = %s", (1, 2), "a = $1 AND b = $2", [1, 2]),
        ("a = %(x)s OR b = %(y)s OR c = %(x)s", {"x": 1, "y": 2}, "a = $1 OR b = $2 OR c = $1", [1, 2]),
        ("a %% 2 = %s AND b LIKE 'x%%'", [1], "a % 2 = $1 AND b LIKE 'x%'", [1]),
        ("a = $2 AND b = $1 AND c % 2 = 0", (1, 2), "a = $2 AND b = $1 AND c % 2 = 0", [1, 2]),
        ("a LIKE 'x%' AND b = '$1'", None, "a LIKE 'x%' AND b = '$1'", []),
        ("a = %%s", (), "a = %s", []),
        ("a = %(one)b AND b = %t", {"one": 1}, None, None),
    ],
)
def test_places_become_numbers(
    sql: str, params: object, text: str | None, values: list[object] | None
) -> None:
    if text is None:
        with pytest.raises(InvalidInput, match="sequence"):
            numbered(sql, params)  # type: ignore[arg-type]
    else:
        assert numbered(sql, params)[:2] == (text, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "params", "message"),
    [
        ("a = %s", (1, 2), "2 parameters are given for 1"),
        ("a = %s AND b = %s", (1,), "more places than the 1"),
        ("a = %(x)s", (1,), "by name"),
        ("a = %(x)s", {"y": 1}, "no parameter 'x'"),
        ("a % 2 = %s", (1,), "doubles each"),
        ("a = $1 AND b LIKE 'x%%'", (1,), "doubled"),
    ],
)
def test_what_does_not_fit_is_refused(sql: str, params: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        numbered(sql, params)  # type: ignore[arg-type]


def test_a_repeated_name_is_one_parameter_unless_its_format_differs() -> None:
    assert numbered("%(a)s %(a)b %(a)s", {"a": 7}) == ("$1 $2 $1", [7, 7], ["s", "b"])


def test_numbers_are_told_from_dollars_in_other_places() -> None:
    assert is_numbered("a = $1", (1,))
    assert not is_numbered("a = $1", None)
    assert not is_numbered("a = $1", {"x": 1})
    assert not is_numbered("a = '$1' AND b = %s", (1,))
    assert not is_numbered("a = $$x$$", (1,))


def test_a_statement_in_another_order_keeps_its_values() -> None:
    literals = ("$1", "'%%s $1'", ("$2", "3"), "$3")
    texts = placed(literals, ("parameter", "string", "list", "parameter"), ("one", 2, 3.0))
    assert texts == ["%(1)s", "'%%s $1'", ("%(2)s", "3"), "%(3)s"]
    turned = f"c = {texts[3]} AND b IN ({', '.join(texts[2])}) AND t = {texts[1]} AND a = {texts[0]}"
    text, values, _ = numbered(turned, named(("one", 2, 3.0)))
    assert text == "c = $1 AND b IN ($2, 3) AND t = '%s $1' AND a = $3"
    assert values == [3.0, 2, "one"]


def test_single_percent_signs_are_doubled_once() -> None:
    assert doubled("a % %(1)s AND b LIKE 'x%%' AND c %") == "a %% %(1)s AND b LIKE 'x%%' AND c %%"
