"""Matrices of measured runtimes, query × arm, as CSV: reading them, and one made up for tests."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import MissingData

Floats = NDArray[np.float64]

_TEXT_COLUMNS = frozenset({"sql", "query", "text", "statement"})
_LETTER = re.compile(r"(?<=\d)[a-z]$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Seconds of each query under each arm; arm 0 is the default. ``templates`` has a label per query.

    ``texts`` are the queries' SQL where the file has a column of it.
    """

    name: str
    queries: tuple[str, ...]
    templates: tuple[str, ...]
    seconds: Floats
    texts: tuple[str, ...] | None = None

    def part(self, rows: slice, name: str) -> Matrix:
        """Some of the queries."""
        return Matrix(
            name,
            self.queries[rows],
            self.templates[rows],
            self.seconds[rows],
            None if self.texts is None else self.texts[rows],
        )

    @property
    def default_s(self) -> Floats:
        """Times of the default plans."""
        column: Floats = self.seconds[:, 0]
        return column


def read(path: Path) -> Matrix:
    """Read a matrix: a header, a name per query, a number of seconds per arm, optionally a column of SQL.

    The first column of numbers is the default. The template of a query is its text without literals where a
    text is given, else its name without the trailing instance number (``2a17`` belongs to ``2a``,
    ``query001_3`` to ``query001``, ``17b.sql`` to ``17``). Rows with an empty or unreadable cell are refused.

    Raises
    ------
    MissingData
        If the file does not exist or is no such matrix.
    """
    if not path.exists():
        raise MissingData(
            f"needs {path} (a query × hint matrix of seconds, as LimeQO's), which does not exist"
        )
    with path.open(newline="", encoding="utf-8") as source:
        rows = list(csv.reader(source))
    if len(rows) < 2:
        raise MissingData(f"{path} holds no query")
    header, body = rows[0], [row for row in rows[1:] if row]
    texts = next((i for i, title in enumerate(header) if title.strip().lower() in _TEXT_COLUMNS), None)
    numeric = [i for i in range(len(header)) if i != texts and _is_number(body[0][i])]
    names = next((i for i in range(len(header)) if i != texts and i not in numeric), None)
    if not numeric:
        raise MissingData(f"{path} has no column of seconds")
    try:
        seconds = np.array([[float(row[i]) for i in numeric] for row in body])
    except (ValueError, IndexError) as error:
        raise MissingData(f"{path} is no matrix of seconds: {error}") from error
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        raise MissingData(f"{path} has a cell that is not a positive number of seconds")
    labels = tuple(row[names] if names is not None else str(i) for i, row in enumerate(body))
    if texts is not None:
        templates = tuple(_text_template(row[texts]) for row in body)
    else:
        templates = tuple(name_template(label) for label in labels)
    if len(set(templates)) > len(templates) / 2:
        # Labels that say nothing of siblings: one class, rather than nearly as many as queries.
        templates = ("",) * len(templates)
    written = None if texts is None else tuple(row[texts] for row in body)
    return Matrix(path.stem, labels, templates, seconds, written)


def name_template(name: str) -> str:
    """The part of a query's name that its siblings share."""
    stem = name.strip().removesuffix(".sql")
    shorter = stem.rstrip("0123456789")
    if shorter == stem:
        shorter = _LETTER.sub("", stem)
    return shorter.rstrip("-_.") or stem


def made_up(*, templates: int = 8, queries: int = 200, arms: int = 12, seed: int = 1) -> Matrix:
    """A matrix with what makes published ones hard: skewed times, few good arms per template, equal plans."""
    rng = np.random.default_rng(seed)
    template = rng.integers(templates, size=queries)
    default = np.exp(rng.normal(-1.0, 1.0, size=templates)[template] + rng.normal(0.0, 1.2, size=queries))
    effect = rng.normal(0.8, 1.3, size=(templates, arms))
    ratio = effect[template] + rng.normal(0.0, 0.5, size=(queries, arms))
    ratio[:, 0] = 0.0
    seconds = default[:, None] * np.exp(np.clip(ratio, -4.0, 5.0))
    copies = rng.integers(arms, size=(templates, arms))
    same = rng.random((templates, arms)) < 0.3
    for arm in range(1, arms):
        rows = same[template, arm]
        seconds[rows, arm] = seconds[rows, np.minimum(copies[template[rows], arm], arm - 1)]
    labels = tuple(f"t{number}q{i}" for i, number in enumerate(template))
    return Matrix("made up", labels, tuple(f"t{number}" for number in template), seconds)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text_template(text: str) -> str:
    from godb_fast.errors import SqlError
    from godb_fast.sql import fingerprint

    try:
        return str(fingerprint(text).hash)
    except SqlError:
        return text
