"""The model on queries of templates that it never saw, and the price of risk."""

from __future__ import annotations

import math

import numpy as np
import pytest
from learning.choices import drawn

from godb_fast.errors import InvalidInput
from godb_fast.learning.encoding import TermEncoder
from godb_fast.learning.pricing import (
    Calibration,
    calibrated,
    foreign_risks,
    ranked_first,
    safe_price,
    savings,
    scores,
    select,
)
from godb_fast.learning.terms import QueryTerms
from godb_fast.learning.transfer import KERNELS, TransferModel


def split(name="t5", **settings):
    queries, names, ratios, default = drawn(**settings)
    own = np.array(names) == name
    train = [number for number in range(len(own)) if not own[number]]
    test = [number for number in range(len(own)) if own[number]]
    return (
        ([queries[i] for i in train], [names[i] for i in train], ratios[train], default[train]),
        ([queries[i] for i in test], ratios[test], default[test]),
    )


def test_it_knows_which_queries_of_a_new_template_an_arm_helps():
    train, (queries, ratios, default) = split()
    found = TransferModel.fit(*train).predict(queries)
    assert np.corrcoef(found.mean[:, 1], ratios[:, 1])[0, 1] > 0.9
    assert np.corrcoef(found.log_default, default)[0, 1] > 0.9
    chosen = ranked_first(found)
    taken = ratios[np.arange(len(chosen)), chosen].mean()
    static = ratios[:, train[2].mean(axis=0).argmin()].mean()
    assert taken < static - 0.2
    assert (found.mean[:, 0] == 0.0).all()


def test_a_held_out_prediction_is_that_of_a_model_without_the_template():
    (queries, names, ratios, default), _ = split(noise=0.3)
    kernel = KERNELS[2:3]
    full = TransferModel.fit(queries, names, ratios, default, kernel)
    own = np.array(names) == "t2"
    rest = [number for number in range(len(own)) if not own[number]]
    # The encoder knows the whole; only the process leaves the template out.
    encoder = TermEncoder.of(queries)
    structure, values = encoder.encode(queries)
    assert structure.shape[0] == values.shape[0] == len(queries)
    without = TransferModel.fit(
        [queries[i] for i in rest], [names[i] for i in rest], ratios[rest], default[rest], kernel
    )
    again = without.predict([queries[i] for i in np.nonzero(own)[0]])
    assert np.corrcoef(again.mean[:, 1], full.held_out.mean[own, 1])[0, 1] > 0.98
    assert np.abs(again.mean - full.held_out.mean[own]).max() < 0.35


def test_uncertainty_is_as_large_as_errors_are():
    (queries, names, ratios, default), _ = split(noise=0.3)
    model = TransferModel.fit(queries, names, ratios, default)
    standing = (ratios - model.held_out.mean)[:, 1:] / model.held_out.scale[:, 1:]
    assert 0.7 < np.sqrt((standing**2).mean()) < 1.4
    strange = [QueryTerms({"table other": 4.0, "join other.a = other.b": 3.0}, {})]
    assert model.predict(strange).scale[0, 1] > model.held_out.scale[:, 1].max()


def test_absent_columns_are_the_average_and_rare_values_have_no_place():
    queries = [
        QueryTerms({"table a": 1.0}, {"value a.x#01": 1.0, "least a.y": float(number)}) for number in range(6)
    ]
    queries[0] = QueryTerms({"table a": 1.0}, {"value a.x#02": 1.0})
    encoder = TermEncoder.of(queries, least=5)
    assert encoder.values == ("least a.y", "value a.x#01")
    _, values = encoder.encode([*queries, QueryTerms({}, {})])
    assert values[0, 0] == values[-1].max() == values[-1].min() == 0.0
    assert np.abs(values[1:6, 0].mean()) < 1e-12
    assert np.isclose(values[1:6, 0].std(), 0.7)
    assert values[0, 1] < 0.0 < values[1, 1]


def calibration(**settings):
    (queries, names, ratios, default), test = split(**settings)
    model = TransferModel.fit(queries, names, ratios, default)
    alike = [repr(query) for query in queries]
    return model, Calibration(model.held_out, ratios, names, ["c"] * len(names), alike), test


def test_a_price_keeps_harm_on_new_templates_within_the_share_and_still_gains():
    harmed, gained = [], []
    for seed in range(8):
        model, known, (queries, ratios, _) = calibration(seed=seed, noise=0.25, templates=9)
        price = safe_price(known, 1.2, 0.05)
        found = model.predict(queries)
        at = (math.log(1.2) - found.mean) / np.where(found.scale > 0, found.scale, 1.0)
        usable = np.sort(known.scores[~np.isnan(known.scores)])
        risk = (1 + len(usable) - np.searchsorted(usable, at, side="right")) / (len(usable) + 1)
        risk[:, 0] = 0.0
        chosen = select(savings(found), risk, price)
        taken = ratios[np.arange(len(chosen)), chosen]
        harmed.append((taken > math.log(1.2)).mean())
        gained.append(taken.mean())
    assert np.mean(harmed) <= 0.05
    assert np.mean(gained) < -0.15


def test_dearer_risk_is_taken_less():
    _, known, _ = calibration(noise=0.4)
    risk, saving = foreign_risks(known, 1.2, enough=30), savings(known.prediction)
    rows = np.arange(len(risk))
    expected = [risk[rows, select(saving, risk, price)].sum() for price in (0.0, 0.1, 1.0, 10.0, math.inf)]
    assert expected == sorted(expected, reverse=True)
    assert expected[-1] == 0.0
    assert (select(saving, risk, math.inf) == 0).all()


def test_a_cluster_speaks_for_a_new_template_only_with_templates_enough():
    _, known, _ = calibration(templates=9)
    names = sorted(set(known.groups))
    two, four = set(names[:2]), set(names[:4])
    plain = foreign_risks(known, 1.2, enough=30)

    def in_cluster(chosen):
        clusters = ["near" if name in chosen else name for name in known.groups]
        return Calibration(known.prediction, known.log_ratio, known.groups, clusters, known.alike)

    assert np.array_equal(foreign_risks(in_cluster(two), 1.2, enough=30), plain)
    narrow = foreign_risks(in_cluster(four), 1.2, enough=30)
    inside = np.array([name in four for name in known.groups])
    assert np.array_equal(narrow[~inside], plain[~inside])
    assert not np.array_equal(narrow[inside], plain[inside])
    assert calibrated(in_cluster(two)).scope(None, "near")[0] == "global"
    assert calibrated(in_cluster(four)).scope(None, "near")[0] == "cluster"
    assert calibrated(known, 0.8).bound(0.0, 1.0).level == 0.8


def test_no_price_is_safe_where_few_templates_look_alike_within():
    (queries, names, ratios, default), _ = split()
    same = [QueryTerms(query.structure, {}) for query in queries]
    model = TransferModel.fit(same, names, ratios, default)
    known = Calibration(model.held_out, ratios, names, ["c"] * len(names), [repr(query) for query in same])
    # Five distinct queries cannot show that fewer than 2 % of further ones come to harm.
    assert safe_price(known, 1.2, 0.02) == math.inf


def test_a_cut_run_counts_as_harm_and_its_score_is_infinite():
    _, known, _ = calibration()
    cut = known.log_ratio.copy()
    chosen = ranked_first(known.prediction)
    row = int(np.nonzero(chosen > 0)[0][0])
    cut[row, chosen[row]] = math.inf
    assert np.isposinf(scores(known.prediction, cut, chosen)[row])
    assert math.isfinite(scores(known.prediction, known.log_ratio, chosen)[row])


def test_bad_input_is_named():
    queries, names, ratios, default = drawn(templates=2, count=5)
    with pytest.raises(InvalidInput, match="several"):
        TransferModel.fit(queries, ["one"] * len(queries), ratios, default)
    with pytest.raises(InvalidInput, match="do not fit"):
        TransferModel.fit(queries, names, ratios[:-1], default)
    with pytest.raises(InvalidInput, match="finite"):
        TransferModel.fit(queries, names, np.where(ratios > 0.5, np.nan, ratios), default)
    with pytest.raises(InvalidInput, match="no kernel"):
        TransferModel.fit(queries, names, ratios, default, ())
    with pytest.raises(InvalidInput, match="sample"):
        TransferModel.fit(queries * 500, names * 500, np.tile(ratios, (500, 1)), np.tile(default, 500))
    model = TransferModel.fit(queries, names, ratios, default)
    with pytest.raises(InvalidInput, match="need a group"):
        Calibration(model.held_out, ratios, names[1:], names, names)
