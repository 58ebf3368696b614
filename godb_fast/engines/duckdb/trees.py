"""Join trees in DuckDB's plans: which tree a plan runs, and whether it is the one that was asked for."""

from __future__ import annotations

from godb_fast.core import JoinTree, PhysicalPlan, Steering, Template


def default_trees(template: Template, plan: PhysicalPlan) -> dict[int, JoinTree]:
    """Join tree per block, for the blocks where it can be told."""
    return {}


def obeyed(template: Template, steering: Steering, plan: PhysicalPlan) -> bool | None:
    """Whether a plan follows the steering's join trees; None if that cannot be told."""
    return None
