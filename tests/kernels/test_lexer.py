"""The lexer: both forms agree on everything, and the rules of the fingerprint hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast import backend as backends

FIELDS = (
    "hash", "key", "packed", "casing", "tokens", "joins", "nesting", "flags", "error", "error_at",
    "token_bytes",
)  # fmt: skip

Scan = Callable[..., Any]


@pytest.fixture
def scan(backend: str) -> Scan:
    def run(sql: str | bytes, dialect: str = "duckdb") -> Any:
        return backends.kernels("lexer", backend).Lexer(dialect).tokens(sql)

    return run


def texts(scan: Scan, *statements: str, dialect: str = "duckdb") -> set[str]:
    return {scan(statement, dialect).text for statement in statements}


def test_case_space_and_comments_fold(scan: Scan) -> None:
    assert texts(
        scan,
        "select a from t where b = 1",
        "SELECT  a\n\tFROM t -- all of it\nWHERE b=2",
        "/* x /* nested */ y */ SELECT a FROM t WHERE/**/b = 3 ;",
        "select a from t where b = 4;;",
    ) == {"select a from t where b = ?i"}


def test_capital_identifiers_share_the_hash_but_not_the_spelling(scan: Scan) -> None:
    lower, upper = scan("select a + 1 from t"), scan("SELECT A + 1 FROM T")
    assert lower.hash == upper.hash
    assert lower.key == upper.key
    assert lower.casing == 0 != upper.casing
    assert lower.text != upper.text
    assert scan("SELECT A + 1 FROM T", "postgres").casing == 0
    # Keywords and function names are no part of a column's name as it is spelled.
    assert scan("SELECT COUNT(*) FROM t GROUP BY a ORDER BY b").casing == 0


def test_quoted_identifiers_are_kept(scan: Scan) -> None:
    assert texts(scan, 'select "A""b" from "T"') == {'select "A""b" from "T"'}
    assert len(texts(scan, 'select "A" from t', 'select "a" from t')) == 2


@pytest.mark.parametrize(
    ("sql", "text", "literals"),
    [
        ("a = 1", "a = ?i", ("1",)),
        ("a = 1.5", "a = ?d", ("1.5",)),
        ("a = .5", "a = ?d", (".5",)),
        ("a = 1e5", "a = ?f", ("1e5",)),
        ("a = 1.5E-3", "a = ?f", ("1.5E-3",)),
        ("a = 'x''y'", "a = ?s", ("'x''y'",)),
        (r"a = E'x\'y'", "a = ?s", (r"E'x\'y'",)),
        ("a = $$x'y$$", "a = ?s", ("$$x'y$$",)),
        ("a = $t$ $$ $t$", "a = ?s", ("$t$ $$ $t$",)),
        ("a = -1", "a = -?i", ("-1",)),
        ("a - 1", "a - ?i", ("1",)),
        ("a -1", "a - ?i", ("1",)),
        ("(a)-1", "(a) - ?i", ("1",)),
        ("a = - 1", "a = - ?i", ("1",)),
        ("a=-1", "a = -?i", ("-1",)),
        ("a in (1, 2, 3)", "a in (?l01)", (("1", "2", "3"),)),
        ("a in (1)", "a in (?l01)", (("1",),)),
        ("a in (-1, 2)", "a in (?l01)", (("-1", "2"),)),
        ("a not in ('x', 1, 1.5)", "a not in (?l0b)", (("'x'", "1", "1.5"),)),
        ("a in (NULL, 1, true)", "a in (?l31)", (("NULL", "1", "true"),)),
        ("a in (1, b, NULL)", "a in (?i, b, null)", ("1",)),
        ("a in (null, b)", "a in (null, b)", ()),
        ("a in (1, 2", "a in (?i, ?i", ("1", "2")),
        ("a in ()", "a in ()", ()),
        ("a in (select 1)", "a in (select ?i)", ("1",)),
        ("a = null and b = TRUE", "a = null and b = true", ()),
        ("a = date '2020-01-01'", "a = date ?s", ("'2020-01-01'",)),
        ("a + interval '3' day", "a + interval '3' day", ()),
        ("a + interval (3) day", "a + interval (3) day", ()),
        ("cast(a as decimal(12, 2)) = 5", "cast (a as decimal (12, 2)) = ?i", ("5",)),
        ("a::varchar(10) = 'x'", "a :: varchar (10) = ?s", ("'x'",)),
        ("a::thing(3) = 4", "a :: thing(3) = ?i", ("4",)),
        ("x'1F' = b'01'", "x'1F' = b'01'", ()),
        ("a = ? and b = ?", "a = ?p and b = ?p", ("$1", "$2")),
        ("a in (?, ?) and b = ?", "a in (?l40) and b = ?p", (("$1", "$2"), "$3")),
        ("a = $1 and b = $name", "a = ?p and b = ?p", ("$1", "$name")),
        ("a = :name and b::int = 1", "a = ?p and b :: int = ?i", (":name", "1")),
        ("a = %s and b % s = %(n)s", "a = ?p and b % s = ?p", ("$1", "%(n)s")),
        ("a[1:2]", "a[?i : ?i]", ("1", "2")),
    ],
)
def test_literals(scan: Scan, sql: str, text: str, literals: tuple[object, ...]) -> None:
    found = scan(sql)
    assert found.text == text
    assert found.literals == literals
    assert found.error == 0


@pytest.mark.parametrize(
    "pair",
    [
        ("select a from t group by 1", "select a from t group by 2"),
        ("select a from t order by 1", "select a from t order by 2"),
        ("select distinct on (1) a, b from t", "select distinct on (2) a, b from t"),
        ("select a from t limit 1", "select a from t limit 2"),
        ("select a from t offset 1", "select a from t offset 2"),
        ("select a from t fetch first 1 rows only", "select a from t fetch first 2 rows only"),
        ("select a from t using sample 10%", "select a from t using sample 20%"),
        ("select a from t where b = 1", "select a from t where b = 1.0"),
        ("select a from t where b = 1", "select a from t where b = '1'"),
        ("select a from t where b = null", "select a from t where b = 1"),
        ("select a from t where b", "select a from t where not b"),
        ("select a from t where b = true", "select a from t where b = false"),
        ("select a from t where b in (1)", "select a from t where b in ('1')"),
        ("select cast(a as decimal(4, 1))", "select cast(a as decimal(4, 2))"),
        ("select interval '1' day", "select interval '2' day"),
        ("select 1", "select -1"),
        ("select a.b from t", "select a b from t"),
        ("select 1; select 1", "select 1 select 1"),
        ("select #1 from t", "select #2 from t"),
    ],
)
def test_what_stays_in_the_fingerprint(scan: Scan, pair: tuple[str, str]) -> None:
    assert scan(pair[0]).hash != scan(pair[1]).hash


def test_after_the_ordinals_literals_are_slots_again(scan: Scan) -> None:
    found = scan("select a from t group by 1 having count(*) > 5 union select 7 from u where c = 8")
    assert found.literals == ("5", "7", "8")
    found = scan("select a from (select b from u order by 1 limit 3) x where c = 4")
    assert found.literals == ("4",)


def test_counts(scan: Scan) -> None:
    found = scan("select 1 from a, b join c on (a.x = b.y) where ((1)) in (1, 2, 3)")
    assert (found.joins, found.nesting) == (2, 2)
    assert scan("select case when case 1 when 2 then 3 end then 4 end").nesting == 2
    assert scan("select not not not a").nesting == 3
    assert scan("select " + "(" * 500 + ")" * 500).nesting == 500
    assert scan("select extract(year from a), b is distinct from c, d from t").joins == 0


def test_flags(scan: Scan) -> None:
    assert scan("select 1;").flags == 0
    assert scan("select 1; select 2").flags == 1
    assert scan("select ?").flags == 2
    assert scan("/*+ HashJoin(a b) */ select 1", "postgres").flags == 4
    assert scan("/*+ HashJoin(a b) */ select 1", "postgres").casing != scan("select 1", "postgres").casing


@pytest.mark.parametrize(
    ("sql", "error", "at"),
    [
        ("select 'abc", 1, 7),
        (r"select E'abc\'", 1, 7),
        ('select "abc', 2, 7),
        ("select /* /* */", 3, 7),
        ("select $a$ abc $b$", 4, 7),
        ("select \0", 5, 7),
        (b"select '\xff'", 6, 8),
        (b"select \xc3", 6, 7),
    ],
)
def test_errors(scan: Scan, sql: str | bytes, error: int, at: int) -> None:
    found = scan(sql)
    assert (found.error, found.error_at) == (error, at)


def test_postgres_operators(scan: Scan) -> None:
    assert scan("select a ? 'k' and b ?| c", "postgres").text == "select a ? ?s and b ?| c"
    assert scan("select 0x1F", "postgres").literals == ("0x1F",)
    # DuckDB reads a zero named x1F here.
    assert scan("select 0x1f").text == "select ?i x1f"


def _rounds(rounds: int, rotation: int, value: int) -> int:
    return ((value << rotation) | (value >> (64 - rotation))) % 2**64


def naive_xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 from its specification, as plainly as can be."""
    p1, p2, p3, p4, p5 = (
        0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
    )  # fmt: skip
    m = 2**64

    def step(lane: int, word: int) -> int:
        return _rounds(1, 31, (lane + word * p2) % m) * p1 % m

    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) // 8 * 8, 8)]
    stripes = len(data) // 32
    if stripes:
        lanes = [(seed + p1 + p2) % m, (seed + p2) % m, seed, (seed - p1) % m]
        for i in range(stripes * 4):
            lanes[i % 4] = step(lanes[i % 4], words[i])
        value = sum(_rounds(1, r, lane) for r, lane in zip((1, 7, 12, 18), lanes, strict=True)) % m
        for lane in lanes:
            value = ((value ^ step(0, lane)) * p1 + p4) % m
    else:
        value = (seed + p5) % m
    value = (value + len(data)) % m
    for word in words[stripes * 4 :]:
        value = (_rounds(1, 27, value ^ step(0, word)) * p1 + p4) % m
    rest = data[len(words) * 8 :]
    if len(rest) >= 4:
        value = (_rounds(1, 23, value ^ int.from_bytes(rest[:4], "little") * p1 % m) * p2 + p3) % m
        rest = rest[4:]
    for byte in rest:
        value = _rounds(1, 11, value ^ byte * p5 % m) * p1 % m
    value = (value ^ value >> 33) * p2 % m
    value = (value ^ value >> 29) * p3 % m
    return value ^ value >> 32


def test_the_oracle_is_xxh64() -> None:
    assert naive_xxh64(b"") == 0xEF46DB3751D8E999
    assert naive_xxh64(b"abc") == 0x44BC2CF5AD770999


@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 11, 31, 32, 33, 63, 64, 100, 1000])
def test_hash_is_xxh64_of_the_text(scan: Scan, size: int) -> None:
    for dialect, seed in (("duckdb", 0), ("postgres", 1)):
        found = scan("x" * size, dialect)
        assert found.hash % 2**64 == naive_xxh64(found.key, seed)


FRAGMENTS = [
    b"select", b"SELECT ", b" from ", b"'", b'"', b"--", b"/*", b"*/", b"/*+", b"\n", b"$$", b"$a$", b"(", b")",
    b",", b"in (", b"1", b"-1", b".5", b"null", b"true", b"?", b"%s", b":a", b"::", b"limit ", b"order by ",
    b"E'\\'", b"u&'", b"x'", b";", b"\xff", b"\xc3\xa9", b"abcdefghijKLM", b"[", b"]", b"{", b"}", b"\0", b"#1",
    b"@@", b"decimal(", b"interval ", b"%(x)s", b" IN ", b"1e5", b"0x1f", b"_", b"$1", b"$", b"case ", b"end ",
    b"not ", b"=", b"<", b"-", b"\\", b"distinct on (", b"as ", b"timestamp",
]  # fmt: skip


def agree(raw: bytes) -> None:
    others = [name for name in ("cython", "numba") if backends.why_unavailable(name) is None]
    for dialect in ("duckdb", "postgres"):
        plain = backends.kernels("lexer", "python").Lexer(dialect).tokens(raw)
        for other in others:
            found = backends.kernels("lexer", other).Lexer(dialect).tokens(raw)
            assert [getattr(found, name) for name in FIELDS] == [getattr(plain, name) for name in FIELDS]
            if not found.error:
                assert found.literals == plain.literals
                assert found.slot_kinds == plain.slot_kinds


@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=40).map(b"".join))
@settings(max_examples=400, deadline=None)
def test_both_forms_agree_on_anything(raw: bytes) -> None:
    agree(raw)


def test_both_forms_agree_on_long_texts() -> None:
    rng = random.Random(3)
    agree(b"".join(rng.choice(FRAGMENTS) for _ in range(3000)))
    agree(b"?" * 3000)
    agree(b"a in (" + b"null, " * 2000 + b"b)")
    agree(b"a in (" + b"1," * 5000 + b"2)")
    agree(b"(" * 3000)


def respaced(rng: random.Random, words: list[str]) -> str:
    gaps = [" ", "\n", "  \t", " /* c */ ", " -- c\n"]
    return "".join(word + rng.choice(gaps) for word in words)


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_one_fingerprint_means_equal_but_for_slot_values(rng: random.Random) -> None:
    lexer = backends.kernels("lexer", "python").Lexer("duckdb")

    def statement() -> tuple[list[str], list[object]]:
        number, text = str(rng.randrange(1000)), f"'{rng.choice(['a', 'bc', ''])}'".replace("'b'c'", "'b''c'")
        numbers = [str(rng.randrange(9)) for _ in range(rng.randrange(1, 5))]
        words = [
            "select",
            "x",
            "from",
            "t",
            "where",
            "a",
            "=",
            number,
            "and",
            "b",
            "<>",
            text,
            "and",
            "c",
            "in",
            "(",
        ]
        return [*words, ", ".join(numbers), ")"], [number, text, tuple(numbers)]

    (first, first_literals), (second, second_literals) = statement(), statement()
    one, two = lexer.scan(respaced(rng, first)), lexer.scan(respaced(rng, second))
    assert one.hash == two.hash
    assert one.key == two.key
    assert list(one.literals) == first_literals
    assert list(two.literals) == second_literals
