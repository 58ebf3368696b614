"""What one exploration proves, remembered as soon as it is proved; and what it refutes, forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from godb_fast.engines.base import Engine
from godb_fast.engines.dependencies import Dependencies, TellsDependencies
from godb_fast.exploring.earlier import Earlier
from godb_fast.exploring.entries import entry_of, rows_of
from godb_fast.exploring.explorer import Explorer, Promotion
from godb_fast.exploring.memo import MemoEntry
from godb_fast.exploring.openings import arm_of
from godb_fast.exploring.subjects import Subject
from godb_fast.exploring.trials import Baseline, LiveExecutor
from godb_fast.store import Explorations


class Proofs:
    """Entries of the memo that one exploration makes.

    Parameters
    ----------
    records : Explorations or None
        Where they are kept, in the environment ``database``.
    epoch : str
        Of the catalogue when the exploration began.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        engine: Engine,
        records: Explorations | None,
        database: str,
        epoch: str,
        earlier: Earlier,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._records = records
        self._database = database
        self._epoch = epoch
        self._earlier = earlier
        self._clock = clock
        #: By the number of the query, with the plan's.
        self._entries: dict[int, tuple[int, MemoEntry]] = {}

    def entry(self, row: int) -> MemoEntry | None:
        """What was proved of a query."""
        known = self._entries.get(row)
        return None if known is None else known[1]

    def note(self, explorer: Explorer, executor: LiveExecutor, baselines: Sequence[Baseline]) -> None:
        """Keep what was proved since the last look."""
        for promotion in explorer.promotions():
            known = self._entries.get(promotion.query)
            if known is not None and known[0] == promotion.plan:
                continue
            now = self.now(executor.subjects[promotion.query])
            if now is None:
                # Proved of tables that are no more.
                continue
            entry = self._made(promotion, executor, baselines[promotion.query], *now)
            self._entries[promotion.query] = (promotion.plan, entry)
            if self._records is not None:
                self._records.remember(self._engine.name, self._database, entry.to_dict())

    def now(self, subject: Subject) -> tuple[str, Dependencies | None] | None:
        """The epoch, and what a query uses; None if that is not what it was when the exploration began."""
        before, epoch = subject.dependencies, self._engine.schema_epoch()
        if before is None or not isinstance(self._engine, TellsDependencies):
            return (epoch, None) if epoch == self._epoch else None
        now = self._engine.dependencies(subject.query.sql)
        return None if now is None or now.digest != before.digest else (epoch, now)

    def forget_refuted(self, explorer: Explorer, executor: LiveExecutor) -> Iterator[str]:
        """Have what was proved earlier, and lost now, steer nothing any more; says what."""
        refused = explorer.refused()
        for row, subject in enumerate(executor.subjects):
            entry = self._earlier.entry(subject)
            if entry is None or row in self._entries:
                continue
            arm = arm_of(executor.candidates[row].values(), entry.steering)
            if arm is not None and (row, executor.arms.index(arm)) in refused:
                self._earlier.forget(entry)
                yield f"{subject.query.name}: what was proved earlier ({arm}) does not hold any more"

    def _made(
        self,
        promotion: Promotion,
        executor: LiveExecutor,
        baseline: Baseline,
        epoch: str,
        uses: Dependencies | None,
    ) -> MemoEntry:
        subject = executor.subjects[promotion.query]
        candidate = executor.candidates[promotion.query][executor.arms[promotion.arm]]
        return entry_of(
            promotion,
            subject,
            candidate,
            baseline,
            epoch=epoch,
            at_s=self._clock(),
            compared=executor.parts.get((promotion.query, candidate.arm)),
            rows=rows_of(self._engine, subject, uses),
            uses=uses,
        )
