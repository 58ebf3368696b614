"""What standing in front of an application costs each query, against the bare driver.

``--engine postgres`` starts a server of its own (or takes ``--url``) and measures at several round-trip times
through a delaying proxy; ``--engine duckdb`` measures in process. The arms take turns; each round gives one
difference per arm to the bare driver, of which there are the median and the trimmed mean (without the
smallest and the largest fifth). What is judged is the median of the processor time that is added, as a share
of the bare driver's in the same round, times the bare driver's fastest: a machine that others use slows both
alike. ``bare again`` is the bare driver a second time: what differs there is noise. The steered arm is told
to run the engine's own join order, so that only what steering costs is left.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Floats, Options, Report, main
from godb_fast import Optimizer
from godb_fast.core import Decision, Steering
from godb_fast.engines.base import Engine, EngineResult, Parameters
from godb_fast.optimizer import Policy, Prepared, Scope
from godb_fast.store import open_store

#: Milliseconds that a round trip takes on top of the loopback's.
ROUND_TRIPS_MS = (0.0, 1.0, 5.0)
#: Observing may cost this much of a query of one millisecond, and this many microseconds.
OBSERVE_SHARE = 0.03
OBSERVE_US = 30.0

SETUP = """
CREATE TABLE account AS SELECT i AS id, i % 50 AS city FROM generate_series(0, 1999) AS g(i);
CREATE TABLE post AS SELECT i AS id, (i * 7919) % 2000 AS account, i % 13 AS state
  FROM generate_series(0, 5999) AS g(i);
CREATE TABLE vote AS SELECT i AS id, (i * 31) % 6000 AS post, i % 5 AS kind
  FROM generate_series(0, 2999) AS g(i);
"""
QUERY = (
    "SELECT count(*) AS votes, min(p.id) AS least FROM account a, post p, vote v "
    "WHERE p.account = a.id AND v.post = p.id AND v.kind = {0} AND p.state = {0} AND a.city < {0}"
)
VALUES = [(kind, state, city) for kind in range(5) for state in range(13) for city in (10, 20, 30)]
#: Calls that make one measurement where the network does not wait.
REPEAT = 10


@dataclass
class Choice:
    """The options of this benchmark."""

    engine: str = "postgres"
    url: str | None = None
    round_trips_ms: tuple[float, ...] = field(default=ROUND_TRIPS_MS)


class _Willing(Optimizer):
    """Steers every query to the engine's own join order: all that steering costs, and no gain.

    A decision is kept as long as the one that it was made of, as an Optimizer keeps its own: what repeats is
    not rendered again.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._made: dict[int, tuple[Prepared, Prepared]] = {}

    def saw_default(self, prepared: Prepared, result: EngineResult) -> None:
        super().saw_default(prepared, EngineResult(result.columns, result.types, (), 1e4))

    def decide(
        self, engine: Engine, scope: Scope, sql: str, params: Parameters = None, **options: Any
    ) -> Prepared:
        found = super().decide(engine, scope, sql, params, **options)
        known = found.known
        if known is None or not found.decision.candidates:
            return found
        kept = self._made.get(id(found))
        if kept is not None and kept[0] is found and kept[1].decision.steering.key not in known.quarantine:
            return kept[1]
        trees = {entry.block: entry.plan.tree() for entry in found.decision.candidates if entry.chosen}
        trees = trees or {entry.block: entry.plan.tree() for entry in found.decision.candidates[:1]}
        steering = Steering(join_trees=tuple(trees.items()))
        if steering.key in known.quarantine:
            return found
        rendered = engine.render(known.template, found.literals, steering, params)
        decision = Decision(
            found.decision.fingerprint,
            rendered.sql,
            steering,
            "steer",
            "willing",
            engine=engine.name,
            epoch=scope.epoch,
        )
        made = Prepared(decision, rendered, known, found.bucket, found.literals, params)
        self._made[id(found)] = found, made
        return made


Arms = dict[str, Callable[[int], object]]


def _arms(stack: ExitStack, connect: Callable[[str | None, Any], Any], place: str, store: Any) -> Arms:
    sql = QUERY.format(place)
    arms: Arms = {}
    made = {
        "bare": (None, None),
        "off": ("off", Optimizer()),
        "observe": ("observe", Optimizer()),
        "observe, stored": ("observe", Optimizer(store=store)),
        "advise": ("advise", Optimizer(store=store)),
        "steer": ("steer", _Willing(store=store, policy=Policy(background=False))),
    }
    for name, (mode, optimizer) in made.items():
        connection = connect(mode, optimizer)
        stack.callback(connection.close)

        def run(number: int, connection: Any = connection) -> object:
            connection.execute(sql, VALUES[number % len(VALUES)])
            return connection.fetchall()

        for number in range(len(VALUES) if mode in ("advise", "steer") else 3):
            run(number)
        if mode == "advise":
            connection.wait_advised()
        if mode == "steer":
            for number in range(len(VALUES)):
                run(number)
            if optimizer is None or not optimizer.counters.get("steered"):
                raise RuntimeError(f"nothing was steered: {optimizer and optimizer.counters}")
        arms[name] = run
    arms["bare again"] = arms["bare"]
    return arms


def paired(arms: Arms, rounds: int, *, repeat: int = 1, warm: int = 1, seed: int = 1) -> dict[str, Floats]:
    """Seconds per call, wall and of the calling thread's processor time, shape (rounds, 2) per arm.

    The arms take turns in random order, on the same inputs; both clocks see the same calls.
    """
    order = list(arms)
    shuffle = random.Random(seed).shuffle
    for number in range(warm):
        for name in order:
            arms[name](number)
    taken = {name: np.zeros((rounds, 2)) for name in order}
    for turn in range(rounds):
        shuffle(order)
        for name in order:
            call = arms[name]
            busy, wall = time.thread_time_ns(), time.perf_counter_ns()
            for number in range(turn * repeat, (turn + 1) * repeat):
                call(number)
            wall, busy = time.perf_counter_ns() - wall, time.thread_time_ns() - busy
            taken[name][turn] = wall / (1e9 * repeat), busy / (1e9 * repeat)
    return taken


def trimmed_mean(values: Floats, share: float = 0.2) -> float:
    """Mean without the smallest and the largest ``share`` of the values."""
    cut = int(len(values) * share)
    return float(np.sort(values)[cut : len(values) - cut].mean())


def _measured(
    report: Report, title: str, arms: Arms, rounds: int, seed: int, repeat: int
) -> dict[str, float]:
    taken = paired(arms, rounds, repeat=repeat, warm=5, seed=seed)
    bare = taken["bare"]
    # Where others use the machine, the same instructions take several times as long, the bare driver's too.
    undisturbed = float(bare[:, 1].min()) * 1e6
    added: dict[str, float] = {}
    for name in arms:
        wall, busy = ((taken[name] - bare) * 1e6).T
        # What we add without a round trip is processor time of the caller's thread. A difference belongs to
        # two calls that came one soon after the other, so what disturbs both does not count; what disturbs
        # one is as often on either side.
        share = float(np.median(busy / (bare[:, 1] * 1e6)))
        added[name] = share * undisturbed
        report.row(
            title,
            arm=name,
            median_us=float(np.median(taken[name][:, 0])) * 1e6,
            added_us=float(np.median(wall)),
            added_trimmed_us=trimmed_mean(wall),
            processor_us=float(np.median(taken[name][:, 1])) * 1e6,
            added_processor_us=float(np.median(busy)),
            added_processor_trimmed_us=trimmed_mean(busy),
            undisturbed_us=added[name],
        )
    return added


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from postgres_server import running_server

    with running_server() as server, server.database("overhead") as made:
        yield made


def _postgres(choice: Choice, options: Options, report: Report, store: Any) -> None:
    import psycopg

    from godb_fast.dbapi import wrap

    with _server(choice.url) as url:
        from postgres_proxy import proxied

        with psycopg.connect(url, autocommit=True) as raw:
            raw.execute(SETUP + "ANALYZE")
        for round_trip_ms in choice.round_trips_ms:
            with proxied(url) as (through, proxy), ExitStack() as stack:

                def connect(mode: str | None, optimizer: Any, through: str = through) -> Any:
                    # Without a network in between, the proxy's threads would be most of what is measured.
                    raw = psycopg.connect(through if proxy.delay_s else url, autocommit=True)
                    connection = raw if mode is None else wrap(raw, mode, optimizer)
                    return _OneCursor(connection)

                proxy.delay_s = round_trip_ms / 2e3
                arms = _arms(stack, connect, "%s", store)
                rounds = (10 if options.quick else 40) if round_trip_ms else (40 if options.quick else 150)
                title = f"PostgreSQL, round trip + {round_trip_ms:g} ms"
                repeat = 1 if round_trip_ms else REPEAT
                added = _measured(report, title, arms, rounds, options.seed, repeat)
                if not round_trip_ms:
                    _floors(report, "PostgreSQL", added)


class _OneCursor:
    """A connection that is used by one cursor, as DuckDB's connections are."""

    def __init__(self, connection: Any) -> None:
        cursor = connection.cursor()
        self.execute, self.fetchall = cursor.execute, cursor.fetchall
        self.close = connection.close
        self.wait_advised = getattr(connection, "wait_advised", None)


def _duckdb(options: Options, report: Report, store: Any) -> None:
    import duckdb

    from godb_fast import dbapi

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shared = duckdb.connect(str(Path(folder, "shared.duckdb")))
        shared.execute(SETUP)
        stack.callback(shared.close)

        def connect(mode: str | None, optimizer: Any) -> Any:
            if mode == "steer":
                # Only an instance of our own is steered.
                connection = dbapi.connect(str(Path(folder, "own.duckdb")), mode, optimizer)
                connection.execute(SETUP)
                return connection
            raw = shared.cursor()
            return raw if mode is None else dbapi.wrap(raw, mode, optimizer)

        arms = _arms(stack, connect, "?", store)
        added = _measured(report, "DuckDB", arms, 40 if options.quick else 150, options.seed, REPEAT)
        _floors(report, "DuckDB", added)


def _floors(report: Report, name: str, added: dict[str, float]) -> None:
    noise = abs(added["bare again"])
    report.note(f"{name}: the same arm twice differs by {noise:.1f} µs of the processor")
    for arm in ("observe", "observe, stored"):
        report.floor(f"{name}, {arm}: µs of the processor", added[arm], OBSERVE_US)
        report.floor(f"{name}, {arm}: share of a query of 1 ms", added[arm] / 1e3, OBSERVE_SHARE)


def measure(choice: Choice, options: Options, report: Report) -> None:
    """What observing, advising and steering add to each query."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder, "store.sqlite"))
        assert store is not None
        if choice.engine == "postgres":
            _postgres(choice, options, report, store)
        else:
            _duckdb(options, report, store)
        store.close()
    report.note("`bare again` is the A/A row: what differs there is noise")
    report.note(
        "steer: every query is steered, by a decision from memory, to a plan like the engine's own, so that "
        "no gain hides the cost; it is never prepared, as psycopg prepares the bare driver's"
    )


if __name__ == "__main__":
    chosen = Choice()

    def extend(parser: argparse.ArgumentParser) -> None:
        """Options of this benchmark."""
        parser.add_argument("--engine", choices=("postgres", "duckdb"), default="postgres")
        parser.add_argument("--url", default=None, help="a running PostgreSQL server, for tables of ours")

    def configure(parsed: argparse.Namespace) -> None:
        """Take them over."""
        chosen.engine, chosen.url = parsed.engine, parsed.url

    def run(options: Options, report: Report) -> None:
        """What observing, advising and steering add to each query, against the bare driver."""
        measure(chosen, options, report)

    sys.exit(main("overhead", run, extend=extend, configure=configure))
