"""What eager aggregation and semi-joins gain and lose, on joins whose keys are even and on hot ones.

A question-and-answer site is made three times: with even keys, with the heaviest user at 0.5 % of the
comments, and at 2.9 %. Each query runs as it is and in every form that the rules offer, on DuckDB with and
without its own ``partial_aggregate_pushdown``, and on PostgreSQL; the rows are compared.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlglot import parse_one

from benchmarks.common import Options, Report, main
from godb_fast.core import Schema, Table
from godb_fast.rewriting.block_rules import changed_trees
from godb_fast.rewriting.duplicates import SemiJoins
from godb_fast.rewriting.eager_aggregation import EagerAggregation

Ints = NDArray[np.int64]

#: Share of the comments that the heaviest user wrote; 0 for even keys.
SHARES = (0.0, 0.005, 0.029)
#: Seconds after which a statement is given up.
CAP_S = 15.0
USERS = 40_000
ROWS = {"posts": 92_000, "comments": 175_000, "votes": 330_000}
COLUMNS = {
    "users": ("id", "level", "reputation"),
    "posts": ("id", "user_id", "views"),
    "comments": ("id", "user_id", "post_id", "score"),
    "votes": ("id", "user_id", "post_id", "kind"),
}
QUERIES = {
    "count of two": "SELECT count(*) AS n FROM users u JOIN comments c ON c.user_id = u.id "
    "JOIN votes v ON v.user_id = u.id",
    "count of three": "SELECT count(*) AS n FROM users u JOIN posts p ON p.user_id = u.id "
    "JOIN comments c ON c.user_id = u.id JOIN votes v ON v.user_id = u.id WHERE p.views > 900",
    "sums by level": "SELECT u.level, count(*) AS n, sum(p.views) AS views, max(c.score) AS best "
    "FROM users u JOIN posts p ON p.user_id = u.id JOIN comments c ON c.user_id = u.id GROUP BY u.level",
    "filtered": "SELECT u.level, count(*) AS n FROM users u JOIN comments c ON c.user_id = u.id "
    "JOIN votes v ON v.user_id = u.id WHERE c.score > 8 AND v.kind = 1 AND u.reputation < 50 "
    "GROUP BY u.level",
    "chain": "SELECT count(*) AS n, sum(v.kind) AS kinds FROM posts p JOIN comments c ON c.post_id = p.id "
    "JOIN votes v ON v.user_id = c.user_id WHERE p.views > 500",
    "left join": "SELECT u.level, count(*) AS n, count(v.id) AS votes FROM users u JOIN comments c "
    "ON c.user_id = u.id LEFT JOIN votes v ON v.user_id = u.id AND v.kind = 2 GROUP BY u.level",
    "distinct": "SELECT DISTINCT u.level FROM users u JOIN comments c ON c.user_id = u.id "
    "JOIN votes v ON v.user_id = u.id WHERE c.score > 2",
    "count distinct": "SELECT u.level, count(DISTINCT u.id) AS n, max(u.reputation) AS most FROM users u "
    "JOIN posts p ON p.user_id = u.id JOIN votes v ON v.user_id = u.id GROUP BY u.level",
}


class Tables:
    """The schema that the rules read."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def resolve(self, parts: tuple[str, ...]) -> Table | None:
        """A table of the site."""
        columns = COLUMNS.get(parts[-1])
        if columns is None:
            return None
        return Table(parts[-1], columns, (self.kind,) * len(columns), unique=(("id",),))

    def near(self, name: str) -> tuple[str, ...]:
        """None: benchmarks do not misspell."""
        return ()


def site(share: float, rows: dict[str, int], users: int, seed: int) -> dict[str, dict[str, Ints]]:
    """All tables; keys follow one ranking of users, with a share of all rows at the first."""
    chance = np.random.default_rng(seed)
    weights = 1.0 / (np.arange(1, users + 1) + _flat(share, users)) if share else np.ones(users)
    order = chance.permutation(users)

    def keys(count: int) -> Ints:
        found = np.searchsorted(np.cumsum(weights / weights.sum()), chance.random(count))
        return order[np.minimum(found, users - 1)].astype(np.int64)

    tables = {
        "users": {
            "id": np.arange(users, dtype=np.int64),
            "level": chance.integers(0, 5, users),
            "reputation": chance.integers(0, 100, users),
        }
    }
    for name, count in rows.items():
        columns = {"id": np.arange(count, dtype=np.int64), "user_id": keys(count)}
        if "post_id" in COLUMNS[name]:
            columns["post_id"] = chance.integers(0, rows["posts"], count)
        last = COLUMNS[name][-1]
        columns[last] = chance.integers(0, 1000 if last == "views" else 10, count)
        tables[name] = columns
    return tables


def _flat(share: float, users: int) -> float:
    """What to add to the ranks so that the first has that share."""
    low, high = 0.0, 1e6
    ranks = np.arange(1, users + 1)
    for _ in range(60):
        middle = (low + high) / 2
        weights = 1.0 / (ranks + middle)
        low, high = (middle, high) if weights[0] / weights.sum() > share else (low, middle)
    return high


def forms(sql: str, schema: Schema, dialect: str) -> dict[str, str]:
    """Every form that the rules offer."""
    tree = parse_one(sql, dialect=dialect)
    found: dict[str, str] = {}
    for rule in (EagerAggregation(), SemiJoins()):
        for place, changed in changed_trees(rule, tree, schema, dialect):
            found[place.partition("-")[2]] = changed.sql(dialect)
    return found


class Site:
    """A connection of either engine: run with a cap."""

    def __init__(
        self, name: str, dialect: str, connection: Any, stop: Callable[[], None], errors: Any
    ) -> None:
        self.name, self.dialect = name, dialect
        self._connection, self._stop, self._errors = connection, stop, errors

    def timed(self, sql: str) -> tuple[float, list[str] | None]:
        """Milliseconds and sorted rows; infinity if it was given up."""
        timer = threading.Timer(CAP_S, self._stop)
        timer.start()
        begun = time.perf_counter()
        try:
            rows = self._connection.execute(sql).fetchall()
            return 1e3 * (time.perf_counter() - begun), sorted(map(repr, rows))
        except self._errors:
            return math.inf, None
        finally:
            timer.cancel()


@contextmanager
def duckdb_site(tables: dict[str, dict[str, Ints]], disabled: str) -> Iterator[Site]:
    """In memory."""
    import duckdb

    with duckdb.connect() as connection:
        for name, columns in tables.items():
            connection.register("made", columns)
            key = ", ".join(f"{column}::INTEGER AS {column}" for column in columns)
            connection.execute(f"CREATE TABLE {name} AS SELECT {key} FROM made")
            connection.unregister("made")
        connection.execute(f"SET disabled_optimizers = '{disabled}'")
        name = "DuckDB" + (f", {disabled} off" if disabled else "")
        yield Site(name, "duckdb", connection, connection.interrupt, duckdb.InterruptException)


@contextmanager
def postgres_site(tables: dict[str, dict[str, Ints]]) -> Iterator[Site]:
    """On a server of our own."""
    import psycopg

    from godb_fast.demo.postgres_server import running_server

    settings = {"shared_buffers": "512MB", "work_mem": "64MB", "max_wal_size": "2GB"}
    with (
        running_server(None, settings) as server,
        server.database("site") as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        for name, columns in tables.items():
            declared = ", ".join(f"{column} integer" for column in columns)
            connection.execute(f"CREATE TABLE {name} ({declared}, PRIMARY KEY (id))")
            with connection.cursor().copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN") as copy:
                for row in zip(*(values.tolist() for values in columns.values()), strict=True):
                    copy.write_row(row)
            for column in columns:
                if column in ("user_id", "post_id"):
                    connection.execute(f"CREATE INDEX ON {name} ({column})")
        connection.execute("ANALYZE")
        yield Site("PostgreSQL", "postgres", connection, connection.cancel_safe, psycopg.errors.QueryCanceled)


def compare(here: Site, data: str, repetitions: int, report: Report) -> None:
    """One row a query."""
    schema = Tables("INTEGER" if here.dialect == "duckdb" else "integer")
    for name, sql in QUERIES.items():
        offered = forms(sql, schema, here.dialect)
        times = dict.fromkeys(["", *offered], math.inf)
        rows: dict[str, list[str] | None] = {}
        for _ in range(repetitions):
            for form, text in {"": sql, **offered}.items():
                if times[form] is not math.inf or form not in rows:
                    took, rows[form] = here.timed(text)
                    times[form] = min(times[form], took)
        known = next((found for found in rows.values() if found is not None), None)
        different = [form for form, found in rows.items() if found is not None and found != known]
        best = min(offered, key=lambda form: times[form])
        worst = max(offered, key=lambda form: times[form])
        original = min(times[""], 1e3 * CAP_S)
        report.row(
            f"{here.name}, {data}: milliseconds as written and in the best form",
            query=name,
            forms=len(offered),
            written="> cap" if times[""] is math.inf else round(times[""], 1),
            best=best,
            best_ms=round(times[best], 1),
            gain=round(original / times[best], 2),
            worst=worst,
            worst_gain=round(original / min(times[worst], 1e3 * CAP_S), 2),
        )
        report.floor(f"{here.name}, {data}, {name}: forms with other rows", len(different), 0)


def measure(engine: str, options: Options, report: Report) -> None:
    """All data sets on an engine."""
    scale = 0.1 if options.quick else 1.0
    rows = {name: int(count * scale) for name, count in ROWS.items()}
    for share in SHARES:
        tables = site(share, rows, int(USERS * scale), options.seed)
        counts = np.bincount(tables["comments"]["user_id"])
        data = f"heaviest user {100 * counts.max() / counts.sum():.2f} % of the comments"
        repetitions = 1 if options.quick else 3
        if engine == "postgres":
            with postgres_site(tables) as here:
                compare(here, data, repetitions, report)
            continue
        for disabled in ("", "partial_aggregate_pushdown"):
            with duckdb_site(tables, disabled) as here:
                compare(here, data, repetitions, report)
    report.note(f"statements are given up after {CAP_S:.0f} s; a gain over one that was is a lower bound")


if __name__ == "__main__":
    chosen = ["duckdb"]

    def extend(parser: argparse.ArgumentParser) -> None:
        """Options of this benchmark."""
        parser.add_argument("--engine", choices=("duckdb", "postgres"), default="duckdb")

    def configure(parsed: argparse.Namespace) -> None:
        """Take them over."""
        chosen[0] = parsed.engine

    def run(options: Options, report: Report) -> None:
        """What eager aggregation and semi-joins gain and lose on joins of even and of hot keys."""
        measure(chosen[0], options, report)

    sys.exit(main("multiplying", run, extend=extend, configure=configure))
