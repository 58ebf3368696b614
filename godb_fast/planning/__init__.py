"""The traditional optimizer: blocks become graphs, statistics and literals become rows, rows become plans.

``search`` needs nothing but a :class:`~godb_fast.core.QueryGraph` and row estimates, and numpy. The path
from literals to a proposal is ``domains`` (a literal as a value of a column's domain), ``distribution`` (one
column), ``comparisons`` and ``selectivity`` (the filters of a relation), ``joins`` (column against column),
``scenarios`` (K assumptions side by side), ``estimation`` (the rows of a block), ``assessing`` and ``choice``
(candidates, and which of them), all tied together in ``proposal``.
"""
