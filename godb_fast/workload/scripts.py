"""SQL files, and the compiled queries of a dbt project."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from godb_fast.errors import InvalidInput, SqlError
from godb_fast.sql.scripts import split
from godb_fast.workload.collecting import Collector
from godb_fast.workload.usage import Workload

#: A longer file is no script that somebody wrote.
MAX_FILE: Final = 20_000_000
#: Notes about files that are listed.
_NOTES: Final = 8
_RAN: Final = frozenset({"success", "pass", "warn", "fail"})


@dataclass(frozen=True)
class _Run:
    latency_ms: float
    rows: int | None


def read_scripts(paths: tuple[str, ...], dialect: str) -> Workload:
    """The statements of ``.sql`` files and of folders of them; a dbt project is known by its ``target``.

    Calls are counted as they are written. Times are known of a dbt project that was run
    (``run_results.json``).

    Raises
    ------
    InvalidInput
        If there is no such path, or no ``.sql`` file in a folder.
    """
    collector = Collector(dialect)
    notes: list[str] = []
    titles: list[str] = []
    for given in paths:
        path = Path(given).expanduser()
        if not path.exists():
            raise InvalidInput(f"there is no file or folder {given}")
        target = dbt_target(path)
        if target is not None:
            titles.append(f"the dbt project {given}")
            _read_dbt(target, collector, notes)
            continue
        titles.append(given)
        files = list(_sql_files(path)) if path.is_dir() else [path]
        if not files:
            raise InvalidInput(f"there is no .sql file in {given}")
        for file in files:
            _read_file(file, collector, notes, None, None)
    listed = notes[:_NOTES] + ([f"… and {len(notes) - _NOTES} more"] if len(notes) > _NOTES else [])
    return collector.workload(", ".join(titles), tuple(listed))


def dbt_target(path: Path) -> Path | None:
    """The target folder of a dbt project, given the project or that folder itself."""
    for folder in (path, path / "target"):
        if (folder / "compiled").is_dir() and (
            (folder / "run_results.json").is_file()
            or (folder / "manifest.json").is_file()
            or (folder.parent / "dbt_project.yml").is_file()
        ):
            return folder
    return None


def _sql_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if name.lower().endswith(".sql") and not name.startswith(".") and path.is_file():
                yield path


def _read_dbt(target: Path, collector: Collector, notes: list[str]) -> None:
    compiled = target / "compiled"
    results = _results(target / "run_results.json", notes)
    found = set()
    for path in _sql_files(compiled):
        key = (path.relative_to(compiled).parts[0], path.stem)
        run = results.get(key)
        found.add(key)
        _read_file(path, collector, notes, path.stem, run)
    missing = sorted(name for package, name in results.keys() - found)
    if missing:
        notes.append(
            f"{len(missing)} results have no compiled statement (seeds, or another run): "
            f"{', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}"
        )


def _results(path: Path, notes: list[str]) -> dict[tuple[str, str], _Run]:
    """Times of ``run_results.json`` by package and name of the node."""
    if not path.is_file():
        notes.append(f"there is no {path}: the project was compiled, not run, so no times are known")
        return {}
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        listed = content["results"]
        found: dict[tuple[str, str], _Run] = {}
        for result in listed:
            parts = str(result["unique_id"]).split(".")
            seconds = result.get("execution_time")
            if result.get("status") not in _RAN or len(parts) < 3 or not isinstance(seconds, int | float):
                continue
            response = result.get("adapter_response")
            rows = response.get("rows_affected") if isinstance(response, dict) else None
            counted = rows if isinstance(rows, int) and rows >= 0 else None
            found[parts[1], parts[2]] = _Run(seconds * 1e3, counted)
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        notes.append(f"{path} cannot be read, so no times are known: {type(error).__name__}: {error}")
        return {}


def _read_file(
    path: Path, collector: Collector, notes: list[str], name: str | None, run: _Run | None
) -> None:
    try:
        if path.stat().st_size > MAX_FILE:
            notes.append(f"{path} has more than {MAX_FILE // 1_000_000} MB, and is left out")
            return
        text = path.read_bytes().decode("utf-8-sig")
        statements = split(text)
    except OSError as error:
        notes.append(f"{path} cannot be read: {error.strerror or error}")
        return
    except UnicodeDecodeError as error:
        notes.append(f"{path} is not UTF-8 text: offset {error.start}")
        return
    except SqlError as error:
        notes.append(f"{path}:{error.line}:{error.column}: {error.args[0]}")
        return
    for statement in statements:
        written = statement.name if not statement.name.startswith("statement ") else path.stem
        collector.add(
            statement.sql,
            total_ms=run.latency_ms if run is not None and len(statements) == 1 else None,
            rows=run.rows if run is not None and len(statements) == 1 else None,
            provenance="written",
            example=lambda sql=statement.sql: sql,  # type: ignore[misc]
            name=name or written,
        )
