"""Rows that cannot be read: left out where many are read, refused by name where one is, never a foreign error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store.records import decision, observation, plan

from godb_fast.errors import StoreError
from godb_fast.store import PlanRun, SqliteStore
from godb_fast.store.outcomes import Outcome
from godb_fast.store.plans import pack, plan_from_bytes

AT = datetime(2026, 5, 1, tzinfo=UTC)
SOON = datetime(2100, 1, 1, tzinfo=UTC)
COUNT = 4
BROKEN_PLAN = {"engine": "duckdb", "source": "profile", "latency_ms": 1.0, "memory_bytes": None}


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """A store of four of each."""
    kept = SqliteStore(tmp_path / "store.sqlite")
    for number in range(COUNT):
        chosen = decision(number)
        seen = observation(chosen, plan=plan(), latency_ms=10.0)
        kept.record(chosen, seen)
        kept.features.keep(seen.execution_id, seen.at - timedelta(seconds=1), 1, np.ones(3))
    assert kept.flush()
    run = PlanRun("duckdb", "d", "q", 1, "", np.ones(2), 0.25, False, AT, np.ones((2, 3)))
    kept.trials.keep(1, [run] * COUNT)
    kept.outcomes.keep([Outcome("m", "f", None, 0.5, False)] * COUNT)
    for number in range(COUNT):
        kept.explorations.lost(f"c{number}", 1.0, 2.0, 0.5)
    kept.close()
    return kept


ASK: dict[str, Callable[[SqliteStore, Counter[str]], int]] = {
    "observations": lambda store, left_out: len(store.observations(left_out=left_out)),
    "training": lambda store, left_out: len(store.features.training(1, SOON, left_out=left_out).latencies_ms),
    "trials": lambda store, left_out: len(store.trials.runs(1, "", SOON, left_out=left_out)),
    "decisions": lambda store, _: len(store.decisions()),
    "latencies": lambda store, _: len(store.latencies()),
    "template_runs": lambda store, _: len(store.template_runs()),
    "past": lambda store, _: len(store.features.past(9)),
    "outcomes": lambda store, _: len(store.outcomes.of("m", 9)),
    "losses": lambda store, _: len(store.explorations.losses(0.0)),
}
PLANS: list[Any] = [
    b"", b"no plan", "text", 7, 2**62, pack(None), pack([1]), pack({}), pack({**BROKEN_PLAN, "nodes": []}),
    pack({**BROKEN_PLAN, "nodes": [{"operator": "SCAN", "parent": 3}]}),
    pack({**BROKEN_PLAN, "nodes": [{"operator": "SCAN", "rows": "many"}]}),
    pack({**BROKEN_PLAN, "nodes": [{"operator": "SCAN", "height": 3}]}),
    pack({**BROKEN_PLAN, "nodes": [None]}), pack({**BROKEN_PLAN, "latency_ms": [], "nodes": [{"operator": "S"}]}),
]  # fmt: skip
VECTORS: list[Any] = [b"", b"xx", "x", -1, 2**62, np.array([1.0]).tobytes(), np.full(3, np.nan).tobytes()]
TABLES: list[Any] = [b"", b"xx", "x", -1, np.array([-1.0, 1.0]).tobytes(), np.array([3.0, 1.0]).tobytes()]
TIMES: list[Any] = ["yesterday", "2026-05-01T00:00:00", b"x"]
NAMES: list[Any] = [b"x"]
NUMBERS: list[Any] = ["x", b"x"]
RUINED: list[tuple[str, str, str, list[Any]]] = [
    ("observations", "plan", "observations", PLANS),
    ("observations", "at", "observations", TIMES),
    ("observations", "latency_ms", "observations", NUMBERS),
    ("observations", "fingerprint", "observations", ["x", 1.5, b"x"]),
    ("observations", "database", "observations", NAMES),
    ("observations", "steered", "observations", NUMBERS),
    ("observations", "latency_ms", "latencies", NUMBERS),
    ("observations", "latency_ms", "template_runs", NUMBERS),
    ("observations", "database", "template_runs", NAMES),
    ("observations", "latency_ms", "past", NUMBERS),
    ("observations", "at", "past", TIMES),
    ("observations", "latency_ms", "training", NUMBERS),
    ("observations", "fingerprint", "training", ["x", 1e300]),
    ("features", "vector", "training", VECTORS),
    ("trials", "vector", "trials", [b"xx", "x", -1, 2**62, np.full(2, np.inf).tobytes()]),
    ("trials", "pipelines", "trials", TABLES),
    ("trials", "seconds", "trials", [*NUMBERS, 0.0]),
    ("trials", "at", "trials", ["2026", "2026-05-01T00:00:00"]),
    ("trials", "fingerprint", "trials", NUMBERS),
    ("decisions", "details", "decisions", [b"", b"xx", 7, pack([1]), pack(None)]),
    ("decisions", "at", "decisions", TIMES),
    ("outcomes", "score", "outcomes", NUMBERS),
    ("ledger", "lost_s", "losses", NUMBERS),
]


@pytest.mark.parametrize(
    ("table", "column", "asked", "value"),
    [
        pytest.param(table, column, asked, value, id=f"{table}.{column}={str(value)[:20]!r}-{asked}{number}")
        for table, column, asked, values in RUINED
        for number, value in enumerate(values)
    ],
)
def test_a_row_that_cannot_be_read_is_one_row_less(
    store: SqliteStore, caplog: pytest.LogCaptureFixture, table: str, column: str, asked: str, value: object
) -> None:
    left_out: Counter[str] = Counter()
    assert ASK[asked](store, left_out) == COUNT
    assert not left_out
    key = {"observations": "execution_id", "features": "execution_id"}.get(table, "id")
    with store.trials._using() as connection:
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE {key} = (SELECT min({key}) FROM {table})", (value,)
        )
    for _ in range(2):
        assert ASK[asked](store, left_out) == COUNT - 1
    told = [each.getMessage() for each in caplog.records]
    if asked == "template_runs" and column == "latency_ms":
        # Left out by SQL, which counts the others.
        assert not told
        return
    # Once, however often it is asked.
    assert len(told) == 1
    assert told[0].startswith("1 of the ")
    assert str(store.path) in told[0]
    if asked in ("observations", "training", "trials"):
        assert left_out == {"duckdb": 2}


def test_of_vectors_of_unlike_lengths_the_most_are_read(store: SqliteStore) -> None:
    with store.trials._using() as connection:
        (ids,) = zip(*connection.execute("SELECT execution_id FROM features").fetchall(), strict=True)
        short = np.ones(2).tobytes()
        connection.execute("UPDATE features SET vector = ? WHERE execution_id = ?", (short, ids[0]))
    assert store.features.training(1, SOON).vectors.shape == (COUNT - 1, 3)


@pytest.mark.parametrize("value", [-1, 2**62, "x", b"xx", pack([1]), pack(None)], ids=str)
def test_one_state_that_cannot_be_read_is_refused_by_name(store: SqliteStore, value: object) -> None:
    entry = {"fingerprint": "f", "bucket": "b"}
    store.clusters.save("duckdb", "d", {})
    store.explorations.remember("duckdb", "d", entry)
    store.explorations.begin("k", {})
    store.choices.keep("duckdb", "d", {**entry, "basis": 1, "discarded": {}})
    with store.trials._using() as connection:
        for table, column in (
            ("query_clusters", "state"), ("memo", "entry"), ("explorations", "state"), ("choices", "state"),
        ):  # fmt: skip
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    for ask in (
        lambda: store.clusters.saved("duckdb", "d"),
        lambda: store.explorations.remembered("duckdb", "d"),
        lambda: store.explorations.saved("k"),
        lambda: store.choices.of("duckdb", "d", "f"),
    ):
        with pytest.raises(StoreError, match=r"damaged.*(forget them|move the file away)"):
            ask()


def test_a_plan_that_lies_below_itself_is_none() -> None:
    nodes = [{"operator": "JOIN"}, {"operator": "SCAN", "parent": 1}]
    with pytest.raises(ValueError, match="node 1 of a plan lies below node 1"):
        plan_from_bytes(pack({**BROKEN_PLAN, "nodes": nodes}))
