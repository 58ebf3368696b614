"""``godb-fast train``: models from what a store holds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from godb_fast.cli.progress import progress_bar
from godb_fast.errors import InvalidInput

if TYPE_CHECKING:
    from godb_fast.learning.training import TrainingReport

#: How an SQLite file begins.
_SQLITE: Final = b"SQLite format 3\x00"


def train(options: argparse.Namespace) -> int:
    """``godb-fast train``."""
    from godb_fast.cli.commands import open_for_reading
    from godb_fast.learning.training import train as train_models
    from godb_fast.store import default_path

    engine = database = None
    path = options.store if hasattr(options, "store") else default_path()
    if options.target is not None and _is_store(options.target):
        path = options.target
    elif options.target is not None:
        connected = open_for_reading(options.target)
        try:
            connected.schema_epoch()
            engine, database = connected.name, connected.environment()
        finally:
            connected.close()
        if options.engine not in (None, engine):
            raise InvalidInput(
                f"--engine {options.engine} does not fit {options.target}, which is of {engine}"
            )
    if path is None or str(path).lower() in ("off", "none", "0"):
        raise InvalidInput("without a store there is nothing to learn from: name one")
    with progress_bar("training") as bar:
        report = train_models(
            path,
            options.models,
            engine=engine or options.engine,
            database=database,
            seed=options.seed,
            progress=bar,
            **({"trained_from": options.note} if options.note else {}),
        )
    print(json.dumps(report.to_dict(), indent=1) if options.json else _text(report))
    return 0 if report.trained else 1


def _is_store(target: str) -> bool:
    """Whether a target is a file of ours rather than a database to connect to."""
    if "://" in target:
        return False
    path = Path(target).expanduser()
    if not path.exists():
        return path.suffix in (".sqlite", ".sqlite3")
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder; name a store's file or a database")
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _text(report: TrainingReport) -> str:
    lines = []
    for entry in report.trained:
        card = entry.card
        figures = ", ".join(f"{name} {value:.3g}" for name, value in card.metrics.items())
        lines.append(
            f"{card.key}: {card.observations:,} executions of {card.templates} templates; {figures} "
            f"(held-out templates)"
        )
        lines.append(f"    {entry.path}")
        if entry.shipped is not None:
            lines.append(f"    {entry.shipped}")
            if entry.shipped.better:
                lines.append(f"    to have that one serve again, delete {entry.path.parent}")
    lines.extend(f"{name}: not trained: {why}" for name, why in report.skipped.items())
    lines.extend(f"left out: {count:,} executions, {why}" for why, count in report.dropped.items())
    lines.append(f"{report.seconds:.1f} s")
    return "\n".join(lines)
