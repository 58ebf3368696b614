"""Data of TPC-H and TPC-DS: generated once into a folder of Parquet files, and loaded from there.

TPC-H comes from ``tpchgen-cli``. TPC-DS comes from the generator that is linked into the wheel of DuckDB
1.1.3, installed into an environment of its own. Everything lies in a cache folder, is written beside its
name and then renamed, and an interrupted run goes on with what is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import MissingData
from benchmarks.schemas import Keys, keys_of

#: The issue's tuned server; the rest keeps background work out of measurements and lets it load quickly.
TUNED: Mapping[str, str] = {
    "shared_buffers": "4GB",
    "work_mem": "64MB",
    "effective_cache_size": "12GB",
    "random_page_cost": "1.1",
}
_QUIET: Mapping[str, str] = {
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "maintenance_work_mem": "256MB",
}
#: The wheel whose TPC-DS generator is used.
GENERATOR = "duckdb==1.1.3"
_TPCDS_SCRIPT = """
import sys, duckdb
scale, folder = sys.argv[1:]
con = duckdb.connect(folder + "/generating.duckdb")
con.execute(f"CALL dsdgen(sf={scale})")
for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
    con.execute(f"COPY {table} TO '{folder}/{table}.parquet' (FORMAT parquet)")
"""
_CHUNK = 1 << 20
#: From here on an interrupted generation goes on with the next table.
LARGE_SCALE = 5.0

Say = Callable[[str], None]


def tell(text: str) -> None:
    """A line on stderr, where it does not mix with tables."""
    print(text, file=sys.stderr, flush=True)


def cache_folder(named: Path | None) -> Path:
    """The folder that was named, else one in the user's cache."""
    if named is not None:
        return named.absolute()
    import platformdirs

    return Path(platformdirs.user_cache_path("godb_fast")) / "benchmarks"


@dataclass(frozen=True)
class Dataset:
    """Generated tables: a Parquet file each."""

    workload: str
    scale: float
    folder: Path

    @property
    def parquet(self) -> Path:
        """Where the files are."""
        return self.folder / "parquet"

    @property
    def tables(self) -> dict[str, Path]:
        """Files by table, the smallest first."""
        files = sorted(self.parquet.glob("*.parquet"), key=lambda path: (path.stat().st_size, path.name))
        return {path.stem: path for path in files}

    def columns(self) -> dict[str, list[tuple[str, str]]]:
        """Names and types of the columns, by table."""
        import duckdb

        with duckdb.connect() as connection:
            return {
                table: [
                    (name, kind)
                    for name, kind, *_ in connection.execute(
                        f"DESCRIBE SELECT * FROM {_quoted(path)}"
                    ).fetchall()
                ]
                for table, path in self.tables.items()
            }

    def keys(self) -> Keys:
        """Primary and foreign keys."""
        found = self.columns()
        return keys_of(self.workload, [(table, name) for table in found for name, _ in found[table]])

    def values(self, table: str, column: str) -> list[Any]:
        """Distinct values of a column, sorted."""
        import duckdb

        with duckdb.connect() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT {column} FROM {_quoted(self.tables[table])} "
                f"WHERE {column} IS NOT NULL ORDER BY 1"
            ).fetchall()
        return [row[0] for row in rows]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def generate(workload: str, scale: float, cache: Path, say: Say = tell) -> Dataset:
    """The data of ``tpch`` or ``tpcds`` at a scale, made if they are not there.

    Raises
    ------
    MissingData
        If a generator is missing, cannot be installed, or fails.
    """
    dataset = Dataset(workload, scale, cache / f"{workload}-sf{scale:g}")
    if dataset.parquet.exists():
        return dataset
    partial = dataset.folder / "parquet.partial"
    partial.mkdir(parents=True, exist_ok=True)
    if workload == "tpch":
        _generate_tpch(scale, partial, say)
    else:
        _generate_tpcds(scale, partial, cache, say)
    partial.rename(dataset.parquet)
    return dataset


def _generate_tpch(scale: float, folder: Path, say: Say) -> None:
    beside = Path(sys.executable).with_name("tpchgen-cli")
    program = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    if program is None:
        raise MissingData("TPC-H data come from tpchgen-cli: pip install tpchgen-cli")
    say(f"generating TPC-H at scale {scale:g} in {folder.parent}")
    missing = [table for table in keys_of("tpch", ()).primary if not (folder / f"{table}.parquet").exists()]
    # Each start makes the pool of texts anew: a table at a time pays only where there is much to lose.
    batches = [[table] for table in missing] if scale >= LARGE_SCALE else [missing]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        for tables in batches:
            options = ["-s", f"{scale:g}", "--tables", ",".join(tables), "--output-dir", scratch]
            _run([program, "parquet", *options], "tpchgen-cli")
            for table in tables:
                (Path(scratch) / f"{table}.parquet").rename(folder / f"{table}.parquet")


def _generate_tpcds(scale: float, folder: Path, cache: Path, say: Say) -> None:
    python = _generator(cache, say)
    say(f"generating TPC-DS at scale {scale:g} in {folder.parent}")
    # The generator makes all tables at once: what an earlier run left is not whole.
    shutil.rmtree(folder)
    folder.mkdir()
    _run([str(python), "-c", _TPCDS_SCRIPT, f"{scale:g}", str(folder)], "the TPC-DS generator")
    (folder / "generating.duckdb").unlink()


def _generator(cache: Path, say: Say) -> Path:
    """The Python of an environment that has the generator."""
    home = cache / GENERATOR.replace("==", "-")
    programs = "Scripts" if sys.platform == "win32" else "bin"
    if (home / "installed").exists():
        return home / programs / "python"
    say(f"installing {GENERATOR} (about 20 MB, from the package index) into {home}, for its generator alone")
    # Scripts in an environment name their own place, so that it is not renamed: a mark says it is whole.
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)], "python -m venv")
    python = home / programs / "python"
    _run([str(python), "-m", "pip", "install", "-q", "--only-binary=:all:", GENERATOR], "pip")
    (home / "installed").touch()
    return python


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise MissingData(f"{what} failed: {(done.stderr or done.stdout).strip()[-600:]}")


# -- DuckDB -----------------------------------------------------------------------------------------------


def duckdb_file(dataset: Dataset, say: Say = tell) -> Path:
    """A DuckDB file with the tables, their primary keys, and statistics.

    There are no foreign keys in it: in DuckDB each is an index more, which its optimizer does not look at.
    """
    import duckdb

    path = dataset.folder / f"duckdb-{duckdb.__version__}.duckdb"
    if path.exists():
        return path
    say(f"loading {dataset.workload} at scale {dataset.scale:g} into {path}")
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    primary = dataset.keys().primary
    with duckdb.connect(str(partial)) as connection:
        for table, file in dataset.tables.items():
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM {_quoted(file)}")
            connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(primary[table])})")
        connection.execute("ANALYZE")
        connection.execute("CHECKPOINT")
    partial.rename(path)
    return path


# -- PostgreSQL -------------------------------------------------------------------------------------------


@contextmanager
def postgres(dataset: Dataset, settings: Mapping[str, str], say: Say = tell) -> Iterator[tuple[str, str]]:
    """A PostgreSQL server of our own with the tables, keys and statistics: its URL, and what was left out.

    The cluster stays in the cache folder, or in the system's temporary folder where we are root and the
    server's user cannot reach the cache.

    Parameters
    ----------
    settings : mapping of str to str
        Such as :data:`TUNED`; nothing: as PostgreSQL comes.
    """
    from godb_fast.demo.postgres_server import kept_server

    folder = _cluster(dataset)
    with kept_server(folder, settings={**_QUIET, **settings}) as server:
        url = server.database_url(dataset.workload)
        loaded = folder / "loaded.json"
        if not loaded.exists():
            say(f"loading {dataset.workload} at scale {dataset.scale:g} into PostgreSQL in {folder}")
            left_out = load_postgres(server.url, url, dataset, say)
            loaded.write_text(json.dumps({"left_out": left_out}))
        missing = json.loads(loaded.read_text())["left_out"]
        yield url, f"foreign keys that the data break: {', '.join(missing)}" if missing else ""


def _cluster(dataset: Dataset) -> Path:
    from godb_fast.demo.postgres_server import unprivileged

    folder = dataset.folder / "postgres"
    if unprivileged() is None:
        return folder
    parents = [parent for parent in dataset.folder.parents if parent.exists()]
    if all(parent.stat().st_mode & 0o001 for parent in (dataset.folder, *parents)):
        return folder
    of = hashlib.sha256(str(dataset.folder).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / "godb_fast-benchmarks" / f"{dataset.folder.name}-{of}" / "postgres"


def load_postgres(server_url: str, url: str, dataset: Dataset, say: Say = tell) -> list[str]:
    """Create, fill, key and analyze the tables; tables that are there already are kept.

    Returns
    -------
    list of str
        Foreign keys that the data break: they are left out.
    """
    import duckdb
    import psycopg

    with psycopg.connect(server_url, autocommit=True) as connection:
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [dataset.workload])
        if there.fetchone() is None:
            connection.execute(f"CREATE DATABASE {dataset.workload}")
    columns, keys = dataset.columns(), dataset.keys()
    left_out: list[str] = []
    with (
        psycopg.connect(url, autocommit=True) as connection,
        duckdb.connect() as source,
        tempfile.TemporaryDirectory(dir=dataset.folder) as scratch,
    ):
        for table, parquet in dataset.tables.items():
            if _first(connection, "SELECT to_regclass(%s)", table) is not None:
                continue
            say(f"  {table}")
            file = Path(scratch) / "rows.csv"
            source.execute(f"COPY (SELECT * FROM {_quoted(parquet)}) TO {_quoted(file)} (HEADER false)")
            named = ", ".join(f'"{name}" {kind}' for name, kind in columns[table])
            # One transaction: a table is there whole or not at all, and its rows need no log.
            with connection.transaction():
                connection.execute(f"CREATE TABLE {table} ({named})")
                with (
                    file.open("rb") as csv,
                    connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copy,
                ):
                    while block := csv.read(_CHUNK):
                        copy.write(block)
        say("  keys")
        for table, primary in keys.primary.items():
            if _unconstrained(connection, table, f"{table}_key"):
                connection.execute(
                    f"ALTER TABLE {table} ADD CONSTRAINT {table}_key PRIMARY KEY ({', '.join(primary)})"
                )
        connection.execute("VACUUM ANALYZE")
        for key in keys.foreign:
            of = ", ".join(key.columns)
            name = f"{key.table}_{'_'.join(key.columns)}"[:60]
            if _unconstrained(connection, key.table, name):
                try:
                    connection.execute(
                        f"ALTER TABLE {key.table} ADD CONSTRAINT {name} FOREIGN KEY ({of}) "
                        f"REFERENCES {key.target} ({', '.join(key.target_columns)})"
                    )
                except psycopg.errors.ForeignKeyViolation:
                    left_out.append(f"{key.table} ({of})")
            if keys.indexes and keys.primary[key.table][: len(key.columns)] != key.columns:
                connection.execute(f"CREATE INDEX IF NOT EXISTS {name}_index ON {key.table} ({of})")
        say("  statistics")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return left_out


def _first(connection: Any, sql: str, *values: str) -> Any:
    return connection.execute(sql, values).fetchone()[0]


def _unconstrained(connection: Any, table: str, name: str) -> bool:
    sql = "SELECT count(*) FROM pg_constraint WHERE conrelid = %s::regclass AND conname = %s"
    return bool(_first(connection, sql, table, name) == 0)
