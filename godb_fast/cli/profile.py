"""``godb-fast profile``: where our own time goes, step by step, on a database and statements of one's own."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from godb_fast.cli.progress import progress_bar
from godb_fast.errors import EngineError, GodbError, InvalidInput, SqlError, UnknownRelation

if TYPE_CHECKING:
    from godb_fast.core import Decision
    from godb_fast.exploring.subjects import LiveQuery
    from godb_fast.session import Session

#: What a statement meets, in this order; rows of the table.
SITUATIONS: Final = ("first sight", "new literals", "seen before", "slow statements")
TOTAL: Final = "in all"
_PERCENTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("worst", 1.0))
#: Candidates of a statement that are ranked at once.
_CANDIDATES: Final = 8

#: Microseconds by situation and step.
Laps = dict[str, dict[str, list[float]]]


def profile(options: argparse.Namespace) -> int:
    """``godb-fast profile``."""
    from godb_fast.cli.commands import open_for_reading
    from godb_fast.cli.explore import read_queries
    from godb_fast.session import Optimizer, Session

    queries = read_queries(options.files)
    optimizer = Optimizer()
    left_out: dict[str, str] = {}
    failed: set[str] = set()
    laps: Laps = {situation: defaultdict(list) for situation in SITUATIONS}
    with Session(optimizer, open_for_reading(options.url), mode="steer") as session:
        known = _first_sights(session, queries, laps, left_out, failed)
        if not known:
            reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            raise InvalidInput(f"no statement could be planned ({reasons})")
        with progress_bar("profiling") as report:
            for number in range(options.repetitions):
                report(f"round {number + 1} of {options.repetitions}", number / options.repetitions)
                _again(session, known, laps)
        _store(known, laps)
        model = _gate(session, known, laps)
    facts = {
        "engine": session.engine.name,
        "statements": len(known),
        "left_out": left_out,
        "repetitions": options.repetitions,
        "backend": optimizer.backend or _backend(),
        "model": model,
        "microseconds": {
            situation: {step: _percentiles(values) for step, values in steps.items()}
            for situation, steps in laps.items()
            if steps
        },
    }
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        _show(facts, sys.stdout)
    return 1 if failed else 0


def _backend() -> str:
    from godb_fast import backend

    return backend.selected()


def _first_sights(
    session: Session, queries: list[LiveQuery], laps: Laps, left_out: dict[str, str], failed: set[str]
) -> list[tuple[LiveQuery, Decision]]:
    """Decisions of what only reads; ``left_out`` and ``failed`` are told of the others."""
    known = []
    for query in queries:
        begun = time.perf_counter_ns()
        try:
            decision = session.optimize(query.sql)
        except (SqlError, UnknownRelation, EngineError, InvalidInput) as error:
            left_out[query.name] = str(error).splitlines()[0]
            failed.add(query.name)
            continue
        effects = session.engine.effects(query.sql)
        if not effects.pure:
            left_out[query.name] = f"not certain to only read: {effects.reason}"
            continue
        _note(laps["first sight"], decision, begun)
        known.append((query, decision))
    return known


def _again(session: Session, known: list[tuple[LiveQuery, Decision]], laps: Laps) -> None:
    """Each statement as if its literals were new, and then as it is."""
    scope = session.optimizer.scope(session.engine)
    for query, decision in known:
        scope.forget_exact(decision.fingerprint)
        begun = time.perf_counter_ns()
        again = session.optimize(query.sql)
        _note(laps["new literals"], again, begun)
    for query, _ in known:
        begun = time.perf_counter_ns()
        session.optimize(query.sql)
        laps["seen before"][TOTAL].append((time.perf_counter_ns() - begun) / 1e3)


def _note(steps: dict[str, list[float]], decision: Decision, begun_ns: int) -> None:
    steps[TOTAL].append((time.perf_counter_ns() - begun_ns) / 1e3)
    for name, micros in decision.timings_us.items():
        steps[name].append(micros)


def _store(known: list[tuple[LiveQuery, Decision]], laps: Laps) -> None:
    """What recording an execution takes of the caller's time; a store writes in a thread of its own."""
    from godb_fast.core import Observation
    from godb_fast.store import SqliteStore

    with tempfile.TemporaryDirectory(prefix="godb_fast-profile-") as folder:
        store = SqliteStore(Path(folder) / "store.sqlite")
        for _, decision in known:
            begun = time.perf_counter_ns()
            store.record(decision, Observation(decision.id, decision.fingerprint, "ok", 1.0))
            laps["seen before"]["store"].append((time.perf_counter_ns() - begun) / 1e3)
        store.close()


def _gate(session: Session, known: list[tuple[LiveQuery, Decision]], laps: Laps) -> str | None:
    """Features, inference and gate of statements whose own plan takes long; the model, if there is one."""
    import numpy as np

    from godb_fast.learning.physical import pair_vectors, plan_vector, rank_vectors

    gate = session.optimizer.untried.gates.gate(session.engine.name)
    if gate is None:
        return None
    steps = laps["slow statements"]
    for query, _ in known:
        try:
            plan = session.engine.explain(query.sql)
        except GodbError:
            # It could be planned a moment ago; whatever it is now, it is no time of ours.
            continue
        clock = [time.perf_counter_ns()]
        vector = plan_vector(plan)
        clock.append(time.perf_counter_ns())
        rows = rank_vectors(pair_vectors(np.tile(vector, (_CANDIDATES, 1)), vector))
        gate.model.predict(rows)
        clock.append(time.perf_counter_ns())
        gate.choose(vector, [vector], 1e3)
        clock.append(time.perf_counter_ns())
        for name, before, after in zip(
            ("features of a plan", f"inference, {_CANDIDATES} plans", "gate"),
            clock[:-1],
            clock[1:],
            strict=True,
        ):
            steps[name].append((after - before) / 1e3)
    key: str = gate.model.key
    return key


def _percentiles(values: list[float]) -> dict[str, float]:
    from godb_fast.evidence import percentile

    ordered = sorted(values)
    return {
        **{name: percentile(ordered, share) for name, share in _PERCENTILES},
        "times": len(values),
    }


def _show(facts: dict[str, Any], stream: TextIO) -> None:
    def say(text: str = "") -> None:
        print(text, file=stream)

    model = facts["model"] or "none"
    say(
        f"{facts['statements']} statements on {facts['engine']}, {facts['repetitions']} rounds, "
        f"backend {facts['backend']}, ranker {model}"
    )
    for name, why in facts["left_out"].items():
        say(f"  {name} left out: {why}")
    say()
    say(f"{'microseconds':<34}{'p50':>11}{'p95':>11}{'p99':>11}{'worst':>11}{'times':>8}")
    for situation, steps in facts["microseconds"].items():
        if TOTAL not in steps:
            say(situation)
        for step, found in steps.items():
            name = situation if step == TOTAL else f"  {step.replace('_', ' ')}"
            say(
                f"{name:<34}{found['p50']:>11,.1f}{found['p95']:>11,.1f}{found['p99']:>11,.1f}"
                f"{found['worst']:>11,.1f}{found['times']:>8,}"
            )
    say()
    say("new literals: everything is done anew but what a template needs once; seen before: the same text")
