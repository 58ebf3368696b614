"""Frozen data that all rooms share: validated once, here at the door, and trusted afterwards.

Nothing in this room knows SQL, engines or models; with numpy alone it serves engine builders too.
"""

from godb_fast.core.choice import Bound, SupportVerdict
from godb_fast.core.cost_model import C_OUT, OPERATORS, CostModel
from godb_fast.core.decision import Candidate, Decision, LateDecision, LazyCandidates
from godb_fast.core.estimates import RowEstimates
from godb_fast.core.graph import JoinKind, JoinOperator, QueryGraph
from godb_fast.core.observation import Observation
from godb_fast.core.physical import PhysicalNode, PhysicalPlan
from godb_fast.core.plan import PLAN_NODE, Plan, PlanOperator
from godb_fast.core.predicates import (
    And,
    ColumnRef,
    Comparison,
    Constant,
    JoinPredicate,
    Not,
    Opaque,
    Or,
    Predicate,
    Slot,
)
from godb_fast.core.rewrite import Guard, Rewrite
from godb_fast.core.schema import Schema, Table
from godb_fast.core.statistics import (
    ColumnKind,
    ColumnStatistics,
    HasJointStatistics,
    JointStatistics,
    Statistics,
)
from godb_fast.core.steering import NO_STEERING, JoinTree, Steering
from godb_fast.core.template import Block, Cut, LiteralSlot, Relation, Segments, Template

__all__ = [
    "C_OUT",
    "NO_STEERING",
    "OPERATORS",
    "PLAN_NODE",
    "And",
    "Block",
    "Bound",
    "Candidate",
    "ColumnKind",
    "ColumnRef",
    "ColumnStatistics",
    "Comparison",
    "Constant",
    "CostModel",
    "Cut",
    "Decision",
    "Guard",
    "HasJointStatistics",
    "JoinKind",
    "JoinOperator",
    "JoinPredicate",
    "JoinTree",
    "JointStatistics",
    "LateDecision",
    "LazyCandidates",
    "LiteralSlot",
    "Not",
    "Observation",
    "Opaque",
    "Or",
    "PhysicalNode",
    "PhysicalPlan",
    "Plan",
    "PlanOperator",
    "Predicate",
    "QueryGraph",
    "Relation",
    "Rewrite",
    "RowEstimates",
    "Schema",
    "Segments",
    "Slot",
    "Statistics",
    "Steering",
    "SupportVerdict",
    "Table",
    "Template",
]
