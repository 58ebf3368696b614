"""A database to steer on, and an Optimizer that always steers: what is tested is not whether that pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from godb_fast.core import Decision, Steering
from godb_fast.engines.base import Engine, EngineResult, Parameters
from godb_fast.optimizer import Optimizer, Prepared, Scope
from godb_fast.sql import fingerprint
from godb_fast.worth import best_gain_ms

SETUP = """
CREATE TABLE account AS SELECT i AS id, i % 50 AS city FROM generate_series(0, 1999) AS g(i);
CREATE TABLE post AS SELECT i AS id, (i * 7919) % 2000 AS account, CASE WHEN i % 10 < 9 THEN 'open' ELSE 'k' || (i % 97) END AS state
  FROM generate_series(0, 5999) AS g(i);
CREATE TABLE vote AS SELECT i AS id, (i * 31) % 6000 AS post, i % 5 AS kind FROM generate_series(0, 9999) AS g(i);
ANALYZE;
"""
#: With places for a number, a text and a number in the driver's style.
QUERY = (
    "SELECT a.city, count(*) AS votes, min(p.id) AS least FROM account a, post p, vote v WHERE p.account = a.id "
    "AND v.post = p.id AND v.kind = {} AND p.state = {} AND a.city < {} GROUP BY a.city ORDER BY a.city"
)
VALUES = (2, "open", 20)


class Eager(Optimizer):
    """Steers every block that can be planned to one of the considered trees.

    ``claimed_ms`` is what it takes the default plan to need, so that a steered run wins or loses as a test
    wants it.
    """

    claimed_ms = 1e4
    #: Which candidate of each block, counted from the last.
    turn = 0

    def saw_default(self, prepared: Prepared, result: EngineResult) -> None:
        """The default plan is as slow as is claimed."""
        super().saw_default(prepared, replace(result, latency_ms=self.claimed_ms))

    def decide(
        self, engine: Engine, scope: Scope, sql: str, params: Parameters = None, **options: Any
    ) -> Prepared:
        """The usual decision, turned into one that steers."""
        found = super().decide(engine, scope, sql, params, **options)
        known = found.known
        if known is None or found.decision.steering or not found.decision.candidates:
            return found
        by_block: dict[int, list[Any]] = {}
        for entry in found.decision.candidates:
            by_block.setdefault(entry.block, []).append(entry.plan.tree())
        trees = {block: plans[-1 - self.turn % len(plans)] for block, plans in by_block.items()}
        steering = Steering(join_trees=tuple(trees.items()))
        if steering.key in known.quarantine:
            return found
        rendered = engine.render(known.template, found.literals, steering, params)
        decision = replace(
            Decision(found.decision.fingerprint, rendered.sql, reason="eager", engine=engine.name),
            steering=steering,
            action="steer",
            candidates=found.decision.candidates,
        )
        return Prepared(decision, rendered, known, found.bucket, found.literals, params)


def verify(optimizer: Eager, url: str, sql: str, params: Parameters) -> None:
    """Let a session run a steering until it is verified."""
    with optimizer.session(url, mode="steer") as session:
        # Row counts reach the server's statistics when they do, so that candidates differ from run to run: of
        # some trees no plan tells whether it was followed, and then another one is steered to.
        for number in range(48):
            optimizer.turn = number // 8
            session.execute(sql, params)
            if any(best_gain_ms(known) for known in optimizer.known_templates(fingerprint(sql, "postgres"))):
                return
    raise AssertionError(f"not verified: {optimizer.counters}")
