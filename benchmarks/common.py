"""The frame that all benchmarks share: options, paired timing, tables, floors, JSON.

A benchmark is a module with ``run(options: Options, report: Report) -> None`` that ends in::

    if __name__ == "__main__":
        sys.exit(main("enumeration", run))

Pytest gates call :func:`collect` with the same ``run``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from godb_fast import backend as backends
from godb_fast.errors import BackendUnavailable

Floats = NDArray[np.float64]


class MissingData(Exception):
    """Published data that a benchmark needs is not there; the message names the publication."""


@dataclass(frozen=True)
class Options:
    """What every benchmark can be told on its command line."""

    data: Path | None = None
    json: Path | None = None
    seed: int = 1
    quick: bool = False

    def folder(self, name: str, publication: str) -> Path:
        """A folder of the published evaluation data.

        Raises
        ------
        MissingData
            If no data folder was named, or it lacks ``name``.
        """
        if self.data is None:
            raise MissingData(
                f"needs {name}/ ({publication}): name the folder that holds it with --data DIR "
                "or GODB_FAST_BENCH_DATA"
            )
        folder = self.data / name
        if not folder.exists():
            raise MissingData(f"needs {folder} ({publication}), which does not exist")
        return folder


@dataclass
class Report:
    """Rows of one or more tables, and the floors."""

    benchmark: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    floors: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def row(self, table: str, **columns: Any) -> None:
        """Add a row to the table of that title; all its rows should have the same columns."""
        self.rows.append({"table": table, **{key: _plain(value) for key, value in columns.items()}})

    def floor(self, name: str, value: float, floor: float, *, at_least: bool = False) -> None:
        """A figure that must not exceed ``floor`` (or, with ``at_least``, not fall below it)."""
        value, floor = float(value), float(floor)
        holds = value >= floor if at_least else value <= floor
        self.floors[name] = {
            "value": value,
            "floor": floor,
            "direction": "at least" if at_least else "at most",
            "holds": bool(holds),
        }

    def note(self, text: str) -> None:
        """A sentence below the tables: what was skipped and why, what a figure means."""
        self.notes.append(text)

    @property
    def broken(self) -> list[str]:
        """Names of the floors that do not hold."""
        return [name for name, entry in self.floors.items() if not entry["holds"]]

    def text(self) -> str:
        """Tables, floors and notes, ready to print."""
        parts: list[str] = []
        titles = list(dict.fromkeys(row["table"] for row in self.rows))
        for title in titles:
            rows = [row for row in self.rows if row["table"] == title]
            columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "table"]
            parts.append(f"\n{title}\n{_table(columns, [[row.get(key) for key in columns] for row in rows])}")
        if self.floors:
            body = [
                [
                    name,
                    entry["value"],
                    f"{entry['direction']} {_cell(entry['floor'])}",
                    "holds" if entry["holds"] else "BROKEN",
                ]
                for name, entry in self.floors.items()
            ]
            parts.append(f"\nfloors\n{_table(['floor', 'value', 'demanded', ''], body)}")
        parts.extend(f"\n{note}" for note in self.notes)
        return "\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as ``--json`` writes it."""
        return {
            "benchmark": self.benchmark,
            "machine": machine(),
            "settings": self.settings,
            "rows": self.rows,
            "floors": self.floors,
            "notes": self.notes,
        }


Run = Callable[[Options, Report], None]

EPILOG = """\
examples:
  {command} --quick
  {command} --data DIR --json {benchmark}.json

exit codes:
  0    all floors hold (or none applies: the notes say what was left out)
  1    a floor is broken; which ones is on stderr
  2    wrong usage: no such folder, a file that cannot be written, no compiled kernels where they are compared
  130  interrupted"""


def main(
    benchmark: str,
    run: Run,
    arguments: Sequence[str] | None = None,
    *,
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
    configure: Callable[[argparse.Namespace], None] | None = None,
) -> int:
    """Parse the command line, run, print, write JSON; the exit code.

    0, or 1 if a floor is broken, 130 if it was interrupted; wrong usage exits with 2.

    ``extend`` may add options of the benchmark's own to the parser; ``configure`` gets them parsed.
    """
    command = f"python -m benchmarks.{benchmark}"
    parser = argparse.ArgumentParser(
        prog=command,
        description=run.__doc__,
        epilog=EPILOG.format(command=command, benchmark=benchmark),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the published evaluation data (default: GODB_FAST_BENCH_DATA; without it, what needs "
        "the data is left out and said so)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--seed", type=int, default=1, help="of whatever is drawn at random (1)")
    parser.add_argument("--quick", action="store_true", help="a smaller run, for CI")
    if extend is not None:
        extend(parser)
    parsed = parser.parse_args(arguments)
    # Better now than after minutes of measuring.
    if parsed.data is not None and not parsed.data.is_dir():
        parser.error(f"--data: no such folder: {parsed.data}")
    if parsed.json is not None:
        try:
            parsed.json.open("a").close()
        except OSError as error:
            parser.error(f"--json: cannot write {parsed.json}: {error.strerror}")
    if configure is not None:
        configure(parsed)
    named = parsed.data or os.environ.get("GODB_FAST_BENCH_DATA") or None
    options = Options(Path(named) if named else None, parsed.json, parsed.seed, parsed.quick)
    missing = backends.why_unavailable("cython")
    if missing is not None:
        print(
            f"note: there are no compiled kernels here ({missing}), so that times are those of another "
            "backend; pip install -e . builds them in this checkout",
            file=sys.stderr,
        )
    try:
        report = collect(benchmark, run, options)
    except BackendUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(report.text())
    if options.json is not None:
        options.json.write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    if report.broken:
        print(f"\nfloors that do not hold: {', '.join(report.broken)}", file=sys.stderr)
    return 1 if report.broken else 0


def collect(benchmark: str, run: Run, options: Options | None = None) -> Report:
    """Run a benchmark and return its report, for the command line and for pytest gates."""
    options = options or Options()
    settings = {
        key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()
    }
    report = Report(benchmark, settings)
    started = time.perf_counter()
    run(options, report)
    report.settings["seconds"] = round(time.perf_counter() - started, 1)
    return report


def machine() -> dict[str, Any]:
    """The machine and the versions that figures depend on; no host name, no user."""
    versions = {}
    for package in ("numpy", "numba", "cython", "duckdb", "sqlglot", "onnxruntime", "scikit-learn"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # Not Linux: the platform module knows at least the family.
    return platform.processor()


def interleave(
    arms: Mapping[str, Callable[[int], object]],
    rounds: int,
    *,
    repeat: int = 1,
    warm: int = 1,
    seed: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Floats]:
    """Seconds per call of each arm, shape (rounds,), the arms taking turns in random order.

    Each arm is called with a running number by which it must pick another input every time. Give the same
    function under two names for an A/A row. ``repeat`` calls make one measurement (for calls below some
    microseconds).
    """
    order = list(arms)
    shuffle = random.Random(seed).shuffle
    for number in range(warm):
        for name in order:
            arms[name](number)
    taken = {name: np.zeros(rounds) for name in order}
    for turn in range(rounds):
        shuffle(order)
        first = turn * repeat
        for name in order:
            call = arms[name]
            begin = clock()
            for number in range(first, first + repeat):
                call(number)
            taken[name][turn] = (clock() - begin) / (1e9 * repeat)
    return taken


def ratio(numerator: Floats, denominator: Floats) -> float:
    """Ratio of two interleaved arms: fastest over fastest, since noise on a shared machine only adds."""
    return float(numerator.min() / denominator.min())


def percentiles(values: Sequence[float] | Floats, *points: float) -> tuple[float, ...]:
    """The given percentiles (0 to 100)."""
    return tuple(float(value) for value in np.percentile(np.asarray(values, np.float64), points))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value == int(value) and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _table(columns: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    cells = [[_cell(value) for value in row] for row in body]
    widths = [max(len(column), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)]
    right = [all(isinstance(row[i], (int, float, type(None))) for row in body) for i in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        fitted = (
            value.rjust(width) if flush else value.ljust(width)
            for value, width, flush in zip(values, widths, right, strict=True)
        )
        return "  ".join(fitted).rstrip()

    return "\n".join([line(columns), line(["-" * width for width in widths]), *map(line, cells)])
