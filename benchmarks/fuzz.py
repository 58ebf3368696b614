"""Random bytes through the lexer on all backends, and random statements through the parser's front.

The lexer must survive anything and never depend on its form: every text runs through the compiled lexer, a
share of them also through the Python form, and the results must be equal. Texts are raw bytes, mutations
of real SQL, and soups of the fragments that lexers stumble over. They are made in batches, so that the
generator does not dominate; the seed makes every text reproducible.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.common import Options, Report, main
from godb_fast import backend as backends
from godb_fast.core import Table
from godb_fast.errors import SqlError

#: Texts through the compiled lexer, at least; the Python forms get a share of them.
TEXTS = 1_000_000
PYTHON_SHARE = 1 / 25
STATEMENTS = 5_000

FRAGMENTS = [
    b"select", b"SELECT ", b" from ", b"'", b'"', b"--", b"/*", b"*/", b"/*+", b"\n", b"$$", b"$a$",
    b"(", b")", b",", b"in (", b"1", b"-1", b".5", b"null", b"true", b"?", b"%s", b":a", b"::",
    b"limit ", b"order by ", b"E'\\'", b"u&'", b"x'", b";", b"\xff", b"\xc3\xa9",
    b"abcdefghijKLMNOPQRS", b"[", b"]", b"{", b"}", b"\0", b"#1", b"@@", b"decimal(", b"interval ",
    b"%(x)s", b" IN ", b"1e5", b"0x1f", b"_", b"$1", b"$", b"case ", b"end ", b"not ", b"=", b"<", b"-",
    b"\\", b"distinct on (", b"as ", b"timestamp", b" where ", b"a.b", b" join ", b" on ", b"group by ",
    b"''", b'""',
]  # fmt: skip
SEEDS = [
    b"SELECT x, count(*) FROM t a, u AS b WHERE a.id = b.id AND b.s LIKE '%x''y%' AND z IN (1, -3)",
    b"WITH w AS (SELECT $1::DECIMAL(12, 2), E'a\\'b' FROM \"T\") SELECT * FROM w WHERE d < DATE '2020-01-01'",
    b"/* a /* b */ */ SELECT CASE WHEN NOT a IS NULL THEN $$x$$ ELSE $t$y$t$ END FROM v -- end\nORDER BY 1;",
]
WORDS = [
    "SELECT", "FROM", "WHERE", "a", "b", "a.id", "b.a_id", "x", "*", ",", "(", ")", "=", "<", "AND",
    "OR", "NOT", "JOIN", "LEFT JOIN", "ON", "USING", "(id)", "1", "-1", "'s'", "IN", "EXISTS",
    "(SELECT", "AS", "t", "WITH", "UNION", "ALL", "GROUP BY", "ORDER BY", "LIMIT", "BETWEEN", "CASE",
    "WHEN", "THEN", "END", "NULL", "IS", "::", ".", "count(*)", "OVER", "DISTINCT", "INTERVAL", "LIKE",
    "?", "NATURAL", "FULL", "RIGHT", "SEMI", "ANTI", "ASOF", "LATERAL", "VALUES", "[", "]",
]  # fmt: skip
FIELDS = (
    "hash", "key", "packed", "casing", "tokens", "joins", "nesting", "flags", "error", "error_at",
    "token_bytes",
)  # fmt: skip


class TwoTables:
    """A catalogue with two tables."""

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """One of the two."""
        columns = {"a": ("id", "x"), "b": ("id", "a_id")}.get(parts[-1].lower())
        return None if columns is None else Table(parts[-1], columns, ("INTEGER", "INTEGER"))

    def near(self, name: str) -> tuple[str, ...]:
        """Nothing."""
        return ()


def text(rng: random.Random) -> bytes:
    """One random text."""
    kind = rng.random()
    if kind < 0.3:
        return rng.randbytes(rng.randrange(60))
    if kind < 0.7:
        return b"".join(rng.choices(FRAGMENTS, k=rng.randrange(1, 24)))
    raw = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(raw))
        change = rng.random()
        if change < 0.4:
            raw[place] = rng.randrange(256)
        elif change < 0.7:
            del raw[place : place + rng.randrange(1, 9)]
        else:
            raw[place:place] = rng.choice(FRAGMENTS)
        if not raw:
            break
    return bytes(raw)


def lexers(options: Options, report: Report) -> None:
    """Random texts through every form of the lexer."""
    rng = random.Random(options.seed)
    count = TEXTS // 20 if options.quick else TEXTS
    names = [name for name in ("cython", "numba", "python") if backends.why_unavailable(name) is None]
    forms = {
        (name, dialect): backends.kernels("lexer", name).Lexer(dialect)
        for name in names
        for dialect in ("duckdb", "postgres")
    }
    slow = [name for name in names if name != "cython"]
    done: Counter[str] = Counter()
    errors: Counter[int] = Counter()
    differences = read = 0
    seconds: Counter[str] = Counter()
    clock = time.perf_counter
    for number in range(count):
        raw = text(rng)
        dialect = "duckdb" if number % 3 else "postgres"
        results: dict[str, Any] = {}
        chosen = names if rng.random() < PYTHON_SHARE or "cython" not in names else ["cython"]
        for name in chosen:
            begin = clock()
            results[name] = forms[name, dialect].tokens(raw)
            seconds[name] += clock() - begin
            done[name] += 1
        first = results[chosen[0]]
        errors[first.error] += 1
        if not first.error:
            # Literals are decoded and counted only now; they must cover the slots.
            read += len(first.literals)
            differences += len(first.literals) != len(first.slot_kinds)
        for name in chosen[1:]:
            differences += any(getattr(results[name], field) != getattr(first, field) for field in FIELDS)
    for name in names:
        report.row(
            "random texts through the lexer",
            backend=name,
            texts=done[name],
            us_each=1e6 * seconds[name] / max(done[name], 1),
        )
    report.note(
        f"{count - sum(errors[code] for code in errors if code):,} texts well formed with {read:,} literals; "
        + ", ".join(f"error {code}: {errors[code]:,}" for code in sorted(errors) if code)
        + f"; forms compared on {min(done[name] for name in slow) if slow else 0:,}"
    )
    report.floor("differences between the forms of the lexer", differences, 0)
    if not options.quick and "cython" in names:
        report.floor("texts through the compiled lexer", done["cython"], TEXTS, at_least=True)


def statements(options: Options, report: Report) -> None:
    """Random statements through the parser's front: a template or a SqlError, nothing else."""
    from godb_fast.sql import parse_template

    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    rng = random.Random(options.seed)
    outcomes: Counter[str] = Counter()
    unexpected = 0
    starts = ("", "SELECT ", "SELECT a.id FROM a, b WHERE a.id = b.a_id AND ", "SELECT * FROM a JOIN b ")
    worst = 0.0
    for _ in range(STATEMENTS // 10 if options.quick else STATEMENTS):
        sql = rng.choice(starts) + " ".join(rng.choices(WORDS, k=rng.randrange(1, 18)))
        begin = time.perf_counter()
        try:
            template = parse_template(sql, rng.choice(("duckdb", "postgres")), TwoTables())
            outcomes["planned" if template.plannable else "passes through"] += 1
        except SqlError:
            outcomes["SqlError"] += 1
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is the finding
            unexpected += 1
            report.note(f"{type(error).__name__} for {sql!r}")
        worst = max(worst, time.perf_counter() - begin)
    for outcome, number in outcomes.most_common():
        report.row("random statements through the parser's front", outcome=outcome, statements=number)
    report.note(f"the slowest statement took {worst * 1e3:.1f} ms")
    report.floor("unexpected exceptions of the parser's front", unexpected, 0)


def run(options: Options, report: Report) -> None:
    """Fuzz the SQL front end."""
    lexers(options, report)
    statements(options, report)


if __name__ == "__main__":
    sys.exit(main("fuzz", run))
