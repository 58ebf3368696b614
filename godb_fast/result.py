"""What ``execute()`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from godb_fast.core import Decision, Observation
from godb_fast.engines.base import EngineResult


class Result:
    """Rows of one execution, with the Decision and the Observation that belong to it.

    Iterating yields tuples; of a result that was fetched as arrow they are made a block at a time.
    ``fetchdf()`` and ``arrow()`` need pandas and pyarrow.
    """

    def __init__(self, result: EngineResult, decision: Decision | None, observation: Observation) -> None:
        self._result = result
        self._next = 0
        #: What was decided, None in mode ``off`` and ``observe``.
        self.decision = decision
        #: What the execution showed.
        self.observation = observation

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names."""
        return self._result.columns

    @property
    def types(self) -> tuple[str, ...]:
        """Column types, as the engine prints them."""
        return self._result.types

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that were not fetched yet."""
        rows = self._result.rows[self._next :]
        self._next = len(self._result.rows)
        return list(rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        if self._next >= len(self._result.rows):
            return None
        self._next += 1
        return self._result.rows[self._next - 1]

    def fetchdf(self) -> Any:
        """All rows as a pandas DataFrame, with the types that the engine gives it.

        Raises
        ------
        MissingDependency
            If pandas is not installed.
        """
        from godb_fast.engines.tabular import to_dataframe

        return to_dataframe(self._result)

    def arrow(self) -> Any:
        """All rows as a pyarrow Table, with the engine's exact types; also of a result without rows.

        Raises
        ------
        MissingDependency
            If pyarrow is not installed.
        InvalidInput
            If rows that were fetched as such hold a value that arrow cannot: then ask for
            ``execute(…, fetch="arrow")``.
        """
        from godb_fast.engines.tabular import to_arrow

        return to_arrow(self._result)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def __len__(self) -> int:
        return len(self._result.rows)
