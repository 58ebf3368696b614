"""Models that are damaged, though their cards have the right hash: refused at load, and the one before serves."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from correlated import SKEWED, skewed
from learning.models.making import card_of, ensemble, fitted, model_of, onnx
from learning.rankers import ranker

from godb_fast.engines.registry import open_engine
from godb_fast.errors import BackendUnavailable, ModelRefused
from godb_fast.learning.models import Model, ModelFile, ModelFolder, serving
from godb_fast.learning.models.folder import sha256
from godb_fast.learning.models.graph import ALLOWED, read_graph
from godb_fast.learning.models.sizes import MOST_NUMBERS_OF_A_ROW, RULES, check_graph
from godb_fast.learning.models.tensors import read_tensor
from godb_fast.session import Optimizer, Policy, Session
from godb_fast.store import SqliteStore

helper, constant = onnx.helper, onnx.numpy_helper.from_array
COLUMNS = 4
TREE = [("BRANCH_LEQ", 0, 0.5, 1, 2), ("LEAF", 1.0), ("LEAF", 2.0)]
FLOAT = onnx.TensorProto.FLOAT


def forest(**attributes: Any) -> Any:
    """A forest of three trees, some of its attributes replaced."""
    node = ensemble([TREE] * 3)
    for name, value in attributes.items():
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])
    return model_of([node], COLUMNS)


def linear(
    *more: Any, shape: Any = (None, 1), last: str = "variable", weight: float = 1.0, columns: int = COLUMNS
) -> Any:
    """A linear model whose output is called ``last``, then more operators."""
    nodes = [node for node in more if not isinstance(node, onnx.TensorProto)]
    constants = [each for each in more if isinstance(each, onnx.TensorProto)]
    weights = constant(np.full((columns, 1), weight, np.float32), "weights")
    product = helper.make_node("MatMul", ["features", "weights"], [last])
    model = model_of([product, *nodes], columns, [weights, *constants])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("variable", FLOAT, shape))
    return model


def doubled(times: int) -> Any:
    """Concat(x, x) so many times, and the product of that with itself."""
    chain = [helper.make_node("Concat", [f"x{at}"] * 2, [f"x{at + 1}"], axis=1) for at in range(times)]
    return linear(*chain, helper.make_node("Softmax", [f"x{times}"], ["variable"]), last="x0")


def reshaped(*sizes: int) -> Any:
    shape = constant(np.array(sizes, np.int64), "shape")
    return linear(shape, helper.make_node("Reshape", ["x", "shape"], ["variable"]), last="x")


def claimed(*sizes: int) -> Any:
    """A constant that claims to be large, and holds nothing."""
    tensor = onnx.TensorProto(name="huge", data_type=FLOAT)
    tensor.dims.extend(sizes)
    return linear(tensor, helper.make_node("Add", ["x", "huge"], ["variable"]), last="x")


def outer() -> Any:
    """A column and a constant of three dimensions: their sum is a product in size."""
    large = constant(np.zeros((200_000, 1, 1), np.float32), "large")
    return linear(large, helper.make_node("Add", ["x", "large"], ["variable"]), last="x")


def infinite_by_division() -> Any:
    nothing = constant(np.zeros(1, np.float32), "nothing")
    return linear(nothing, helper.make_node("Div", ["x", "nothing"], ["variable"]), last="x")


def scaled() -> Any:
    scaler = helper.make_node(
        "Scaler", ["x"], ["variable"], domain="ai.onnx.ml", offset=[math.nan], scale=[1.0]
    )
    return linear(scaler, last="x")


def fixed_rows() -> Any:
    model = linear()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("features", FLOAT, [3, COLUMNS]))
    return model


#: What is wrong with the declared input or output, which the card describes as well.
DECLARED = ("not one number per row", "not any number of rows")
#: By what is wrong: the model, and what the refusal says.
DAMAGED = {
    "modes that are a number": (lambda: forest(nodes_modes=3), "have no modes"),
    "modes that are a text": (lambda: forest(nodes_modes="LEAF"), "have no modes"),
    "modes that are numbers": (lambda: forest(nodes_modes=[0] * 9), "have no modes"),
    "a list as post_transform": (lambda: forest(post_transform=[1, 2, 3]), "post_transform of"),
    "a list as n_targets": (lambda: forest(n_targets=[1, 2, 3]), "n_targets of"),
    "reals as n_targets": (lambda: forest(n_targets=[1.5, 2.5]), "n_targets of"),
    "many targets": (lambda: forest(n_targets=2**40), "numbers of a row"),
    "no targets": (lambda: forest(n_targets=-1), "-1 targets"),
    "a list as aggregate_function": (lambda: forest(aggregate_function=[1, 2]), "aggregate_function of"),
    "an infinite base": (lambda: forest(base_values=[math.inf]), "base_values of"),
    "a huge output": (lambda: linear(shape=(None, 2**40)), "not one number per row"),
    "a negative output": (lambda: linear(shape=(None, -3)), "not one number per row"),
    "an empty output": (lambda: linear(shape=(None, 0)), "not one number per row"),
    "an output of five": (lambda: linear(shape=(None, 5)), "not one number per row"),
    "an output that is a scalar": (lambda: linear(shape=()), "not one number per row"),
    "an output of seven rows": (lambda: linear(shape=(7, 1)), "not one number per row"),
    "an input of three rows": (fixed_rows, "not any number of rows"),
    "an output of one dimension that has two": (lambda: linear(shape=(None,)), "cannot be used: "),
    "an output of two columns that has one": (lambda: linear(shape=(None, 2)), "cannot be used: "),
    "a chain of Concat": (lambda: doubled(26), "numbers of a row"),
    "a shorter chain of Concat": (lambda: doubled(15), "numbers of a row"),
    "an outer sum": (outer, "numbers of a row"),
    "rows that become columns": (lambda: reshaped(1, -1), "cannot be used: "),
    "three rows only": (lambda: reshaped(3, 1), "cannot be used: "),
    "a shape of no size": (lambda: reshaped(-1, -5), "takes the shape"),
    "a shape of two unknowns": (lambda: reshaped(-1, -1), "takes the shape"),
    "a constant without numbers": (lambda: claimed(2**40, 2**20), "holds 0 numbers"),
    "a constant of negative size": (lambda: claimed(-1, 1), "impossible dimensions"),
    "a constant of many dimensions": (lambda: claimed(*[2**60] * 1000), "impossible dimensions"),
    "a weight that is NaN": (lambda: linear(weight=math.nan), "not finite"),
    "a weight that is infinite": (lambda: linear(weight=-math.inf), "not finite"),
    "an offset that is NaN": (scaled, "offset of Scaler"),
    "a division by zero": (infinite_by_division, "rows that are safe"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused_at_load_and_the_one_before_serves(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, why = DAMAGED[name]
    put(tmp_path, linear(), 1)
    put(tmp_path, make(), 2)
    refused: list[ModelRefused] = []
    with caplog.at_level(logging.WARNING, "godb_fast"):
        found = Model.newest(tmp_path, "duckdb-latency", refused=refused)
    assert found.key == "duckdb-latency/1"
    assert found.predict(np.ones((2, COLUMNS))).tolist() == [4.0, 4.0]
    assert [each.reason for each in refused] == ["card" if why in DECLARED else "malformed"]
    assert why in str(refused[0])
    assert "model duckdb-latency/2 is refused" in caplog.text


def put(folder: Path, model: Any, version: int) -> None:
    """A version whose card is right about its bytes, whatever they are."""
    data = model.SerializeToString()
    place = folder / "duckdb-latency" / str(version)
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(data)
    (place / "card.json").write_text(card_of(data, COLUMNS, version=version).to_json())


CIRCLE = [("BRANCH_LEQ", 0, 0.5, 1, 2), ("BRANCH_GT", 0, 0.5, 2, 0), ("LEAF", 1.0)]


@pytest.mark.parametrize("name", ["of a foreign mode", "of two ensembles", "of a mode that is none"])
def test_trees_that_only_onnxruntime_serves_are_trees(name: str) -> None:
    """onnxruntime follows some circles for ever, and would at the first trial."""
    first = ensemble([CIRCLE])
    nodes = [first]
    if name == "of two ensembles":
        first.output[0] = "x"
        second = ensemble([TREE])
        second.output[0] = "y"
        nodes += [second, helper.make_node("Add", ["x", "y"], ["variable"])]
    elif name == "of a mode that is none":
        modes = next(each for each in first.attribute if each.name == "nodes_modes")
        modes.strings[1] = b"BRANCH_GX"
    data = model_of(nodes, COLUMNS).SerializeToString()
    why = "of mode 'BRANCH_GX'" if "none" in name else "two parents"
    with pytest.raises(ModelRefused, match=why) as caught:
        Model(ModelFile.of(card_of(data, COLUMNS), data))
    assert caught.value.reason == "malformed"


def test_what_nobody_thought_of_refuses_the_model_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    _, file = fitted()

    def broken(error: BaseException) -> Any:
        def flatten(graph: Any) -> Any:
            raise error

        return flatten

    for error in (MemoryError("32 GiB"), RecursionError("deep"), KeyError("x"), OverflowError("2**64")):
        monkeypatch.setattr(serving, "flatten", broken(error))
        with pytest.raises(
            ModelRefused, match=f"duckdb-latency/1 cannot be used: {type(error).__name__}"
        ) as caught:
            Model(file)
        assert caught.value.reason == "malformed"
        assert caught.value.__cause__ is error
    # These are not the file's fault.
    for error in (KeyboardInterrupt(), ImportError("kernel"), BackendUnavailable("numba")):
        monkeypatch.setattr(serving, "flatten", broken(error))
        with pytest.raises(type(error)):
            Model(file)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_constants_are_read_however_they_are_written(kind: Any, raw: bool) -> None:
    values = np.array([1, 0, 1], kind)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    content = values.tobytes() if raw else values.tolist()
    tensor = helper.make_tensor("c", element, [3], content, raw=raw)
    found = read_tensor(tensor.SerializeToString())
    assert (found.name, found.shape) == ("c", (3,))
    assert found.whole == ((1, 0, 1) if kind is np.int64 else ())
    tensor.dims[0] = 4
    with pytest.raises(ModelRefused, match="holds 3 numbers"):
        read_tensor(tensor.SerializeToString())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e39])
def test_constants_of_doubles_are_finite_as_float32(value: float) -> None:
    tensor = helper.make_tensor("c", onnx.TensorProto.DOUBLE, [1], [value])
    with pytest.raises(ModelRefused, match="not finite"):
        read_tensor(tensor.SerializeToString())


def test_texts_and_halves_are_no_constants() -> None:
    for tensor in (
        helper.make_tensor("c", onnx.TensorProto.STRING, [1], [b"x"]),
        helper.make_tensor("c", onnx.TensorProto.FLOAT16, [1], [1.0]),
    ):
        with pytest.raises(ModelRefused, match="which nothing here computes with"):
            read_tensor(tensor.SerializeToString())


def test_every_allowed_operator_has_a_rule() -> None:
    assert set(RULES) == set().union(*ALLOWED.values())


ML = {"domain": "ai.onnx.ml"}
#: Operators on x, of shape (rows, 4), and the constants beside them.
OPERATORS: dict[str, tuple[Any, list[Any]]] = {
    "wider": (("MatMul", ["x", "w"], {}), [constant(np.ones((4, 6), np.float32), "w")]),
    "a matrix and a vector": (("MatMul", ["x", "w"], {}), [constant(np.ones(4, np.float32), "w")]),
    "several matrices": (("MatMul", ["x", "w"], {}), [constant(np.ones((3, 4, 2), np.float32), "w")]),
    "transposed": (
        ("Gemm", ["x", "w", "b"], {"transB": 1}),
        [constant(np.ones((6, 4), np.float32), "w"), constant(np.ones(6, np.float32), "b")],
    ),
    "both transposed": (
        ("Gemm", ["w", "x"], {"transA": 1, "transB": 1}),
        [constant(np.ones((4, 2), np.float32), "w")],
    ),
    "more dimensions": (("Add", ["x", "w"], {}), [constant(np.ones((3, 1, 4), np.float32), "w")]),
    "a column and a row": (("Mul", ["x", "w"], {}), [constant(np.ones(1, np.float32), "w")]),
    "joined": (("Concat", ["x", "x", "x"], {"axis": -1}), []),
    "stacked": (("Concat", ["x", "x"], {"axis": 0}), []),
    "flat": (("Reshape", ["x", "s"], {}), [constant(np.array([-1], np.int64), "s")]),
    "parted": (("Reshape", ["x", "s"], {}), [constant(np.array([0, 2, -1], np.int64), "s")]),
    "scores": (("LinearRegressor", ["x"], {"coefficients": [1.0] * 12, "targets": 3, **ML}), []),
    "trees": (("TreeEnsembleRegressor", None, {}), []),
    "scaled": (("Scaler", ["x"], {"offset": [0.0], "scale": [2.0], **ML}), []),
    "likely": (("Softmax", ["x"], {}), []),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_sizes_are_those_that_onnxruntime_finds(name: str) -> None:
    import onnxruntime

    (operator, inputs, attributes), constants = OPERATORS[name]
    rows = 5
    if inputs is None:
        node = ensemble([TREE])
    else:
        names = ["features" if each == "x" else each for each in inputs]
        node = helper.make_node(operator, names, ["variable"], **attributes)
    model = model_of([node], 4, constants)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    data = model.SerializeToString()
    found = check_graph(read_graph(data), rows)["variable"]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert found == session.run(None, {"features": np.zeros((rows, 4), np.float32)})[0].shape


def test_a_network_of_some_size_is_allowed() -> None:
    width, layers = 1000, 10
    nodes, constants, last = [], [], "features"
    for layer in range(layers):
        before = COLUMNS if layer == 0 else width
        # The same weights in every layer but the first: files of models may be 64 MiB.
        name = f"w{min(layer, 1)}"
        if layer < 2:
            constants.append(constant(np.full((before, width), 1e-3, np.float32), name))
        nodes += [
            helper.make_node("MatMul", [last, name], [f"m{layer}"]),
            helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]),
        ]
        last = f"r{layer}"
    constants.append(constant(np.full((width, 1), 1e-3, np.float32), "out"))
    nodes.append(helper.make_node("MatMul", [last, "out"], ["variable"]))
    assert 2 * width * layers < MOST_NUMBERS_OF_A_ROW
    data = model_of(nodes, COLUMNS, constants).SerializeToString()
    assert Model(ModelFile.of(card_of(data, COLUMNS), data)).server == "onnxruntime"


def test_a_model_is_tried_where_it_was_trained() -> None:
    """1/x makes no sense at zero, and need not: the card says that x was between 2 and 4."""
    one = constant(np.ones(1, np.float32), "one")
    node = helper.make_node("Div", ["one", "x"], ["variable"])
    data = linear(one, node, last="x", columns=1).SerializeToString()
    with pytest.raises(ModelRefused, match="rows that are safe"):
        Model(ModelFile.of(card_of(data, 1), data))
    card = card_of(data, 1, least={"column_0": 2.0}, most={"column_0": 4.0})
    assert Model(ModelFile.of(card, data)).predict([[4.0]]).tolist() == [0.25]


@pytest.mark.parametrize("when", ["at first", "while it serves"])
def test_end_to_end_the_version_before_steers_and_the_refusal_is_counted(
    when: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = ranker("delta_joins", at=0.5, below=-1.0, above=0.5)
    folder = ModelFolder(tmp_path / "models")
    folder.export(good.card, good.data)

    def damage() -> None:
        model = onnx.load_from_string(good.data)
        modes = next(each for each in model.graph.node[0].attribute if each.name == "nodes_modes")
        modes.CopyFrom(helper.make_attribute("nodes_modes", 3))
        data = model.SerializeToString()
        card = replace(good.card, version=2, sha256=sha256(data), size_bytes=len(data))
        place = folder.path / card.name / "2"
        place.mkdir()
        (place / "model.onnx").write_bytes(data)
        (place / "card.json").write_text(card.to_json())

    if when == "at first":
        damage()
    policy = Policy(
        background=False, learn_from_ms=0.1, patience=0.0, allowance_floor_ms=10_000.0,
        regression_budget=math.inf, margin=1e9, allowance=50.0,
    )  # fmt: skip
    optimizer = Optimizer(policy=policy, store=SqliteStore(tmp_path / "store.sqlite"))
    with (
        caplog.at_level(logging.WARNING, "godb_fast"),
        Session(optimizer, open_engine(str(skewed(tmp_path / "skewed.duckdb"))), mode="steer") as steering,
    ):
        steered = [steering.execute(SKEWED).observation.steered for _ in range(3)]
        if when == "while it serves":
            assert optimizer.counters["model_refused"] == 0
            damage()
            assert not optimizer.untried.gates.refresh()
            assert not optimizer.untried.gates.refresh()
            steered.append(steering.execute(SKEWED).observation.steered)
        assert steered == [False] + [True] * (len(steered) - 1)
        assert steering.optimize(SKEWED).models == ("duckdb-ranker/1",)
        assert optimizer.counters["model_refused"] == 1
    assert "model duckdb-ranker/2 is refused (malformed)" in caplog.text
