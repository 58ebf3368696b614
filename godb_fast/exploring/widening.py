"""An exploration that goes on with more to spend, over queries that its budget had no time for before.

What was seen of the former queries is kept. Plans are numbered query by query, so that those of queries that
come after them get the numbers behind; the model that predicts is fitted anew to all that was seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from godb_fast.exploring.choice import Choice, as_dict
from godb_fast.exploring.explorer import Explorer

#: What is kept as it was.
_KEPT = ("spent_s", "runs", "curve", "promoted", "evidence", "candidate_s", "surveyed_from_s")


def widened(
    state: dict[str, Any],
    before: Sequence[Sequence[str]],
    digests: Sequence[Sequence[str]],
    fresh: Explorer,
    tries: Iterable[tuple[int, int, float]],
) -> dict[str, Any] | None:
    """The saved state of an explorer, over more queries; None where the former ones have other plans now.

    Parameters
    ----------
    state : dict
        As ``Explorer.to_dict`` gave it.
    before, digests : sequences of sequences of str
        Plans by query and arm, then and now.
    fresh : Explorer
        Over the queries as they are now; nothing has run.
    tries : iterable of (int, int, float)
        What to try first, as ``Explorer.suggest`` takes it; of queries that are new.
    """
    count = len(before)
    if not 0 < count < len(digests):
        return None
    for then, now in zip(before, digests, strict=False):
        # Arms that only other queries have stand for the default plan.
        if list(now[: len(then)]) != list(then) or not set(now[len(then) :]) <= set(then):
            return None
    space, made = fresh.space, fresh.to_dict()
    plans = int(state["plans"])
    if plans != int(space.first_plan[count]):
        return None
    seen, old = made["seen"], state["seen"]
    new_s = float((space.default_s * space.weight)[count:].sum())
    agenda = list(state["agenda"])
    for query, arm, share in tries:
        plan = int(space.plans[query, arm])
        if query >= count and plan != space.first_plan[query]:
            agenda.append(as_dict(Choice(query, plan, math.log(share), 0.0, 0.0)))
    return (
        made
        | {name: state[name] for name in _KEPT}
        | {
            "seen": {
                "kind": [*old["kind"], *seen["kind"][plans:]],
                "log_ratio": [*old["log_ratio"], *seen["log_ratio"][plans:]],
                "best": [*old["best"], *seen["best"][count:]],
            },
            "workload_s": float(state["workload_s"]) + new_s,
            "agenda": agenda,
        }
    )
