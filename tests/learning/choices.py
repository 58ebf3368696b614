"""Queries whose literals, not whose templates, decide which arm is good."""

from __future__ import annotations

import numpy as np

from godb_fast.learning.terms import QueryTerms


def drawn(seed=1, templates=6, count=40, arms=4, noise=0.1):
    """Terms, templates, log ratios and log default times.

    Arm 1 helps where a list of values is long and harms where it is short, arm 2 always harms, arm 3 helps a
    little. The default is slow where the list is long.
    """
    rng = np.random.default_rng(seed)
    queries, names, ratios, default = [], [], [], []
    for template in range(templates):
        structure = {"table fact": 1.0, "table dim": 1.0 + template % 3, f"filter dim.c{template} =": 1.0}
        shift = rng.normal(0.0, 0.1)
        for _ in range(count):
            size = rng.integers(1, 9)
            chosen = rng.permutation(8)[:size]
            values = {f"value fact.kind#{number:02x}": 1.0 for number in chosen}
            values["values fact.kind"] = float(np.log1p(size))
            queries.append(QueryTerms(structure, values))
            names.append(f"t{template}")
            long = (size - 4.5) / 3.5
            default.append(long + shift + rng.normal(0.0, noise))
            ratios.append(np.array([0.0, -1.2 * long, 0.9, -0.1][:arms]) + shift)
            ratios[-1][1:] += rng.normal(0.0, noise, arms - 1)
    return queries, names, np.array(ratios), np.array(default)
