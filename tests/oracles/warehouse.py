"""A star of tables under statistics written by hand, and a template that joins them."""

from __future__ import annotations

import numpy as np
from oracles.hand_built import block, template

from godb_fast.core import ColumnKind, ColumnStatistics, Comparison, Slot
from godb_fast.errors import MissingStatistics
from godb_fast.planning.proposal import TemplatePlanner

#: Rows by table; ``id`` is a key, ``x_id`` points to table x, ``kind`` has 1000 values.
ROWS = {
    "facts": 2_000_000.0,
    "a": 100_000.0,
    "b": 50_000.0,
    "c": 20_000.0,
    "small": 10.0,
    "notes": 1_000_000.0,
}


class Warehouse:
    epoch = "1"

    def __init__(self, rows=ROWS):
        self._rows = rows

    def rows(self, table):
        if table not in self._rows:
            raise MissingStatistics(f"no table {table!r}")
        return self._rows[table]

    def column(self, table, column):
        rows = self.rows(table)
        if column == "id":
            return ColumnStatistics(ColumnKind.NUMBER, rows, minimum=0.0, maximum=rows, unique=True)
        if column.endswith("_id"):
            distinct = min(self._rows[column[:-3]], rows)
            return ColumnStatistics(ColumnKind.NUMBER, distinct, minimum=0.0, maximum=distinct)
        if column == "kind":
            return ColumnStatistics(
                ColumnKind.NUMBER, 1000.0, minimum=0.0, maximum=999.0,
                common_values=(0.0,), common_shares=np.array([0.5]),
            )  # fmt: skip
        return None


STAR = {
    "f": ("facts", "a_id b_id c_id"),
    "a": ("a", "id kind"),
    "b": ("b", "id kind"),
    "c": ("c", "id kind"),
}
JOINS = ["f.a_id = a.id", "f.b_id = b.id", "f.c_id = c.id"]


def kind_is(alias, operand):
    return lambda column: [Comparison("=", column(f"{alias}.kind"), (operand,))]


def star(**options):
    return block(STAR, JOINS, {"a": kind_is("a", Slot(0)), "b": kind_is("b", Slot(1))}, **options)


def planner(*blocks, statistics=None, slots=("integer", "integer"), **options):
    plan = template(*blocks, slots=slots)
    return TemplatePlanner(plan, statistics or Warehouse(), **options)


#: The unfiltered dimension first: the whole of facts is probed twice.
BAD = (((0, 3), 2), 1)
