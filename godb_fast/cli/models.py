"""``godb-fast models``: which models serve, which wait, and what became of trainings."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.learning.models import Card, ModelFolder, shipped
from godb_fast.learning.models.waiting import ShadowFolder
from godb_fast.store import SqliteStore, open_store


def models(options: argparse.Namespace) -> int:
    """``godb-fast models``."""
    target = options.target if options.target is not None else getattr(options, "store", "default")
    store = open_store(target)
    if not isinstance(store, SqliteStore):
        raise InvalidInput("without a store there are no models but those that ship: name one")
    named = options.target is not None or hasattr(options, "store")
    if named and not store.path.exists():
        raise InvalidInput(f"there is no store {store.path}; name one, or run queries first")
    facts = collect(store)
    print(json.dumps(facts, indent=1) if options.json else _text(facts))
    return 0


def collect(store: SqliteStore) -> dict[str, Any]:
    """All facts, as plain data.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    shadow = ShadowFolder(store.models)
    serving, own = ModelFolder(shipped.SHIPPED), ModelFolder(store.models)
    found = []
    for name in sorted({*serving.names(), *own.names(), *shadow.names()}):
        chosen = None
        for folder, place in ((own, "own"), (serving, "shipped")):
            for version in reversed(folder.versions(name)):
                entry = _entry(folder, name, version, place)
                if entry["state"] == "" and chosen is None:
                    chosen = entry["model"]
                    entry["state"] = "serves"
                found.append(entry)
        found.extend(_waiting(shadow, name, version) for version in reversed(shadow.versions(name)))
    return {
        "store": str(store.path),
        "folder": str(store.models),
        "models": found,
        "trainings": [
            {
                "began": _moment(each.began_s),
                "by": each.by,
                "why": each.why,
                "seconds": None if each.ended_s is None else round(each.ended_s - each.began_s, 1),
                "outcome": each.outcome,
                "told": each.told,
            }
            for each in store.trainings.recent()
        ],
        "verdicts": [
            {"at": _moment(each.at_s), "model": each.model, "outcome": each.outcome, "reason": each.reason}
            for each in store.trainings.verdicts()
        ],
    }


def _entry(folder: ModelFolder, name: str, version: int, place: str) -> dict[str, Any]:
    try:
        card = folder.check(name, version)
    except ModelRefused as error:
        return {"model": f"{name}/{version}", "place": place, "state": f"refused: {error}"}
    return {"model": card.key, "place": place, "state": "", **_told(card)}


def _waiting(shadow: ShadowFolder, name: str, version: int) -> dict[str, Any]:
    entry = _entry(shadow, name, version, "shadow")
    why = shadow.refused(name, version)
    if why is not None:
        return entry | {"state": f"refused: {why}"}
    return entry | {"state": entry["state"] or "in shadow"}


def _told(card: Card) -> dict[str, Any]:
    return {
        "kind": card.kind,
        "until": card.until,
        "observations": card.observations,
        "templates": card.templates,
        "trained_from": card.trained_from,
        "metrics": dict(card.metrics),
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _text(facts: dict[str, Any]) -> str:
    lines = [f"store {facts['store']}, models of its own in {facts['folder']}"]
    for entry in facts["models"]:
        line = f"{entry['model']} ({entry['place']}): {entry['state'] or 'a newer one serves'}"
        if "kind" in entry:
            line += f"; {entry['observations']:,} observations of {entry['templates']} templates"
        lines.append(line)
    for each in facts["trainings"]:
        outcome = each["outcome"] or "under way"
        took = "" if each["seconds"] is None else f" after {each['seconds']:g} s"
        lines.append(f"training of {each['began']} ({each['why']}): {outcome}{took}: {each['told']}")
    lines.extend(
        f"{each['at']} {each['model']} {each['outcome']}: {each['reason']}" for each in facts["verdicts"]
    )
    return "\n".join(lines)


def last_training(path: Path) -> str | None:
    """What became of the last training from a store, in a line; None if there was none.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    for each in SqliteStore(path).trainings.recent(1):
        return f"{_moment(each.began_s)}: {each.outcome or 'under way'}: {each.told or each.why}"
    return None
