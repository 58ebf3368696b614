"""From observations to better estimates: what executions showed of sub-plans corrects the next estimates.

:mod:`shapes` hashes sub-plans, :mod:`evidence` keeps what was seen of each shape, :mod:`corrections` turns it
into corrected estimates, :mod:`blocks` asks them about a block, :mod:`collector` reads complete row counts
out of executed plans, :mod:`templates` brings both to a template's planner.
"""

from godb_fast.feedback.blocks import BlockShape
from godb_fast.feedback.collector import ExecutionFeedbackCollector, SubplanRows, subplan_rows
from godb_fast.feedback.corrections import Corrected, Corrections, SubplanQuery, Tuning
from godb_fast.feedback.shapes import Edge, QueryShape
from godb_fast.feedback.templates import Shown, TemplateFeedback

__all__ = [
    "BlockShape",
    "Corrected",
    "Corrections",
    "Edge",
    "ExecutionFeedbackCollector",
    "QueryShape",
    "Shown",
    "SubplanQuery",
    "SubplanRows",
    "TemplateFeedback",
    "Tuning",
    "subplan_rows",
]
