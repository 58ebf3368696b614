"""The benchmark of multiplying joins: its data is as hot as it says, and its queries have forms."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.common import Report
from benchmarks.multiplying import QUERIES, Tables, compare, duckdb_site, forms, site

ROWS = {"posts": 900, "comments": 3_000, "votes": 1_500}


@pytest.mark.parametrize("share", [0.005, 0.029])
def test_the_heaviest_user_has_that_share(share: float) -> None:
    keys = site(share, {"posts": 10, "comments": 100_000, "votes": 10}, 20_000, 1)["comments"]["user_id"]
    assert np.bincount(keys).max() / len(keys) == pytest.approx(share, rel=0.25)


def test_every_query_has_forms_with_the_same_rows() -> None:
    report = Report("multiplying")
    with duckdb_site(site(0.029, ROWS, 400, 1), "") as here:
        compare(here, "small", 1, report)
    assert len(report.rows) == len(QUERIES)
    assert not report.broken
    for sql in QUERIES.values():
        assert forms(sql, Tables("integer"), "postgres")
