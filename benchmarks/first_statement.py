"""What the first statement of a new process waits for, beyond its own run.

A process opens a file of DuckDB's, connects and executes one join, then another template, both seen for the
first time. Everything but the runs is ours: reading the catalogue, the template, statistics, the decision.
What is loaded once (modules, kernels, the parser's dialect) belongs to ``connect()``, which the table shows
beside a bare ``import duckdb`` and connection. Processes of all arms take turns.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Options, Report, main

PROCESSES = 15
#: The most that anything of ours may add to a statement, in ms.
MOST_MS = 50.0
QUERIES = (
    "SELECT count(*), max(a.n) FROM a JOIN b ON a.k = b.k JOIN c ON c.k = b.k "
    "WHERE a.n < 7 AND c.n IN (1, 2)",
    "SELECT b.name, count(*) FROM b JOIN c ON c.k = b.k WHERE b.name LIKE 'x1%' GROUP BY b.name",
)
TABLES = (
    "CREATE TABLE a AS SELECT i AS k, i % 50 AS n FROM range(1, 300001) t(i)",
    "CREATE TABLE b AS SELECT i AS k, 'x' || (i % 9) AS name FROM range(1, 200001) t(i)",
    "CREATE TABLE c AS SELECT i AS k, i % 5 AS n FROM range(1, 100001) t(i)",
)
OURS = """
import json, sys, time
queries, path, store = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3] or None
begun = time.perf_counter()
import godb_fast
session = godb_fast.connect(path, mode="steer", store=store)
told = {"connect": time.perf_counter() - begun}
for name, query in zip(("first", "second"), queries):
    begun, busy = time.perf_counter(), time.thread_time()
    result = session.execute(query)
    told[name] = time.perf_counter() - begun - result.observation.latency_ms / 1e3
    told[name + ", processor"] = time.thread_time() - busy
session.close()
print(json.dumps(told))
"""
BARE = """
import json, sys, time
begun = time.perf_counter()
import duckdb
connection = duckdb.connect(sys.argv[2])
told = {"connect": time.perf_counter() - begun}
for query in json.loads(sys.argv[1]):
    connection.execute(query).fetchall()
print(json.dumps(told))
"""
ARMS = {"without a store": (OURS, False), "with a store": (OURS, True), "DuckDB alone": (BARE, False)}


def run(options: Options, report: Report) -> None:
    """What the first statement of a new process waits for, beyond its own run."""
    processes = 5 if options.quick else PROCESSES
    source = random.Random(options.seed)
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory(prefix="godb_fast-first-") as folder:
        path = Path(folder) / "a.duckdb"
        _fill(path)
        # Once each for the files' caches.
        turns = [*ARMS, *source.sample(list(ARMS) * processes, processes * len(ARMS))]
        for number, arm in enumerate(turns):
            code, kept = ARMS[arm]
            store = str(Path(folder) / "store.sqlite") if kept else ""
            told = _process(code, path, store)
            if number >= len(ARMS):
                found[arm].append(told)
    for arm, runs in found.items():
        row: dict[str, float | None] = {}
        for step in ("connect", "first", "second", "first, processor"):
            taken = [told[step] * 1e3 for told in runs if step in told]
            row[f"{step} p50"] = float(np.median(taken)) if taken else None
            row[f"{step} worst"] = max(taken) if taken else None
        report.row("ms of a new process: connect(), and what is added to its statements", arm=arm, **row)
        if "first" in runs[0]:
            for step in ("first", "second", "first, processor"):
                taken = [told[step] * 1e3 for told in runs]
                report.floor(f"{step} statement {arm}, ms added, median", float(np.median(taken)), MOST_MS)
    report.note(
        "Processor: of the calling thread, its share of the run itself included, whoever else is busy."
    )


def _fill(path: Path) -> None:
    import duckdb

    with duckdb.connect(str(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)


def _process(code: str, path: Path, store: str) -> dict[str, float]:
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(QUERIES), str(path), store],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise RuntimeError(f"a process failed: {ended.stderr.strip().splitlines()[-1:]}")
    told: dict[str, float] = json.loads(ended.stdout)
    return told


if __name__ == "__main__":
    sys.exit(main("first_statement", run))
