"""Skeletons: a text known again by its bytes between the literals is what the lexer says it is."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast import backend as backends
from godb_fast.demo import stream

FIELDS = ("hash", "key", "packed", "casing", "tokens", "joins", "nesting", "flags", "error", "literals")
LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]


class Ways:
    """A dialect's lexer and what knows its texts again."""

    def __init__(self, backend: str, dialect: str = "duckdb", most: int = 100) -> None:
        self.lexer = backends.kernels("lexer", backend).Lexer(dialect)
        self.skeletons = backends.kernels("skeletons", backend).Skeletons(self.lexer, most)

    def learn(self, *texts: str) -> None:
        for text in texts:
            self.skeletons.learn(self.lexer.scan(text))

    def found(self, text: str) -> Any:
        """What the skeletons find, which must be what the lexer finds."""
        found = self.skeletons.find(text)
        if found is not None:
            read = self.lexer.scan(text)
            assert [getattr(found, name) for name in FIELDS] == [getattr(read, name) for name in FIELDS]
            assert (found.slot_kinds, found.text, found.dialect) == (read.slot_kinds, read.text, read.dialect)
        return found

    def knows(self, text: str) -> bool:
        return self.found(text) is not None


@pytest.fixture
def ways(backend: str) -> Ways:
    return Ways(backend)


FIRST = "SELECT a.x FROM t1 a WHERE a.n > 12 AND a.s = 'it''s' AND a.k IN ('a', 'b') AND a.d < 1.5 LIMIT 3"


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        "SELECT a.x FROM t1 a WHERE a.n > 7 AND a.s = '' AND a.k IN ('c') AND a.d < 22.75 LIMIT 3",
        "SELECT a.x FROM t1 a WHERE a.n > 1000 AND a.s = 'Zürich -- /* 7' AND a.k IN ('a','b', 'c,d') AND a.d < 0. LIMIT 3",
        "SELECT a.x FROM t1 a WHERE a.n > 0 AND a.s = '\0' AND a.k IN (\n'a'\n,\n'b'\n) AND a.d < 1.5 LIMIT 3",
    ],
)
def test_other_literals_are_known_again(ways: Ways, text: str) -> None:
    assert not ways.knows(text)
    ways.learn(FIRST)
    assert ways.knows(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT 3", "LIMIT 4"),
        ("LIMIT 3", "LIMIT 3 "),
        ("LIMIT 3", "LIMIT 33"),
        ("t1", "t2"),
        ("a.x", "A.x"),
        ("a.x", " a.x"),
        ("12", "-12"),
        ("12", "1.2"),
        ("12", "12e1"),
        ("12", ".5"),
        ("12", "'12'"),
        ("12", "$1"),
        ("12", "?"),
        ("1.5", "15"),
        ("'it''s'", "E'it''s'"),
        ("'it''s'", "$$its$$"),
        ("'it''s'", "'it' 's'"),
        ("'it''s'", "'it"),
        ("('a', 'b')", "('a', 2)"),
        ("('a', 'b')", "('a', NULL)"),
        ("('a', 'b')", "('a', b)"),
        ("('a', 'b')", "('a' 'b')"),
        ("('a', 'b')", "('a', )"),
        ("('a', 'b')", "()"),
        ("('a', 'b')", "('a', 'b' /*+ hint */)"),
        ("('a', 'b')", "('a', -1)"),
        ("WHERE", "/*+ hint */ WHERE"),
        (" LIMIT 3", ""),
    ],
)
def test_whatever_else_differs_is_left_to_the_lexer(ways: Ways, old: str, new: str) -> None:
    ways.learn(FIRST)
    assert old in FIRST
    assert not ways.knows(FIRST.replace(old, new))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t WHERE b = ?",
        "SELECT a FROM t WHERE b = $1",
        "SELECT a FROM t WHERE b = -1",
        "SELECT a FROM t WHERE b = .5",
        "SELECT a FROM t WHERE b = $$x$$",
        "SELECT a FROM t WHERE b = E'x'",
        "SELECT a FROM t WHERE b IN (1, NULL)",
        "SELECT a FROM t WHERE b IN (1, ?)",
        "SELECT a FROM t WHERE b IN (1, /*+ hint */ 2)",
        "SELECT a FROM t WHERE b IN (1, -- hint\n 2)",
        "SELECT 'a",
    ],
)
def test_statements_without_a_skeleton(ways: Ways, text: str) -> None:
    ways.learn(text)
    assert not ways.knows(text)


def test_what_is_no_text_is_not_known(ways: Ways) -> None:
    ways.learn(FIRST)
    assert ways.skeletons.find(FIRST.encode()) is None
    assert ways.skeletons.find(None) is None
    with pytest.raises(UnicodeEncodeError):
        ways.skeletons.find("\ud800")
    ways.skeletons.learn(ways.lexer.scan(FIRST.replace("t1", "t9").encode()))
    assert not ways.knows(FIRST.replace("t1", "t9"))


def test_long_lists_are_left_to_the_lexer(ways: Ways) -> None:
    ways.learn("SELECT a FROM t WHERE b IN (1, 2)")
    for count in (1, 2, 3, 50, 300, 337, 338, 339, 340, 341, 500, 3000):
        known = ways.knows(f"SELECT a FROM t WHERE b IN ({', '.join(map(str, range(count)))})")
        assert known is (count < 339)


def test_who_writes_otherwise_three_times_in_a_row_takes_its_place(ways: Ways) -> None:
    one, other = "SELECT a FROM t WHERE b = 1", "SELECT a  FROM t WHERE b = 1"
    ways.learn(one, other)
    for text in (other, other, one, other, other, other):
        known = ways.knows(text)
        assert known is (text == one)
        ways.learn(text)
    assert (ways.knows(one), ways.knows(other)) == (False, True)


def test_no_more_are_kept_than_allowed(backend: str) -> None:
    ways = Ways(backend, most=2)
    texts = [f"SELECT a FROM {name} WHERE b = 1" for name in "tuv"]
    ways.learn(*texts)
    assert [ways.knows(text) for text in texts] == [False, False, True]


PIECES = [
    "select", " ", " ", "\n", "a", "A.b", "from t", "where", " = ", "=", "<", "-", "--", "/*", "*/", "/*+", "(", ")", ",",
    "in (", ") ", "limit ", "group by ", "interval ", "::", "date ", "e", "E", "x", "u&", "%", "%s", "$", "$1", ":", "#",
    ".", "..", ";", '"q"', "[", "]", "null", "not ", "case ", "end", "decimal(", "and", "\\", "@", "é",
]  # fmt: skip
LITERALS = [
    "1",
    "22",
    "0",
    "0x1f",
    "1.5",
    "1.",
    ".5",
    "1e5",
    "1e",
    "1_0",
    "'a'",
    "''",
    "'it''s'",
    "'a",
    "'-- '",
    "'ü'",
    "12a",
]


@given(st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_skeletons_never_contradict_the_lexer(rng: random.Random) -> None:
    shape = [rng.choice(PIECES) if rng.random() < 0.65 else None for _ in range(rng.randint(1, 14))]

    def text() -> str:
        return "".join(rng.choice(LITERALS) if piece is None else piece for piece in shape)

    learned, asked = [text() for _ in range(2)], [text() for _ in range(8)]
    for dialect in ("duckdb", "postgres"):
        answers = []
        for name in LOADED:
            ways = Ways(name, dialect)
            ways.learn(*learned)
            answers.append([ways.knows(each) for each in (*learned, *asked)])
        assert all(answer == answers[0] for answer in answers), (learned, asked)


def test_the_demos_queries_are_known_with_new_literals(backend: str) -> None:
    ways = Ways(backend)
    learned: set[str] = set()
    known = unknown = 0
    for query in stream(instances=4, scale=0.02, seed=3):
        if query.template in learned:
            known += ways.knows(query.sql)
            unknown += not ways.knows(query.sql)
        learned.add(query.template)
        ways.learn(query.sql)
    assert known > 20 * unknown
