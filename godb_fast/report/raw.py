"""Every measured run in a file: CSV, or Parquet where the file's name ends so."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from godb_fast.errors import InvalidInput, MissingDependency
from godb_fast.report.comparison import Arm, Extras, Known, Query, Timed

COLUMNS: Final = ("part", "query", "round", "arm", "seconds", "cut", "steered")


class RawRuns:
    """The runs of one measurement, each written as it ends; those of an earlier one may be taken over.

    Runs are written to a CSV file at once. A Parquet file cannot grow, so it is made from such a journal
    beside it when the measurement ends, however that happens; a journal that a killed process has left is
    used.

    Parameters
    ----------
    path : Path
        Parquet if it ends in ``.parquet``, else CSV.
    resume : bool
        Keep what is there, and offer it as known.

    Raises
    ------
    MissingDependency
        For Parquet without pyarrow.
    InvalidInput
        If the file cannot be written, or is not one of ours.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self._parquet = path.suffix == ".parquet"
        self._journal = path.with_name(path.name + ".csv") if self._parquet else path
        if self._parquet:
            _pyarrow()
        rows = self._earlier() if resume else []
        self._known: dict[str, dict[str, dict[tuple[int, str], Timed]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        for row in rows:
            self._known[row["part"]][row["query"]][int(row["round"]), row["arm"]] = Timed(
                float(row["seconds"]) * 1e3, row["cut"] == "True", row["steered"] == "True"
            )
        # What there was before stays until all of it that is taken over stands in its place.
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows([row[name] for name in COLUMNS] for row in rows)
            partial.replace(self._journal)
            self._file: IO[str] = self._journal.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"cannot write {self._journal}: {error.strerror or error}") from error
        self._writer = csv.writer(self._file)

    def known(self, part: str = "") -> Known:
        """Runs of an earlier measurement of this part."""
        return self._known[part]

    def extras(self, part: str, arms: Mapping[str, Arm] | None = None) -> Extras:
        """For a comparison of this part: what is there is not run again, and each run is kept."""
        return Extras(self.known(part), lambda *run: self.write(part, *run), arms or {})

    def write(self, part: str, query: str, number: int, arm: str, timed: Timed) -> None:
        """Keep one run."""
        self._writer.writerow([part, query, number, arm, timed.milliseconds / 1e3, timed.cut, timed.steered])
        self._file.flush()

    def close(self) -> None:
        """Write the file as a whole."""
        self._file.close()
        if not self._parquet:
            return
        pa, parquet = _pyarrow()
        rows = _read_csv(self._journal)
        kinds = {"round": (pa.int64(), int), "seconds": (pa.float64(), float)}
        columns = {}
        for name in COLUMNS:
            if name in ("cut", "steered"):
                columns[name] = pa.array([row[name] == "True" for row in rows], pa.bool_())
            else:
                kind, convert = kinds.get(name, (pa.string(), str))
                columns[name] = pa.array([convert(row[name]) for row in rows], kind)
        partial = self.path.with_name(self.path.name + ".partial")
        parquet.write_table(pa.table(columns), partial)
        partial.replace(self.path)
        self._journal.unlink()

    def _earlier(self) -> list[dict[str, str]]:
        if self._journal.exists():
            return _read_csv(self._journal)
        if not (self._parquet and self.path.exists()):
            return []
        _, parquet = _pyarrow()
        return [
            {name: str(row[name]) for name in COLUMNS} for row in parquet.read_table(self.path).to_pylist()
        ]


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is not None and tuple(reader.fieldnames) != COLUMNS:
            raise InvalidInput(f"{path} holds something else than measured runs: name another file")
        # A line that a killed process did not finish lacks its last columns.
        return [row for row in reader if row["steered"] in ("True", "False")]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency(
            "Parquet needs pyarrow: pip install pyarrow, or name a file that ends in .csv"
        ) from error
    return pyarrow, pyarrow.parquet


def part_of(queries: Iterable[Query], limit_s: float, label: str = "") -> str:
    """A name for the measuring of these statements, cut at this limit.

    Runs of other statements, or cut elsewhere, that lie in the same file are not taken for these.
    """
    texts = repr((limit_s, [(query.name, query.sql) for query in queries]))
    return f"{label} {hashlib.blake2b(texts.encode(), digest_size=4).hexdigest()}".strip()


@contextmanager
def raw_runs(path: Path | None, *, resume: bool = False) -> Iterator[RawRuns | None]:
    """The file while the body runs; None where there is no path."""
    if path is None:
        yield None
        return
    runs = RawRuns(path, resume=resume)
    try:
        yield runs
    finally:
        runs.close()
