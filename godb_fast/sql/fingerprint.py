"""Fingerprints: what a statement is, apart from its literals, in one native call.

The limits stand before the parser: beyond them a statement is not parsed but passed through, because
sqlglot's time grows with tokens (about 7 µs each) and its recursion with nesting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from godb_fast import backend as backends
from godb_fast.errors import InvalidInput, SqlError

#: Texts of more bytes are not even read by the lexer: engines take about 2 µs a byte to read them, and asking
#: one for its plan would make it read them again.
MAX_BYTES: Final = 250_000
#: A list of literals after IN counts as one token.
MAX_TOKENS: Final = 8_000
#: JOIN keywords and commas in FROM, of all blocks together. The statistics of the tables alone cost some 5 ms
#: each, and engines plan for seconds from here on.
MAX_JOINS: Final = 128
#: Brackets, CASE expressions and chains of prefix operators inside each other.
MAX_NESTING: Final = 48

DIALECTS: Final = ("duckdb", "postgres")

_MULTIPLE: Final = 1
_PARAMETERS: Final = 2
_HINTED: Final = 4

_lexers: dict[tuple[str, str | None], Any] = {}
#: By dialect, what the selected backend scans with.
_scan: dict[str, Callable[[str | bytes], Any]] = {}


class Fingerprint(Protocol):
    """What the lexer found in a statement.

    Attributes
    ----------
    hash : int
        Signed 64-bit XXH64 of ``key``, the same on every platform and backend.
    key : bytes
        The normalized text that all statements of this fingerprint share, in UTF-8.
    casing : int
        Tells apart spellings of one text that need templates of their own (capital letters of identifiers
        in DuckDB, where output columns are named as the query spells them; hint comments in PostgreSQL).
    sql : str or bytes
        The statement.
    tokens, joins, nesting, flags : int
        Counts that the limits are about, and bits of the lexer.
    """

    @property
    def hash(self) -> int: ...
    @property
    def key(self) -> bytes: ...
    @property
    def casing(self) -> int: ...
    @property
    def sql(self) -> str | bytes: ...
    @property
    def dialect(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def joins(self) -> int: ...
    @property
    def nesting(self) -> int: ...
    @property
    def flags(self) -> int: ...

    @property
    def text(self) -> str:
        """The normalized text."""
        ...

    @property
    def literals(self) -> tuple[str | tuple[str, ...], ...]:
        """Source text per slot; for a list of literals a tuple of source texts; ``$n`` for ``?``."""
        ...

    @property
    def slot_kinds(self) -> tuple[str, ...]:
        """Kind per slot, as in ``LiteralSlot.kind``."""
        ...


@dataclass(frozen=True)
class Oversized:
    """The fingerprint of a text past ``MAX_BYTES``: a hash of its bytes as they are."""

    hash: int
    key: bytes
    sql: str | bytes
    dialect: str
    casing: int = 0
    tokens: int = 0
    joins: int = 0
    nesting: int = 0
    flags: int = 0
    literals: tuple[str | tuple[str, ...], ...] = ()
    slot_kinds: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """A stand-in; the text itself is too long to keep."""
        return f"/* statement of more than {MAX_BYTES} bytes, BLAKE2b {self.key.hex()} */"


def lexer(dialect: str = "duckdb", backend: str | None = None) -> Any:
    """The lexer kernel of a dialect (shared; it holds no state).

    Raises
    ------
    InvalidInput
        If there is no such dialect.
    """
    found = _lexers.get((dialect, backend))
    if found is None:
        if dialect not in DIALECTS:
            raise InvalidInput(f"unknown dialect {dialect!r}; the lexer knows {' and '.join(DIALECTS)}")
        found = backends.kernels("lexer", backend).Lexer(dialect)
        _lexers[dialect, backend] = found
    return found


def fingerprint(sql: str | bytes, dialect: str = "duckdb", *, backend: str | None = None) -> Fingerprint:
    """Fingerprint of one statement.

    Raises
    ------
    SqlError
        If the text ends inside a string, a quoted identifier or a comment, has a NUL byte outside of a
        string, or is no valid UTF-8.
    InvalidInput
        If ``sql`` is not text, or the dialect is unknown.
    """
    try:
        if len(sql) > MAX_BYTES:
            return _oversized(sql, dialect)
        # The usual call pays for one look-up and the native call.
        found = _scan[dialect](sql) if backend is None else lexer(dialect, backend).scan(sql)
    except KeyError:
        _scan[dialect] = lexer(dialect).scan
        return fingerprint(sql, dialect)
    except UnicodeEncodeError as problem:
        line, column = position(str(sql)[: problem.start].encode("utf-8", "replace"), None)
        raise SqlError(
            f"invalid text at line {line}, column {column}: a lone surrogate", line=line, column=column
        ) from None
    except (TypeError, AttributeError):
        raise InvalidInput(f"a statement is str or bytes, not {type(sql).__name__}") from None
    if found.error:
        raw = sql if isinstance(sql, bytes) else sql.encode("utf-8")
        line, column = position(raw, found.error_at)
        what = backends.kernels("lexer", backend).ERRORS[found.error]
        raise SqlError(f"{what} at line {line}, column {column}", line=line, column=column)
    return found  # type: ignore[no-any-return]


def position(raw: bytes, offset: int | None) -> tuple[int, int]:
    """Line and column, counted from 1 in characters, of a byte of a text (None: its end)."""
    head = raw[:offset].decode("utf-8", "replace")
    line = head.count("\n") + 1
    return line, len(head) - (head.rfind("\n") + 1) + 1


def beyond_limits(found: Fingerprint) -> str | None:
    """Why a statement is passed through unparsed, or None."""
    if isinstance(found, Oversized):
        return f"more than {MAX_BYTES} bytes"
    for count, limit, what in (
        (found.tokens, MAX_TOKENS, "tokens"),
        (found.joins, MAX_JOINS, "joins"),
        (found.nesting, MAX_NESTING, "nested levels"),
    ):
        if count > limit:
            return f"{count} {what}, more than {limit}"
    return None


def has_several_statements(found: Fingerprint) -> bool:
    """Whether a token follows a semicolon."""
    return bool(found.flags & _MULTIPLE)


def has_parameters(found: Fingerprint) -> bool:
    """Whether the driver binds parameters into the text."""
    return bool(found.flags & _PARAMETERS)


def has_hints(found: Fingerprint) -> bool:
    """Whether a comment ``/*+ … */`` speaks to a hint extension."""
    return bool(found.flags & _HINTED)


def is_query(found: Fingerprint) -> bool:
    """Whether a statement begins as a query does; that it really only reads is judged later."""
    return found.text.lstrip("( ").startswith(("select ", "with ", "values ", "from "))


def _oversized(sql: str | bytes, dialect: str) -> Fingerprint:
    if not isinstance(sql, (str, bytes)):
        raise TypeError
    lexer(dialect)
    raw = sql if isinstance(sql, bytes) else sql.encode("utf-8")
    digest = hashlib.blake2b(raw, digest_size=16, salt=dialect.encode()).digest()
    return Oversized(int.from_bytes(digest[:8], "little", signed=True), digest, sql, dialect)
