"""What a workload is made of: one row a template, whichever source told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from godb_fast.errors import InvalidInput

#: Where an example's values come from: our own store saw them, a log or the engine's list of queries holds
#: them, a file is written so, they were made up from statistics; or there is no example.
PROVENANCES: Final = ("observed", "logged", "written", "synthetic", "none")


@dataclass(frozen=True)
class QueryUsage:
    """One template as a source saw it.

    Parameters
    ----------
    text : str
        The normalized statement.
    fingerprint : int
        Its hash.
    calls : int
        Complete executions; of a file, how often it is written there.
    total_ms, max_ms : float or None
        None where the source knows no times.
    rows : int or None
        Rows of all calls together.
    example : str or None
        A statement with values that can be sent; only of statements that begin as queries do.
    provenance : str
        Where the example's values come from: one of ``PROVENANCES``.
    name : str or None
        What the source calls it (a dbt model, a file).
    spelling : str or None
        A query as the source spells it, placeholders and all.
    """

    text: str
    fingerprint: int
    calls: int
    total_ms: float | None = None
    max_ms: float | None = None
    rows: int | None = None
    example: str | None = None
    provenance: str = "none"
    name: str | None = None
    spelling: str | None = None

    def __post_init__(self) -> None:
        if self.provenance not in PROVENANCES or (self.provenance == "none") != (self.example is None):
            raise InvalidInput(f"an example {self.example!r} of provenance {self.provenance!r}")

    @property
    def mean_ms(self) -> float | None:
        """Mean time of a call."""
        return None if self.total_ms is None or not self.calls else self.total_ms / self.calls


@dataclass(frozen=True)
class Workload:
    """What a source tells.

    Parameters
    ----------
    source : str
        Which, in words.
    dialect : str
        Of the texts: ``postgres`` or ``duckdb``.
    queries : tuple of QueryUsage
        What costs most first; without times, what is called most.
    calls, total_ms : int, float or None
        Of everything, also of what is not in ``queries``.
    notes : tuple of str
        What was left out, and what to do about it.
    """

    source: str
    dialect: str
    queries: tuple[QueryUsage, ...]
    calls: int
    total_ms: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankedQuery:
    """A row of the ranking.

    Parameters
    ----------
    share, cumulative_share : float or None
        Of the time of the whole workload, 0 to 1; None where no times are known.
    steerable : bool or None
        Whether the engine can be steered on it at all; None if that was not asked or cannot be told.
    verdict : str
        What we would do with it, or why it cannot be steered.
    only_reads : bool or None
        Whether running it certainly changes nothing and gives the same answer again; None if that is unknown.
    """

    usage: QueryUsage
    share: float | None
    cumulative_share: float | None
    steerable: bool | None = None
    verdict: str = ""
    only_reads: bool | None = None


def rank(workload: Workload, top: int) -> list[RankedQuery]:
    """The first ``top`` queries with their shares of the whole workload's time."""
    ranked: list[RankedQuery] = []
    whole, sum_ms = workload.total_ms, 0.0
    for usage in workload.queries[:top]:
        if not whole or usage.total_ms is None:
            ranked.append(RankedQuery(usage, None, None))
            continue
        sum_ms += usage.total_ms
        ranked.append(RankedQuery(usage, usage.total_ms / whole, min(sum_ms / whole, 1.0)))
    return ranked


def ordered(queries: Sequence[QueryUsage]) -> tuple[QueryUsage, ...]:
    """What costs most first; what has no times follows, what is called most first."""
    return tuple(sorted(queries, key=lambda usage: (-(usage.total_ms or 0.0), -usage.calls, usage.text)))
