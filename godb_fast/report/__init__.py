"""What a person reads: the interleaved comparison of our plans with the engine's own.

``compare`` runs it, ``summarize`` says what it shows, ``render`` prints it.
"""

from godb_fast.evidence.answers import Answer, difference
from godb_fast.report.comparison import Comparison, Query, QueryRuns, Settings, compare
from godb_fast.report.summary import Summary, TemplateRow, summarize, to_dict

__all__ = [
    "Answer",
    "Comparison",
    "Query",
    "QueryRuns",
    "Settings",
    "Summary",
    "TemplateRow",
    "compare",
    "difference",
    "summarize",
    "to_dict",
]
