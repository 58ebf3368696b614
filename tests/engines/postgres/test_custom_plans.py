"""A steered statement is planned for the values that it is given, whatever the session forces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from godb_fast.core import PhysicalNode, PhysicalPlan, Steering
from godb_fast.engines.base import Rendered
from godb_fast.engines.postgres import PostgresEngine, borrow
from godb_fast.engines.postgres.arms import arms
from godb_fast.engines.postgres.fence import run_on_cursor

STEERING = Steering(settings=(("enable_mergejoin", "off"),))
BEFORE = ("SET LOCAL enable_mergejoin = 'off'",)
#: A plan for the values folds them, and stumbles over the branch that never runs; one for any values does not.
FOLDED = "SELECT CASE WHEN x < 0 THEN 1 / %s::int ELSE 7 END FROM generate_series(1, 1) AS g(x)"


@pytest.fixture
def raw(postgres_url: str) -> Iterator[Any]:
    with psycopg.connect(postgres_url, autocommit=True) as opened:
        opened.execute("SET plan_cache_mode = force_generic_plan")
        yield opened


def steered(sql: str, params: Any = None) -> Rendered:
    return Rendered(sql, params, before=BEFORE, steering=STEERING)


@pytest.mark.parametrize("transaction", [False, True], ids=["alone", "transaction"])
def test_a_session_that_forces_generic_plans(raw: Any, transaction: bool) -> None:
    engine = borrow(raw)
    with raw.transaction() if transaction else raw.cursor():
        assert engine.run(Rendered(FOLDED, (0,))).rows == [(7,)]
        # So it was planned for the zero.
        with pytest.raises(Exception, match="division by zero"):
            engine.run(steered(FOLDED, (0,)))
        assert engine.run(steered(FOLDED, (1,))).rows == [(7,)]
        assert raw.execute("SHOW plan_cache_mode").fetchone() == ("force_generic_plan",)
    cursor = raw.cursor()
    with pytest.raises(psycopg.errors.DivisionByZero):
        run_on_cursor(raw, raw, cursor, steered(FOLDED, (0,)))
    run_on_cursor(raw, raw, cursor, steered("SELECT current_setting('plan_cache_mode'), %s", (1,)))
    assert cursor.fetchall() == [("force_custom_plan", 1)]
    assert raw.execute("SHOW plan_cache_mode").fetchone() == ("force_generic_plan",)


def test_without_values_the_setting_stays(raw: Any) -> None:
    shown = borrow(raw).run(steered("SELECT current_setting('plan_cache_mode')"))
    assert shown.rows == [("force_generic_plan",)]


def test_it_is_an_arm_where_generic_plans_are_forced(raw: Any) -> None:
    plan = PhysicalPlan(PhysicalNode("Result"), "postgresql", "explain")

    def names() -> set[str]:
        return {arm.name for arm in arms(plan, PostgresEngine.borrow(raw).steering_settings())}

    assert names() == {"custom plans"}
    raw.execute("RESET plan_cache_mode")
    assert names() == set()
