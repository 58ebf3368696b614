"""``godb-fast costs``: what operators cost on a database, learned from its own statements."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import platform
import statistics
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TextIO

from godb_fast.cli.progress import progress_bar
from godb_fast.errors import Disturbed, EngineError, InvalidInput, QueryTimeout, StoreError

if TYPE_CHECKING:
    from godb_fast.core import Observation, PhysicalPlan
    from godb_fast.engines.base import Engine, Rendered
    from godb_fast.exploring.subjects import LiveQuery
    from godb_fast.feedback.costs import AdaptiveCostModel, CostScope, CostTrial, SettingsProposal
    from godb_fast.lessons import CostLessons
    from godb_fast.store import Store

#: Logged executions that are learned from at once; each takes some kilobytes.
MOST_LOGGED: Final = 5_000
_PRESENT: Final = (
    "SELECT name, setting::float8 FROM pg_catalog.pg_settings WHERE name IN ('seq_page_cost', "
    "'random_page_cost', 'cpu_tuple_cost', 'cpu_index_tuple_cost', 'cpu_operator_cost')"
)


def costs(options: argparse.Namespace) -> int:
    """``godb-fast costs``."""
    from godb_fast.cli.commands import open_for_reading
    from godb_fast.cli.explore import read_queries
    from godb_fast.core import Decision
    from godb_fast.feedback.costs import CostScope
    from godb_fast.store import SqliteStore, open_store

    queries = read_queries(options.files) if options.files else []
    store = open_store(getattr(options, "store", "default"))
    engine = open_for_reading(options.url)
    try:
        scope = CostScope(engine.name, engine.environment(), platform.node())
        if not options.files and not options.log:
            return _known(store, scope, options)
        with progress_bar("measuring") as report:
            seen, left_out, failed = _measure(engine, scope.machine, queries, options, report)
        if options.log:
            seen += _logged(engine, options.log, left_out)
        if not seen:
            reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            raise InvalidInput(f"no statement could be measured ({reasons or 'there are none'})")
        lessons = _lessons(store, scope)
        lessons.measured(seen)
        proposal, why_none = _proposed(engine, seen, scope)
    finally:
        engine.close()
    kept = isinstance(store, SqliteStore)
    if isinstance(store, SqliteStore):
        lessons.save(now=True)
        for each in seen:
            # Models of latency learn from plans that were measured, whoever asked for that.
            store.record(Decision(each.fingerprint, "", reason="measured", engine=each.engine), each)
        store.close()
    model = lessons.model
    facts = _facts(model, len(seen), left_out, proposal, why_none) | _trial(model, lessons.trial)
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        _show(facts, sys.stdout, kept=kept)
    return 1 if failed else 0


def _lessons(store: Store | None, scope: CostScope) -> CostLessons:
    """What is known of costs here; what cannot be read gives way to what is measured."""
    from godb_fast.lessons import CostLessons
    from godb_fast.store import SqliteStore

    if not isinstance(store, SqliteStore):
        return CostLessons(scope)
    try:
        return CostLessons(scope, store.costs)
    except (InvalidInput, StoreError) as error:
        print(f"what was known of costs is begun anew: {error}", file=sys.stderr)
        store.costs.forget(scope.engine, scope.database, scope.machine)
        return CostLessons(scope, store.costs)


def _known(store: Store | None, scope: CostScope, options: argparse.Namespace) -> int:
    """Show what the store holds of costs here; nothing is measured."""
    from godb_fast.lessons import CostLessons
    from godb_fast.store import SqliteStore

    where = scope.engine, scope.database, scope.machine
    if not isinstance(store, SqliteStore) or store.costs.saved(*where) is None:
        raise InvalidInput(
            "nothing is known of costs here yet: give files of statements, --log with plans of auto_explain, "
            "or both"
        )
    lessons = CostLessons(scope, store.costs)
    model = lessons.model
    why = "nothing was measured now; give files of statements"
    facts = _facts(model, 0, {}, None, why) | _trial(model, lessons.trial)
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        _show(facts, sys.stdout, kept=True)
    return 0


def _measure(
    engine: Engine, machine: str, queries: list[LiveQuery], options: argparse.Namespace, report: Any
) -> tuple[list[Observation], dict[str, str], set[str]]:
    """Measured executions, why statements were left out, and which of these do not run."""
    from godb_fast.core import Observation
    from godb_fast.engines.base import Rendered
    from godb_fast.exploring.subjects import Broken, why_left_alone
    from godb_fast.sql import fingerprint

    failed: set[str] = set()
    seen: list[Observation] = []
    left_out: dict[str, str] = {}
    for number, query in enumerate(queries):
        report(query.name, number / len(queries))
        why = why_left_alone(engine, query)
        if isinstance(why, Broken):
            left_out[query.name] = why
            failed.add(query.name)
            continue
        if why is not None:
            left_out[query.name] = f"not certain to only read: {why}"
            continue
        try:
            # One run that nobody times: the caches are warm then, as they were for what is compared.
            engine.run(Rendered(query.sql), timeout_s=options.cap)
            for _ in range(options.repetitions):
                plan = _profiled(engine, Rendered(query.sql), options.cap)
                if plan is None or plan.latency_ms is None:
                    left_out[query.name] = "the engine gave no profile"
                    break
                seen.append(
                    Observation(
                        "", fingerprint(query.sql, engine.dialect).hash, "ok", plan.latency_ms, plan=plan,
                        plan_source=plan.source, engine=engine.name, engine_version=engine.version,
                        database=engine.environment(), machine=machine,
                    )
                )  # fmt: skip
        except EngineError as error:
            # Errors of an engine may have several lines.
            left_out[query.name] = " ".join(str(error).split())
            if not isinstance(error, QueryTimeout | Disturbed):
                failed.add(query.name)
    return seen, left_out, failed


def _profiled(engine: Engine, rendered: Rendered, cap_s: float) -> PhysicalPlan | None:
    """The plan of one run, with the times of its operators."""
    if engine.name != "postgresql":
        return engine.run(rendered, timeout_s=cap_s, profile=True).plan
    from godb_fast.engines.postgres.engine import PostgresEngine

    assert isinstance(engine, PostgresEngine)
    return engine.analyze(rendered, timeout_s=cap_s)


def _logged(engine: Engine, paths: list[str], left_out: dict[str, str]) -> list[Observation]:
    """Executions whose plans the server logged; the latest ones, where there are very many."""
    from godb_fast.errors import SqlError
    from godb_fast.logged import logged_plans, observed
    from godb_fast.sql import fingerprint
    from godb_fast.workload.logged_plans import HOW

    plans = logged_plans(engine, tuple(paths))
    kept: deque[Observation] = deque(maxlen=MOST_LOGGED)
    for plan in plans:
        # Costs need no values; what the log cut off has no fingerprint, and no whole plan either.
        with contextlib.suppress(SqlError):
            kept.append(observed(plan, engine, fingerprint(plan.text, engine.dialect).hash))
    for reason, count in plans.skipped.items():
        left_out[f"{count} logged plans"] = f"{reason}; it takes {HOW}"
    if not kept and not plans.skipped:
        left_out["the log"] = f"it holds no plans of this database: it takes {HOW}"
    return list(kept)


def _proposed(
    engine: Engine, seen: list[Observation], scope: Any
) -> tuple[SettingsProposal | None, str | None]:
    """PostgreSQL's cost settings, or why none are proposed."""
    if engine.name != "postgresql":
        return None, None
    from godb_fast.engines.base import Rendered
    from godb_fast.feedback.costs import propose_settings

    present = {str(name): float(value) for name, value in engine.run(Rendered(_PRESENT)).rows}
    try:
        return propose_settings(seen, scope, present), None
    except InvalidInput as error:
        return None, str(error)


def _facts(
    model: AdaptiveCostModel,
    count: int,
    left_out: dict[str, str],
    proposal: SettingsProposal | None,
    why_none: str | None,
) -> dict[str, Any]:
    from godb_fast.feedback.costs import TERMS, static_coefficients

    static = static_coefficients(model.scope.engine)
    learned = model.coefficients()
    facts: dict[str, Any] = {
        "engine": model.scope.engine,
        "executions": count,
        "rests_on": model.seen,
        "left_out": left_out,
        "q_error_left_out": {
            view: math.exp(statistics.median(map(abs, kept))) if (kept := model.log_ratios(view)) else None
            for view in ("estimated", "executed")
        },
        "coefficients": [
            {
                "term": term.name,
                "unit": term.unit,
                "static_ns": float(before),
                "learned_ns": learned[term.name][0],
                "deviation_ns": learned[term.name][1],
            }
            for term, before in zip(TERMS, static, strict=True)
            if term.name in model.exercised()
        ],
        "settings": None,
        "why_no_settings": why_none,
    }
    if proposal is not None:
        facts["settings"] = {
            "recommended": proposal.recommended,
            "reason": proposal.reason,
            "scans": proposal.scans,
            "templates": proposal.templates,
            "q_error": [proposal.q_error_present, proposal.q_error_proposed],
            "rank_correlation": [proposal.rank_present, proposal.rank_proposed],
            "settings": [
                {
                    "name": each.name, "present": each.present, "proposed": each.proposed,
                    "low": each.low, "high": each.high,
                }
                for each in proposal.settings
            ],
            "sql": list(proposal.sql()),
        }  # fmt: skip
    return facts


def _trial(model: AdaptiveCostModel, trial: CostTrial) -> dict[str, Any]:
    """What joins are ordered by in sessions that compare costs, and what this measurement would try."""
    from dataclasses import asdict

    from godb_fast.feedback.costs import join_costs

    learned = join_costs(model.scope.engine, model.coefficients(), model.exercised())
    told = {"served": trial.served, "on_trial": trial.candidate, "learned": learned}
    facts: dict[str, Any] = {
        name: None
        if costs is None
        else {field: value for field, value in asdict(costs).items() if value != math.inf}
        for name, costs in told.items()
    }
    comparison = trial.comparison
    facts["standing"] = None if comparison is None else comparison.standing.reason
    return {"join_orders": facts | {"past": trial.past}}


def _show(facts: dict[str, Any], stream: TextIO, *, kept: bool) -> None:
    def say(text: str = "") -> None:
        print(text, file=stream)

    where = "; kept in the store" if kept else ""
    count, rests_on = facts["executions"], facts["rests_on"]
    if count:
        where += f"; with those before, costs rest on {rests_on}" if rests_on > count else ""
        say(f"{count} executions on {facts['engine']}{where}")
    else:
        say(f"costs on {facts['engine']} rest on {rests_on} executions{where}")
    for name, why in facts["left_out"].items():
        say(f"  {name} left out: {why}")
    told = facts["q_error_left_out"]
    if told["estimated"] is not None:
        say(
            f"predicted times are off by a factor of {told['estimated']:.2f} (median) by estimated rows, "
            f"{told['executed']:.2f} by measured rows"
        )
    say()
    say(f"{'work':<22}{'ns a unit':>12}{'±':>10}{'before':>10}  unit")
    for each in facts["coefficients"]:
        say(
            f"{each['term']:<22}{each['learned_ns']:>12,.4g}{each['deviation_ns']:>10,.2g}"
            f"{each['static_ns']:>10,.4g}  {each['unit']}"
        )
    _show_trial(facts["join_orders"], say)
    if facts["why_no_settings"]:
        say(f"\nno cost settings are proposed: {facts['why_no_settings']}")
    if facts["settings"]:
        _show_settings(facts["settings"], say)


def _show_trial(orders: dict[str, Any], say: Any) -> None:
    say()
    for name, told in (
        ("served", "join orders by"),
        ("on_trial", "on trial"),
        ("learned", "as learned here"),
    ):
        if (costs := orders[name]) is not None:
            numbers = ", ".join(f"{key} {value:.3g}" for key, value in costs.items() if key != "name")
            say(f"{told + ':':<17}{numbers} ns a row")
    if orders["standing"]:
        say(f"the trial is {orders['standing']}")
    for reason in orders["past"]:
        say(f"a former trial: {reason}")
    if orders["learned"] is not None and orders["on_trial"] is None:
        say("sessions with Policy(costs='compare') try what they learn beside what is served")


def _show_settings(proposal: dict[str, Any], say: Any) -> None:
    say()
    say(f"{'cost setting':<22}{'now':>10}{'proposed':>10}{'learned >':>10}{'<':>10}")
    for each in proposal["settings"]:
        say(
            f"{each['name']:<22}{each['present']:>10.4g}{each['proposed']:>10.4g}"
            f"{each['low']:>10.4g}{each['high']:>10.4g}"
        )
    q_error, rank = proposal["q_error"], proposal["rank_correlation"]
    say(
        f"{proposal['scans']} scans of {proposal['templates']} templates; of left-out ones, q-error "
        f"{q_error[0]:.2f} → {q_error[1]:.2f}, rank correlation of cost and time {rank[0]:.2f} → "
        f"{rank[1]:.2f}"
    )
    if proposal["recommended"]:
        say("worth a try in a session, with the statements that matter (effective_cache_size stays):")
        for statement in proposal["sql"]:
            say(f"  {statement}")
    else:
        say(f"nothing is proposed: {proposal['reason']}")
