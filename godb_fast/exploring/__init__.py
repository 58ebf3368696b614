"""Verified exploration: finds better plans under an explicit budget, and remembers what was proved.

Nothing in this room knows an engine. :mod:`space` says what can be run, :mod:`latency_model` predicts it
from censored runs, :mod:`choice` picks the next run, :mod:`explorer` is the loop as a state machine that an
executor feeds, :mod:`promotion` the test that a candidate must pass, :mod:`memo` and :mod:`ledger` the data
that is kept.
"""

from godb_fast.exploring.explorer import Executor, Explorer, ExplorerSettings, Promotion, Role, Run, Trial
from godb_fast.exploring.ledger import Ledger
from godb_fast.exploring.memo import Evidence, Memo, MemoEntry, MemoKey
from godb_fast.exploring.promotion import PairEvidence, PairRule, Standing
from godb_fast.exploring.space import PlanSpace

__all__ = [
    "Evidence",
    "Executor",
    "Explorer",
    "ExplorerSettings",
    "Ledger",
    "Memo",
    "MemoEntry",
    "MemoKey",
    "PairEvidence",
    "PairRule",
    "PlanSpace",
    "Promotion",
    "Role",
    "Run",
    "Standing",
    "Trial",
]
