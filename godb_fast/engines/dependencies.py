"""What one statement uses of a database, and a hash by which to know it again.

A schema epoch covers a whole catalogue, so any change of it may make names mean something else. Whether it
did for one statement is told by a hash over what that statement's names mean: tables, views, what these read
in turn, their columns, types, keys and indexes, functions, the engine's version and the settings that results
depend on. Names are taken from the statement's *tokens*, in every way that they could be read, so what is
found is too much rather than too little: a column that is called like a table counts as that table.

Why what was proved of a statement holds where the hash is the same, also for another role or search path, and
after a change of the epoch:

- Nothing is taken over that decides what is *right*. At every epoch and in every environment a statement's
  effects are judged anew, its template is parsed anew or shown to rest on the same tables, and a steering is
  rendered anew; the preconditions of a rewrite are looked up in the catalogue of that moment.
- Names that resolve to other objects (a temporary table, a view earlier in the search path) or to objects of
  another definition (a column more, another key, another SELECT behind a view) give another hash.
- Temporary tables belong to one session: a statement that reads one has no hash.
- Privileges decide whether a statement runs at all, and not what it answers. Row security does change
  answers: where it applies to the role a statement is not steered at all, and whether it does is part of the
  hash.
- How fast plans are rests on the data as well: see ``rows`` and ``analyzed``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from godb_fast.core import Statistics
from godb_fast.errors import MissingStatistics
from godb_fast.sql import beyond_limits, fingerprint
from godb_fast.sql.tokens import read

#: Growth of a table beyond which what was learned of it waits for verification.
GROWTH: Final = 0.1
#: Parts of a qualified name.
_MOST_PARTS: Final = 3


@dataclass(frozen=True)
class Dependencies:
    """What a statement uses.

    Parameters
    ----------
    digest : str
        The same where it means the same.
    tables : tuple of str
        Canonical names of the tables, those behind views included.
    analyzed : tuple of (str, float)
        When their statistics were last made, in seconds since 1970, for those of which the engine tells.
    """

    digest: str
    tables: tuple[str, ...] = ()
    analyzed: tuple[tuple[str, float], ...] = ()

    def analyzed_since(self, before: tuple[tuple[str, float], ...], noted_s: float = 0.0) -> bool:
        """Whether a table was analysed at another time than what was noted of it ``before``.

        Of which nothing was noted (never analysed, or noted on a standby, which does not know): after
        ``noted_s``. Of which nothing is known now: it was not.
        """
        then = dict(before)
        return any(at != then[table] if table in then else at > noted_s for table, at in self.analyzed)


def grown(statistics: Statistics, rows: tuple[tuple[str, float], ...]) -> bool:
    """Whether a table's rows are others than then by more than a tenth; also if nobody can tell any more."""
    try:
        return any(
            abs(max(statistics.rows(table), 1.0) - max(before, 1.0)) > GROWTH * max(before, 1.0)
            for table, before in rows
        )
    except MissingStatistics:
        return True


@runtime_checkable
class TellsDependencies(Protocol):
    """An engine that can tell what a statement uses."""

    def dependencies(self, sql: str) -> Dependencies | None:
        """What it uses as names resolve now; None if that cannot be told for others than this session.

        Raises
        ------
        EngineError
            If the engine does not answer.
        """
        ...


def named(sql: str, dialect: str, fold: Callable[[str], str]) -> Iterator[tuple[str, ...]] | None:
    """Whatever may name a relation or a function in a statement: chains of one to three parts.

    None of a text that is not read because of its length, nesting or errors of syntax.

    Parameters
    ----------
    fold : callable
        An unquoted name as the engine reads it.

    Raises
    ------
    SqlError
        If the text has no tokens: an unclosed quote, say.
    """
    print_ = fingerprint(sql, dialect)
    if beyond_limits(print_) is not None:
        return None
    tokens = read(print_)
    names = [
        _name(text, fold) if slot < 0 else None for text, slot in zip(tokens.texts, tokens.slots, strict=True)
    ]
    return _chains(tokens.texts, names)


def _chains(texts: tuple[str, ...], names: list[str | None]) -> Iterator[tuple[str, ...]]:
    for start, first in enumerate(names):
        if first is None:
            continue
        chain: tuple[str, ...] = (first,)
        yield chain
        place = start + 1
        while len(chain) < _MOST_PARTS and place + 1 < len(texts) and texts[place] == ".":
            name = names[place + 1]
            if name is None:
                break
            chain = (*chain, name)
            yield chain
            place += 2


def _name(text: str, fold: Callable[[str], str]) -> str | None:
    first = text[:1]
    if first == '"':
        return text[1:-1].replace('""', '"')
    if first == "_" or first.isalpha() or not first.isascii():
        return fold(text)
    return None


def digest(*parts: Any) -> str:
    """A hash of plain data."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()
