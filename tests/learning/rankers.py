"""Rankers for the tests, of one tree that is written by hand."""

from __future__ import annotations

from typing import Any

from learning.models.making import ensemble, file_of, model_of

from godb_fast.learning.models import ModelFile
from godb_fast.learning.physical import PAIR_COLUMNS, RANK_COLUMNS


def ranker(
    column: str, *, above: float, below: float, at: float = -0.5, engine: str = "duckdb", **card: Any
) -> ModelFile:
    """Predicts ``below`` where a column is at most ``at``, else ``above``; bounds of 0.1 at 90 %."""
    tree = [
        ("BRANCH_LEQ", PAIR_COLUMNS.index(column), at, 1, 2),
        ("LEAF", below),
        ("LEAF", above),
    ]
    calibration = {"level": 0.9, "scores": 100.0, "allowed": 0.05}
    calibration |= {f"score_{number:03d}": (number - 90) / 1000.0 + 0.1 for number in range(101)}
    values: dict[str, Any] = {
        "name": f"{engine}-ranker",
        "kind": "ranker",
        "engine": engine,
        "columns": RANK_COLUMNS,
        "calibration": calibration,
        "least": dict.fromkeys(PAIR_COLUMNS, -1e6),
        "most": dict.fromkeys(PAIR_COLUMNS, 1e6),
    }
    return file_of(model_of([ensemble([tree])], len(RANK_COLUMNS)), len(RANK_COLUMNS), **(values | card))
