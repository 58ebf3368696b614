"""What can be tried on one query: the engine's arms and join trees of ours, one per distinct plan.

Each is explained as it will be sent. A candidate's ``digest`` is that of its plan, with the settings that
work at run time, so that equal digests mean equal executions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from godb_fast.core import NO_STEERING, PhysicalPlan, Plan, Steering
from godb_fast.engines.base import Engine, ExplainsSteered, HasArms, KeepsComments, Rendered, offers
from godb_fast.errors import ConnectionFailed, EngineError, InvalidInput
from godb_fast.exploring.subjects import Subject
from godb_fast.feedback import TemplateFeedback
from godb_fast.learning.physical import plan_vector
from godb_fast.learning.pipelines import packed
from godb_fast.learning.reordered import Joins, reordered
from godb_fast.rewriting import rewrites
from godb_fast.sql.cut import widened

#: The engine may plan a candidate for this long.
EXPLAIN_LIMIT_S: Final = 2.0
#: Further arms with their steerings, given the digest of the default plan.
More = Callable[[str], Iterable[tuple[str, Steering]]]
DEFAULT_ARM: Final = "default"


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to run one query; ``arm`` is its name, the same for all queries.

    ``cost`` is the engine's own estimate; between candidates under other settings it says nothing. ``rows``
    are estimated to be handed on by the operators of its plan, for engines that tell no cost. ``first`` says
    that it is worth a run before anything is known. ``trees`` asks for the join trees of the default.
    ``plan`` is the engine's, as explained; ``described`` its vector where EXPLAIN does not tell it.
    """

    arm: str
    steering: Steering
    rendered: Rendered
    digest: str
    cost: float | None = None
    rows: float = 0.0
    first: bool = False
    trees: Steering = NO_STEERING
    plan: PhysicalPlan | None = None
    described: NDArray[np.float64] | None = None

    @cached_property
    def vector(self) -> NDArray[np.float64]:
        """What a ranker reads of it (:mod:`godb_fast.learning.physical`)."""
        if self.described is not None:
            return self.described
        assert self.plan is not None
        return plan_vector(self.plan)

    @cached_property
    def pipelines(self) -> NDArray[np.float64] | None:
        """What a latency model reads of it (:mod:`godb_fast.learning.pipelines`), where EXPLAIN tells it."""
        return None if self.described is not None or self.plan is None else packed(self.plan)

    @property
    def rewritten(self) -> bool:
        """Its text asks for the answer in other words: it has to be compared before it is believed."""
        return bool(self.steering.rewrites)


def rendered(engine: Engine, subject: Subject, steering: Steering) -> Rendered:
    """A query under a steering, as it is sent; its text stays as it is where only settings are asked for.

    Raises
    ------
    InvalidInput
        If the steering does not fit the query or this connection.
    """
    query = subject.query
    return render_for(engine, subject.template, subject.literals, query.sql, query.params, steering)


def render_for(
    engine: Engine, template: Any, literals: tuple[Any, ...], sql: str, params: Any, steering: Steering
) -> Rendered:
    """The same, for whoever holds a query in other pieces."""
    if not steering:
        return Rendered(sql, params)
    if not (steering.join_trees or steering.rewrites or steering.hints) and offers(engine, HasArms):
        under, cut = cast("HasArms", engine).under, template.cut
        if cut is None:
            return under(sql, params, steering)
        return replace(under(widened(sql, engine.dialect, cut), params, steering), cut=cut)
    if template.order_sensitive is not None:
        raise InvalidInput(template.order_sensitive)
    sent = engine.render(template, literals, steering, params)
    return cast("KeepsComments", engine).with_comments(sent, sql) if offers(engine, KeepsComments) else sent


def candidates(
    engine: Engine,
    subject: Subject,
    more: More | None = None,
    feedback: TemplateFeedback | None = None,
) -> dict[str, Candidate]:
    """Candidates by arm, the default first; those whose plan another has already are left out.

    ``more`` names further ones, given the digest of the default plan; ``feedback`` knows what executions
    showed of the subject's template.

    Raises
    ------
    EngineError
        If the engine refuses the query itself.
    """
    query = subject.query
    plan = engine.explain(query.sql, query.params, timeout_s=EXPLAIN_LIMIT_S)
    digest = plan.digest()
    found = {
        DEFAULT_ARM: Candidate(
            DEFAULT_ARM,
            Steering(),
            Rendered(query.sql, query.params),
            digest,
            plan.total_cost,
            plan.handed_on(),
            trees=_own_trees(engine, subject, plan),
            plan=plan,
        )
    }
    if not isinstance(engine, ExplainsSteered):
        return found
    others = [(arm, steering, "", False) for arm, steering in more(digest)] if more is not None else []
    asked = [Steering()]
    proposed = _proposed(engine, subject, plan, feedback)
    joins = None if engine.capabilities.estimates_imposed else _Joined(engine, subject, feedback)
    for arm, steering, at_run_time, first in chain(proposed, others):
        if steering not in asked:
            asked.append(steering)
            _add(found, engine, subject, arm, steering, at_run_time, first, joins)
    for arm, steering in _combined(engine, plan, found):
        if steering not in asked:
            _add(found, engine, subject, arm, steering)
    return found


def _add(
    found: dict[str, Candidate],
    engine: Any,
    subject: Subject,
    arm: str,
    steering: Steering,
    at_run_time: str = "",
    first: bool = False,
    joined: _Joined | None = None,
) -> None:
    """Add a candidate, unless another one has its plan, or it cannot be asked for here."""
    try:
        sent = rendered(engine, subject, steering)
        planned = engine.explain_steered(sent, timeout_s=EXPLAIN_LIMIT_S)
    except ConnectionFailed:
        raise
    except (InvalidInput, EngineError):
        # Also where it takes too long to plan: not worth a run.
        return
    digest = planned.digest() + (f"/{at_run_time}" if at_run_time else "")
    if any(digest == entry.digest for entry in found.values()):
        return
    if steering.join_trees and (
        engine.obeyed(subject.template, steering, planned, subject.literals) is False
    ):
        return
    cost, rows = planned.total_cost, planned.handed_on()
    own, described = found[DEFAULT_ARM], None
    if joined is not None and steering.join_trees and own.plan is not None:
        described = reordered(own.vector, joined.by(own.plan), joined.by(planned))
    found[arm] = Candidate(arm, steering, sent, digest, cost, rows, first, plan=planned, described=described)


class _Joined:
    """Our estimates of the joins of whole plans of one query, by the rows that executions showed."""

    def __init__(self, engine: Engine, subject: Subject, feedback: TemplateFeedback | None) -> None:
        self._engine = engine
        self._subject = subject
        self._feedback = feedback
        self._known: dict[str, Joins] = {}

    def by(self, plan: PhysicalPlan) -> Joins:
        """The joins of a plan, of the blocks where it tells its join tree."""
        digest = plan.digest()
        found = self._known.get(digest)
        if found is None:
            found = self._known[digest] = self._estimated(plan)
        return found

    def _estimated(self, plan: PhysicalPlan) -> Joins:
        subject, planner = self._subject, self._subject.planner
        if planner is None:
            return {}
        literals, params = subject.literals, subject.query.params
        trees = self._engine.default_trees(subject.template, plan, literals)
        corrected = {}
        if self._feedback is not None:
            corrected = self._feedback.corrected(literals, params, planner.own_plans(trees))
        proposal = planner.propose(literals, params, trees, corrected=corrected)
        assessed = {block.index: block.assessment for block in proposal.blocks}
        return {
            index: assessment.plans[assessment.which[-1]]
            for index, assessment in assessed.items()
            if assessment.which[-1] >= 0
        }


def _combined(
    engine: Engine, plan: PhysicalPlan, found: dict[str, Candidate]
) -> Iterator[tuple[str, Steering]]:
    """The rewrite that the engine estimates to be the cheapest, under the arms that come first.

    A rewrite that pays has a plan of its own, whose estimates may be as wrong as those of the original.
    """
    own = found[DEFAULT_ARM].cost
    rewritten = [entry for entry in found.values() if entry.rewritten and entry.cost is not None]
    if own is None or not rewritten or not isinstance(engine, HasArms):
        return
    best = min(rewritten, key=lambda entry: entry.cost or 0.0)
    if best.cost is None or best.cost > own:
        return
    for arm in engine.arms(plan):
        if arm.first:
            yield f"{best.arm}, {arm.name}", replace(best.steering, settings=arm.settings)


def _proposed(
    engine: Engine, subject: Subject, plan: PhysicalPlan, feedback: TemplateFeedback | None
) -> Iterator[tuple[str, Steering, str, bool]]:
    """Arm, steering, what of its settings works at run time, and whether it comes first."""
    if isinstance(engine, HasArms):
        for arm in engine.arms(plan):
            run_time = ",".join(f"{name}={value}" for name, value in arm.settings) if arm.at_run_time else ""
            yield arm.name, Steering(settings=arm.settings), run_time, arm.first
    for rewrite in rewrites(subject.template, engine.schema()):
        yield f"rewrite {rewrite.name}", Steering(rewrites=(rewrite.name,)), "", False
    for name, steering in _join_trees(engine, subject, plan, feedback):
        yield name, steering, "", False


def _own_trees(engine: Engine, subject: Subject, plan: PhysicalPlan) -> Steering:
    """What asks for the join trees of the engine's own plan."""
    if subject.planner is None:
        return NO_STEERING
    trees = engine.default_trees(subject.template, plan, subject.literals)
    return Steering(
        join_trees=tuple(sorted((at, tree) for at, tree in trees.items() if isinstance(tree, tuple)))
    )


def _join_trees(
    engine: Engine, subject: Subject, plan: PhysicalPlan, feedback: TemplateFeedback | None
) -> Iterator[tuple[str, Steering]]:
    """Our cheapest plan under each scenario, by the rows that executions showed where they did."""
    planner = subject.planner
    if planner is None:
        return
    own = engine.default_trees(subject.template, plan, subject.literals)
    literals, params = subject.literals, subject.query.params
    corrected = {} if feedback is None else feedback.corrected(literals, params, planner.own_plans(own))
    proposal = planner.propose(literals, params, own, corrected=corrected)
    for lane, scenario in enumerate(planner.scenarios):
        trees = {}
        for block in proposal.blocks:
            *lanes, default = block.assessment.which
            if lane < len(lanes) and lanes[lane] != default:
                trees[block.index] = Plan(block.relations, block.assessment.plans[lanes[lane]]).tree()
        if not trees:
            continue
        if engine.capabilities.whole:
            trees = {**own, **trees}
            joined = {entry.index for entry in subject.template.plannable}
            if not joined <= set(trees):
                # The joins of the others would be taken as they are written.
                continue
        named = sorted((index, tree) for index, tree in trees.items() if isinstance(tree, tuple))
        yield f"join tree, {scenario}", Steering(join_trees=tuple(named))
