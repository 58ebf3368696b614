"""``godb-fast features``: whether what models of times read is sound, and what of it has moved."""

from __future__ import annotations

import argparse
import json
import textwrap
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import InvalidInput
from godb_fast.learning import validation
from godb_fast.learning.features import FEATURES, FEATURES_VERSION
from godb_fast.policy import Policy
from godb_fast.store import SqliteStore, TrainingRows, open_store

#: The newest vectors that are read.
MOST_VECTORS: Final = 20_000
#: Findings that spoil what is trained.
_BAD: Final = frozenset({"nan", "range", "leak"})
#: What moves within less may be the time of day.
_SHORT: Final = timedelta(days=1)
#: They grow as a workload goes on: that is no drift.
_GROWING: Final = frozenset({"past_runs", "neighbour_runs"})
_WORDS: Final = {
    "nan": "not a number in {:.1%} of the rows",
    "range": "outside of its range in {:.1%} of the rows",
    "leak": "orders executions as their time does (rank correlation {:.3f}): it was not known before",
    "drift": "has moved: population stability index {:.2f}",
}


def features(options: argparse.Namespace) -> int:
    """``godb-fast features``."""
    target = options.target if options.target is not None else getattr(options, "store", "default")
    store = open_store(target)
    if not isinstance(store, SqliteStore):
        raise InvalidInput("without a store there are no feature vectors: name one")
    named = options.target is not None or hasattr(options, "store")
    if named and not store.path.exists():
        raise InvalidInput(f"there is no store {store.path}; name one, or run queries first")
    facts = collect(store, options.since)
    print(json.dumps(facts, indent=1) if options.json else _text(facts, every=options.all))
    bad = any(finding["kind"] in _BAD for each in facts["engines"] for finding in each["findings"])
    return int(bad)


def collect(store: SqliteStore, since: datetime | None) -> dict[str, Any]:
    """What each engine's vectors show, as plain data.

    Parameters
    ----------
    since : datetime or None
        What came from then on is compared with what came before; None: the newer half with the older.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    rows = store.features.training(FEATURES_VERSION, datetime.now(UTC), MOST_VECTORS)
    engines = np.array(rows.engines, np.str_)
    return {
        "store": str(store.path),
        "version": FEATURES_VERSION,
        "engines": [_engine(name, rows, engines == name, since) for name in sorted(set(rows.engines))],
    }


def _engine(
    name: str, rows: TrainingRows, chosen: NDArray[np.bool_], since: datetime | None
) -> dict[str, Any]:
    vectors = rows.vectors[chosen]
    moments = np.array(rows.moments, np.str_)[chosen]
    if since is None:
        newer = np.arange(len(vectors)) >= len(vectors) // 2
    else:
        begin = since.astimezone(UTC)
        newer = np.array([datetime.fromisoformat(at) >= begin for at in moments.tolist()], np.bool_)
    complete = ~rows.censored[chosen]
    found = [
        *validation.check_values(vectors),
        *validation.leaking_columns(vectors[complete], rows.latencies_ms[chosen][complete]),
        *(
            each
            for each in validation.drifted_columns(vectors[~newer], vectors[newer])
            if each.feature not in _GROWING
        ),
        *validation.constant_columns(vectors),
    ]
    spread = np.quantile(vectors, [0.0, 0.5, 1.0], axis=0)
    return {
        "engine": name,
        "vectors": len(vectors),
        "templates": len(np.unique(rows.fingerprints[chosen])),
        "from": moments[0].item(),
        "to": moments[-1].item(),
        "compared": [int((~newer).sum()), int(newer.sum())],
        "findings": [{"feature": each.feature, "kind": each.kind, "value": each.value} for each in found],
        "features": [
            {
                "name": feature.name,
                "unit": feature.unit,
                "category": feature.category,
                "least": spread[0, at],
                "median": spread[1, at],
                "most": spread[2, at],
            }
            for at, feature in enumerate(FEATURES)
        ],
    }


def _text(facts: dict[str, Any], *, every: bool) -> str:
    lines = [f"features of version {facts['version']} in {facts['store']}"]
    if not facts["engines"]:
        lines.append(
            f"no vectors: they are kept of statements that take {Policy().learn_from_ms:g} ms or more "
            "(Policy.learn_from_ms) in the modes advise and steer, of sessions with this store"
        )
    for each in facts["engines"]:
        older, newer = each["compared"]
        lines.append(
            f"{each['engine']}: {each['vectors']:,} executions of {each['templates']} templates, "
            f"{each['from']} to {each['to']}; for drift {newer:,} are compared with {older:,} before them"
        )
        if min(older, newer) < 2 * validation.BINS:
            lines.append(f"  too few for drift: {2 * validation.BINS} on each side are the least")
        constant = [finding["feature"] for finding in each["findings"] if finding["kind"] == "constant"]
        lines.extend(
            f"  {finding['feature']}: {_WORDS[finding['kind']].format(finding['value'])}"
            for finding in each["findings"]
            if finding["kind"] != "constant"
        )
        span = datetime.fromisoformat(each["to"]) - datetime.fromisoformat(each["from"])
        if span < _SHORT and any(finding["kind"] == "drift" for finding in each["findings"]):
            lines.append(
                f"  all of that within {str(span).split('.')[0]} h: hours, frequencies and what the machine "
                "did move by themselves in so short a time"
            )
        if constant:
            told = f"  always the same, so that nothing is learned of them: {', '.join(constant)}"
            lines.extend(textwrap.wrap(told, 110, subsequent_indent="    "))
        if every:
            lines.extend(
                f"  {entry['category']:9} {entry['name']:22} {entry['least']:10.4g} {entry['median']:10.4g} "
                f"{entry['most']:10.4g}  {entry['unit']}"
                for entry in each["features"]
            )
        elif not each["findings"]:
            lines.append("  sound: nothing out of range, constant, leaking or moved")
    return "\n".join(lines)
