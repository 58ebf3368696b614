"""Forests on every backend against onnxruntime, which reads the same files, and scikit-learn, which wrote them."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning.models.making import card_of, ensemble, file_of, fitted, model_of, onnx

from godb_fast import backend as backends
from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.learning.models import Model, ModelFile, PredictionCache
from godb_fast.learning.models.forest import flatten

LOADED = [name for name in backends.BACKENDS if backends.why_unavailable(name) is None]


def grown(source: random.Random, columns: int, most: int) -> list[tuple]:
    """A random tree of unbalanced shape, its thresholds on the grid that the rows lie on."""
    nodes: list[tuple] = [("LEAF", source.uniform(-2, 2))]
    for _ in range(source.randrange(most)):
        at = source.choice([number for number, node in enumerate(nodes) if node[0] == "LEAF"])
        mode = source.choice(["BRANCH_LEQ", "BRANCH_LEQ", "BRANCH_LT"])
        nodes[at] = (mode, source.randrange(columns), source.randrange(-3, 4), len(nodes), len(nodes) + 1)
        nodes += [("LEAF", source.uniform(-2, 2)), ("LEAF", source.uniform(-2, 2))]
    return nodes


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 20), st.booleans())
def test_random_forests_on_all_backends_and_onnxruntime(
    source: random.Random, trees: int, missing_true: bool
) -> None:
    columns = source.randrange(1, 4)
    node = ensemble([grown(source, columns, 12) for _ in range(trees)], missing_true, base_values=[0.25])
    file = file_of(model_of([node], columns), columns, missing="tracked")
    choices = [float(value) for value in range(-4, 5)] + [float("nan"), float("inf"), -float("inf"), 0.1]
    rows = np.array([[source.choice(choices) for _ in range(columns)] for _ in range(9)])
    found = [Model(file, server="native", backend=name).predict(rows) for name in LOADED]
    assert len({each.tobytes() for each in found}) == 1
    np.testing.assert_allclose(found[0], Model(file, server="onnxruntime").predict(rows), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_scikit_learn_s_own_answers(kind: str) -> None:
    estimator, file = fitted(kind, trees=60)
    rows = np.random.default_rng(1).normal(size=(500, 5)).astype(np.float32).astype(np.float64)
    truth = estimator.predict_proba(rows)[:, 1] if kind == "classifier" else estimator.predict(rows)
    for how in [{"server": "onnxruntime"}, *({"backend": name} for name in LOADED)]:
        model = Model(file, **how)
        assert model.server == ("onnxruntime" if "server" in how else f"native ({how['backend']})")
        # Sums of float32 in onnxruntime, of float64 in ours.
        np.testing.assert_allclose(model.predict(rows), truth, rtol=1e-5)


def test_many_rows_in_parts_and_many_threads_at_once() -> None:
    _, file = fitted()
    rows = np.random.default_rng(2).normal(size=(1000, 5))
    for how in ({"server": "onnxruntime"}, {"server": "native"}):
        model = Model(file, **how)
        one_by_one = np.concatenate([model.predict(row[None]) for row in rows])
        assert (model.predict(rows) == one_by_one).all()
        wrong: list[int] = []

        def ask(
            part: int, model: Model = model, expected: np.ndarray = one_by_one, wrong: list[int] = wrong
        ) -> None:
            for at in range(part, len(rows) - 16, 4):
                if not (model.predict(rows[at : at + 16]) == expected[at : at + 16]).all():
                    wrong.append(at)

        threads = [threading.Thread(target=ask, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_nan_is_refused_unless_the_model_tracks_it() -> None:
    node = ensemble([[("BRANCH_LEQ", 1, 0.0, 1, 2), ("LEAF", 1.0), ("LEAF", 2.0)]])
    data = model_of([node], 2).SerializeToString()
    rows = np.array([[np.nan, 5.0], [0.0, np.nan]])
    for how in ({"server": "onnxruntime"}, *({"backend": name} for name in LOADED)):
        refusing = Model(ModelFile.of(card_of(data, 2), data), **how)
        with pytest.raises(InvalidInput, match="takes no NaN; there are 2 in column_0, column_1"):
            refusing.predict(rows)
        assert refusing.predict([[np.inf, np.inf]]).tolist() == [2.0]
        tracking = Model(ModelFile.of(card_of(data, 2, missing="tracked"), data), **how)
        assert tracking.predict(rows).tolist() == [2.0, 2.0]


def test_rows_of_another_shape_are_refused() -> None:
    model = Model(fitted()[1])
    for rows in (np.zeros(5), np.zeros((1, 4)), np.zeros((1, 5, 1))):
        with pytest.raises(InvalidInput, match="takes rows of 5 columns"):
            model.predict(rows)
    with pytest.raises(InvalidInput, match="out has shape"):
        model.predict(np.zeros((2, 5)), out=np.zeros(3))
    with pytest.raises(InvalidInput, match="server is 'gpu'"):
        Model(fitted()[1], server="gpu")
    assert model.predict(np.zeros((0, 5))).shape == (0,)
    # Not of our type, not contiguous: converted.
    rows = np.arange(20, dtype=np.float32).reshape(5, 4).T
    assert (model.predict(rows) == model.predict(np.ascontiguousarray(rows, np.float64))).all()


LEAF = ("LEAF", 1.0)


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ([("BRANCH_LEQ", 0, 0.0, 1, 1), LEAF], "two parents"),
        ([("BRANCH_LEQ", 0, 0.0, 0, 1), LEAF], "two parents"),
        ([("BRANCH_LEQ", 0, 0.0, 1, 9), LEAF, LEAF], "outside its tree"),
        ([("BRANCH_LEQ", 0, 0.0, -1, 1), LEAF], "outside its tree"),
        ([("BRANCH_LEQ", 7, 0.0, 1, 2), LEAF, LEAF], "beyond its 2"),
        ([("BRANCH_LEQ", -1, 0.0, 1, 2), LEAF, LEAF], "beyond its 2"),
        ([("BRANCH_LEQ", 0, float("nan"), 1, 2), LEAF, LEAF], "no finite number"),
        ([("BRANCH_LEQ", 0, 0.0, 1, 2), LEAF, LEAF, LEAF], "nothing leads to"),
        ([("BRANCH_LEQ", 0, 0.0, 1, 2), LEAF, ("LEAF", float("inf"))], "not finite"),
    ],
)
def test_what_is_no_tree_is_refused_whoever_would_serve_it(tree: list[tuple], why: str) -> None:
    file = file_of(model_of([ensemble([[LEAF], tree])], 2), 2)
    for server in ("auto", "onnxruntime"):
        with pytest.raises(ModelRefused, match=why) as caught:
            Model(file, server=server)
        assert caught.value.reason == "malformed"


def test_a_tree_that_reaches_into_another_is_refused() -> None:
    node = ensemble([[("BRANCH_LEQ", 0, 0.0, 1, 2), LEAF, LEAF], [LEAF]])
    trees = next(each for each in node.attribute if each.name == "nodes_treeids")
    trees.ints[:] = [0, 1, 0, 1]
    with pytest.raises(ModelRefused):
        flatten(file_of(model_of([node], 1), 1).graph)


def test_what_the_kernel_does_not_know_onnxruntime_serves() -> None:
    weights = onnx.numpy_helper.from_array(np.array([[2.0], [3.0]], np.float32), "weights")
    node = onnx.helper.make_node("MatMul", ["features", "weights"], ["variable"])
    file = file_of(model_of([node], 2, [weights]), 2)
    model = Model(file)
    assert model.server == "onnxruntime"
    assert model.predict([[1.0, 1.0], [0.0, 2.0]]).tolist() == [5.0, 6.0]
    with pytest.raises(ModelRefused, match=r"cannot be served natively: .*MatMul") as caught:
        Model(file, server="native")
    assert caught.value.reason == "server"
    mixed = ensemble([[("BRANCH_LEQ", 0, 0.0, 1, 2), LEAF, LEAF], [("BRANCH_GT", 0, 0.0, 1, 2), LEAF, LEAF]])
    assert Model(file_of(model_of([mixed], 1), 1)).server == "onnxruntime"


def test_what_is_known_costs_no_inference() -> None:
    model, cache = Model(fitted()[1]), PredictionCache(20)
    rows = np.random.default_rng(3).normal(size=(4, 5))
    truth = model.predict(rows)
    assert (model.predict_known([1, 2, 3, 4], rows, cache) == truth).all()
    assert (cache.hits, cache.misses, cache.hit_rate) == (0, 4, 0.0)
    # The rows are not looked at where all plans are known.
    assert (model.predict_known([4, 2], rows[:2] * 0, cache) == truth[[3, 1]]).all()
    assert (model.predict_known([9, 1], rows[[2, 2]], cache) == truth[[2, 0]]).all()
    assert (cache.hits, cache.misses) == (3, 5)
    # Another version knows nothing of it.
    assert cache.get(1, "duckdb-latency/2") is None
    with pytest.raises(InvalidInput, match="3 plans, but 1 rows"):
        model.predict_known([1, 2, 3], rows[:1], cache)


def test_what_was_not_used_for_long_makes_room() -> None:
    cache = PredictionCache(20)
    for plan in range(20):
        cache.put(plan, "m/1", float(plan))
    cache.put(19, "m/1", 19.5)
    assert len(cache) == 20
    # The next twenty make the first ones old; one of those is used, and stays.
    for plan in range(20, 39):
        cache.put(plan, "m/1", float(plan))
    assert len(cache) == 39
    assert cache.get(0, "m/1") == 0.0
    assert len(cache) == 39
    cache.put(39, "m/1", 39.0)
    assert len(cache) == 21
    assert cache.get(1, "m/1") is None
    assert cache.get(19, "m/1") is None
    assert [cache.get(plan, "m/1") for plan in (0, 20, 38, 39)] == [0.0, 20.0, 38.0, 39.0]
    cache.put(3, "m/2", 1.0)
    kept = len(cache)
    assert cache.forget("m/1") == kept - 1
    assert len(cache) == 1
    assert cache.get(0, "m/1") is None
    assert cache.get(3, "m/2") == 1.0
    # What was forgotten left its room.
    for plan in range(19):
        cache.put(plan, "m/1", 0.0)
    assert len(cache) == 20
    assert cache.get(3, "m/2") == 1.0


def test_the_most_recently_used_are_kept_whatever_came_before() -> None:
    source = np.random.default_rng(4)
    cache, used = PredictionCache(20), dict[int, None]()
    for plan in source.integers(0, 60, 3000).tolist():
        known = plan in list(used)[-20:]
        found = cache.get(plan, "m/1")
        if known:
            assert found == plan
        elif found is None:
            cache.put(plan, "m/1", float(plan))
        used.pop(plan, None)
        used[plan] = None
        assert len(cache) <= 40
    assert cache.hits > 0
    assert cache.misses > 0


def test_a_cache_needs_some_room() -> None:
    with pytest.raises(InvalidInput, match="at least 10"):
        PredictionCache(3)
