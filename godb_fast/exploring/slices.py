"""Whether a rewrite answers as its original does, where the original does not finish.

Both forms run on parts of the query until some parts that have rows agree. The rewrite goes first: it tells
at little cost which parts have rows at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, cast

from godb_fast.core import Steering
from godb_fast.engines.base import Engine, EngineResult, HasArms, Rendered
from godb_fast.errors import (
    ConnectionFailed,
    EngineBusy,
    EngineError,
    InvalidInput,
    MissingStatistics,
    QueryCancelled,
    QueryTimeout,
)
from godb_fast.evidence.answers import Answer, difference, sort_keys
from godb_fast.exploring.subjects import Subject
from godb_fast.rewriting import rewrites
from godb_fast.rewriting.base import Refused
from godb_fast.rewriting.slicing import SliceKey, slice_keys, sliced
from godb_fast.sql import fingerprint, parse_template

#: Parts that have to agree.
AGREEING: Final = 3
#: Into how many parts a query is cut at first: finer ones follow where they take too long, coarser ones where
#: they have no rows.
PARTS: Final = 64
FINER: Final = 16
COARSER: Final = 4
FINEST: Final = 65_536
COARSEST: Final = 4
#: Of the time limit, what a part of the original may take.
ORIGINAL_SHARE: Final = 0.2
#: Columns to cut by, and parts of one size, that are tried.
MOST_KEYS: Final = 3
MOST_PARTS: Final = 8

#: Runs a statement to its complete result under a time limit in seconds.
Runs = Callable[[Rendered, float], EngineResult]


@dataclass(frozen=True)
class SliceEvidence:
    """What parts of a query showed.

    Parameters
    ----------
    agreed : int
        Parts with rows on which both forms agreed.
    by : str
        How it was cut.
    differs : str or None
        How the rewrite answered otherwise.
    example : str
        The part on which it did, as SQL.
    """

    agreed: int = 0
    by: str = ""
    differs: str | None = None
    example: str = ""

    @property
    def enough(self) -> bool:
        """Whether the rewrite may be believed."""
        return self.agreed >= AGREEING and self.differs is None


def compare_slices(
    engine: Engine,
    subject: Subject,
    steering: Steering,
    run: Runs,
    *,
    limit_s: float,
    total_s: float,
    settings: Sequence[Steering] = (),
) -> SliceEvidence:
    """Compare a rewrite with its original on parts of the query.

    Parameters
    ----------
    run : callable
        May raise what the engine's ``run`` does.
    limit_s, total_s : float
        What one run, and all of them, may take. A part of the original gets only a share of ``limit_s``: what
        takes longer is cut finer.
    settings : sequence of Steering
        Settings under which parts of the original are tried where they take too long under none: they change
        no answer.

    Raises
    ------
    EngineError
        If the connection is lost, or somebody cancels.
    """
    best = SliceEvidence()
    deadline = perf_counter() + total_s
    for key in _best_first(engine, slice_keys(subject.template, engine.schema()))[:MOST_KEYS]:
        parts, tried = PARTS, set[int]()
        while COARSEST <= parts <= FINEST and parts not in tried and perf_counter() < deadline:
            tried.add(parts)
            found, slow = _agreement(engine, subject, steering, run, key, parts, limit_s, deadline, settings)
            if found.enough or found.differs is not None:
                return found
            if found.agreed > best.agreed or not best.by:
                best = found
            parts = parts * FINER if slow else parts // COARSER
    return best


def _best_first(engine: Engine, keys: Sequence[SliceKey]) -> list[SliceKey]:
    """Relations for whose rows a subquery is computed first, then keys of large tables: they cut finest."""

    def rank(key: SliceKey) -> tuple[bool, bool, bool, float]:
        try:
            rows = 0.0 if key.table is None else engine.statistics().rows(key.table)
        except MissingStatistics:
            rows = 0.0
        return not key.outer, key.tied, not key.unique, -rows

    return sorted(keys, key=rank)


def _agreement(
    engine: Engine,
    subject: Subject,
    steering: Steering,
    run: Runs,
    key: SliceKey,
    parts: int,
    limit_s: float,
    deadline: float,
    settings: Sequence[Steering],
) -> tuple[SliceEvidence, bool]:
    """What parts by one key showed, and whether one took too long."""
    by = f"{key} % {parts}"
    agreed = 0
    ways: list[Steering | None] = [None, *settings]
    for part in _spread(parts):
        try:
            forms = _forms(engine, subject, steering, key, parts, part)
            if forms is None:
                return SliceEvidence(), False
            original, rewritten = forms
            actual = _answer(run(rewritten, _left(limit_s, deadline)))
            if not actual.rows:
                continue
            expected = _expected(engine, original, run, limit_s, deadline, ways)
        except (ConnectionFailed, QueryCancelled, EngineBusy):
            raise
        except EngineError:
            # Mostly for lack of time.
            return SliceEvidence(agreed, by), True
        keys = sort_keys(original.sql, engine.dialect, expected.columns)
        differs = difference(expected, actual, keys)
        if differs is not None:
            return SliceEvidence(agreed, by, differs, original.sql), False
        agreed += 1
        if agreed == AGREEING:
            break
    return SliceEvidence(agreed, by), False


def _expected(
    engine: Engine,
    original: Rendered,
    run: Runs,
    limit_s: float,
    deadline: float,
    ways: list[Steering | None],
) -> Answer:
    """What a part of the original answers; ways that take too long are not gone again.

    Raises
    ------
    EngineError
        If it takes too long under all.
    """
    while True:
        way = ways[0]
        sent = original
        if way is not None:
            sent = cast("HasArms", engine).under(original.sql, original.params, way)
        try:
            return _answer(run(sent, _left(ORIGINAL_SHARE * limit_s, deadline)))
        except QueryTimeout:
            if len(ways) == 1:
                raise
            del ways[0]


def _spread(parts: int) -> Iterator[int]:
    """Some remainders in no order that keys would have, too: an odd step comes to all of a power of two."""
    for number in range(min(parts, MOST_PARTS)):
        yield number * 37 % parts


def _left(limit_s: float, deadline: float) -> float:
    left = min(limit_s, deadline - perf_counter())
    if left <= 0.0:
        raise QueryTimeout("comparing parts of a query took too long")
    return left


def _forms(
    engine: Engine, subject: Subject, steering: Steering, key: SliceKey, parts: int, part: int
) -> tuple[Rendered, Rendered] | None:
    """A part in both forms, with all groups if that can be; None if it cannot be written or rewritten."""
    schema = engine.schema()
    params = subject.query.params
    for all_groups in (True, False):
        try:
            sql = sliced(subject.template, schema, subject.literals, key, parts, part, all_groups=all_groups)
            print_ = fingerprint(sql, engine.dialect)
            template = parse_template(print_, engine.dialect, schema)
            rewrites(template, schema)
            return Rendered(sql, params), engine.render(template, print_.literals, steering, params)
        except (Refused, InvalidInput):
            continue
    return None


def _answer(result: EngineResult) -> Answer:
    return Answer(result.columns, result.types, result.rows)


__all__ = ["AGREEING", "SliceEvidence", "compare_slices"]
