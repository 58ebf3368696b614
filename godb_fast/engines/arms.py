"""What an arm is: session settings worth trying on a statement, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from godb_fast.core import PhysicalPlan

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Arm:
    """Settings under which a statement may get a better plan.

    Parameters
    ----------
    name : str
        The same for every statement: what is learned of an arm is learned under its name.
    settings : tuple of (str, str)
    traits : frozenset of str
        What of the default plan makes it worth trying, any of them (see :func:`traits`); empty: always.
    joins : int
        The least number of joins in the default plan.
    at_run_time : bool
        The settings also work while the statement runs: equal plans do not run equally fast.
    first : bool
        It has paid more often than others wherever it was tried: tried before anything is known.
    """

    name: str
    settings: Settings
    traits: frozenset[str] = frozenset()
    joins: int = 0
    at_run_time: bool = False
    first: bool = False


def traits(plan: PhysicalPlan) -> frozenset[str]:
    """Operators of a plan, such as ``Hash Join``; with their strategy where they have one.

    ``Aggregate:Hashed`` besides ``Aggregate``; ``JIT`` where the plan would be compiled.
    """
    found: set[str] = set()
    for node in plan.root.walk():
        found.add(node.operator)
        strategy = node.extra.get("Strategy")
        if strategy:
            found.add(f"{node.operator}:{strategy}")
    if "JIT" in plan.root.extra:
        found.add("JIT")
    return frozenset(found)


def joins(plan: PhysicalPlan) -> int:
    """Number of joins in a plan."""
    return sum(node.kind in ("join", "cross_product") for node in plan.root.walk())


def worth_trying(arms: Iterable[Arm], plan: PhysicalPlan) -> tuple[Arm, ...]:
    """The arms that can change this plan."""
    has, count = traits(plan), joins(plan)
    return tuple(arm for arm in arms if count >= arm.joins and (not arm.traits or arm.traits & has))
