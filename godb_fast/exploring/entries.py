"""What is remembered of a promotion."""

from __future__ import annotations

from godb_fast.engines.base import Engine
from godb_fast.engines.dependencies import Dependencies
from godb_fast.errors import MissingStatistics
from godb_fast.exploring.candidates import Candidate
from godb_fast.exploring.explorer import Promotion
from godb_fast.exploring.memo import Evidence, MemoEntry, MemoKey
from godb_fast.exploring.subjects import Subject, bucket_number
from godb_fast.exploring.trials import Baseline


def entry_of(
    promotion: Promotion,
    subject: Subject,
    candidate: Candidate,
    baseline: Baseline,
    *,
    epoch: str,
    at_s: float,
    compared: str | None,
    rows: tuple[tuple[str, float], ...],
    uses: Dependencies | None = None,
) -> MemoEntry:
    """The verified steering with its evidence.

    Parameters
    ----------
    compared : str or None
        How its answer was compared, where the default did not finish.
    rows : tuple of (str, float)
        Rows of the query's tables.
    uses : Dependencies or None
        What the query rests on; None where nobody can tell.
    """
    pairs = promotion.evidence
    notes = [candidate.arm]
    if baseline.unfinished:
        notes.append(f"the default was stopped after {baseline.seconds:g} s, so the ratio is a bound")
    if compared is not None:
        notes.append(compared)
    low, high = pairs.interval if pairs is not None else (promotion.ratio, promotion.ratio)
    # Where pairs cut the default, their ratio is a bound; the promotion's is the lower of it and that of the
    # first run.
    return MemoEntry(
        MemoKey(subject.template.fingerprint, bucket_number(subject.region)),
        candidate.steering,
        epoch,
        Evidence(
            pairs=0 if pairs is None else pairs.pairs,
            ratio=promotion.ratio,
            low=min(low, promotion.ratio),
            high=min(high, 1e9),
            at_s=at_s,
            note="; ".join(notes),
            default_s=baseline.seconds,
            rows=rows,
            analyzed=() if uses is None else uses.analyzed,
        ),
        dependencies="" if uses is None else uses.digest,
    )


def rows_of(
    engine: Engine, subject: Subject, uses: Dependencies | None = None
) -> tuple[tuple[str, float], ...]:
    """Rows of a query's tables now, of those behind its views too."""
    tables = {entry.table for block in subject.template.blocks for entry in block.relations if entry.table}
    tables.update(() if uses is None else uses.tables)
    found = []
    for table in sorted(tables):
        try:
            found.append((table, float(engine.statistics().rows(table))))
        except MissingStatistics:
            # A view: its tables stand in its own block.
            continue
    return tuple(found)
