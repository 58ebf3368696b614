"""Model files and cards: what is refused, by which reason, and what a fault of the disk leaves behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning.models.making import card_of, ensemble, fitted, model_of, onnx

from godb_fast.errors import ModelRefused
from godb_fast.learning.models import Card, Model, ModelFile, ModelFolder
from godb_fast.learning.models import folder as folders
from godb_fast.learning.models.graph import read_graph
from godb_fast.learning.models.wire import fields, integers

TREE = [("BRANCH_LEQ", 0, 0.5, 1, 2), ("LEAF", 1.0), ("LEAF", 2.0)]


@pytest.fixture(scope="module")
def sound() -> ModelFile:
    return fitted()[1]


def refused(call, *arguments) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        call(*arguments)
    return caught.value


def test_what_is_exported_is_loaded(tmp_path: Path, sound: ModelFile) -> None:
    folder = ModelFolder(tmp_path / "models")
    assert folder.names() == []
    assert folder.next_version("duckdb-latency") == 1
    place = folder.export(sound.card, sound.data)
    assert sorted(os.listdir(place)) == ["card.json", "model.onnx"]
    loaded = folder.load("duckdb-latency", 1)
    assert loaded.card == sound.card
    assert loaded.data == sound.data
    assert (folder.names(), folder.versions("duckdb-latency")) == (["duckdb-latency"], [1])
    assert refused(folder.export, sound.card, sound.data).reason == "exists"
    assert refused(folder.load, "duckdb-latency", 2).reason == "missing"
    for other in ("01", "x", ".2-partial"):
        (place.parent / other).mkdir()
    assert folder.versions("duckdb-latency") == [1]
    os.rename(place, place.with_name("2"))
    assert "holds the card of duckdb-latency/1" in str(refused(folder.load, "duckdb-latency", 2))


def test_truncated_tampered_and_foreign_files_are_refused_and_the_one_before_serves(
    tmp_path: Path, sound: ModelFile
) -> None:
    folder = ModelFolder(tmp_path)
    folder.export(sound.card, sound.data)
    good = Model.newest(tmp_path, "duckdb-latency")
    rows = np.random.default_rng(0).normal(size=(3, 5))
    broken = {
        "truncated": (sound.card, sound.data[:-100]),
        "tampered": (sound.card, sound.data[:500] + bytes([sound.data[500] ^ 1]) + sound.data[501:]),
        "features": (replace(sound.card, features_version=99), sound.data),
        "card": (replace(sound.card, columns=("a", "b")), sound.data),
    }
    for reason, (card, data) in broken.items():
        assert refused(ModelFile.of, card, data).reason == reason
        place = tmp_path / "duckdb-latency" / "2"
        place.mkdir(exist_ok=True)
        (place / "card.json").write_text(replace(card, version=2).to_json())
        (place / "model.onnx").write_bytes(data)
        why: list[ModelRefused] = []
        serving = Model.newest(tmp_path, "duckdb-latency", refused=why)
        assert [each.reason for each in why] == [reason]
        assert serving.key == "duckdb-latency/1"
        assert (serving.predict(rows) == good.predict(rows)).all()
    assert Model.newest(tmp_path, "postgres-latency") is None


def test_operators_domains_and_data_outside_are_refused() -> None:
    weights = onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "weights")
    identity = onnx.helper.make_node("Identity", ["features"], ["variable"])
    assert read_graph(model_of([identity], 1).SerializeToString()).inputs[0].shape == (None, 1)

    loop = onnx.helper.make_node(
        "If",
        ["features"],
        ["variable"],
        then_branch=model_of([identity], 1).graph,
        else_branch=model_of([identity], 1).graph,
    )
    foreign = onnx.helper.make_node("Identity", ["features"], ["variable"], domain="com.example")
    read = onnx.helper.make_node("StringNormalizer", ["features"], ["variable"])
    for node, named in ((loop, "If"), (foreign, "com.example.Identity"), (read, "StringNormalizer")):
        error = refused(read_graph, model_of([node], 1).SerializeToString())
        assert error.reason == "operator"
        assert repr(named) in str(error)

    imported = model_of([identity], 1)
    imported.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    assert "'com.example'" in str(refused(read_graph, imported.SerializeToString()))

    subgraph = onnx.helper.make_node(
        "Identity", ["features"], ["variable"], body=model_of([identity], 1).graph
    )
    assert refused(read_graph, model_of([subgraph], 1).SerializeToString()).reason == "operator"

    outside = onnx.TensorProto()
    outside.CopyFrom(weights)
    outside.ClearField("raw_data")
    outside.data_location = onnx.TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    multiply = onnx.helper.make_node("MatMul", ["features", "weights"], ["variable"])
    model = model_of([multiply], 1, [outside]).SerializeToString()
    assert refused(read_graph, model).reason == "external_data"
    constant = onnx.helper.make_node("Identity", ["features"], ["variable"], value=outside)
    assert refused(read_graph, model_of([constant], 1).SerializeToString()).reason == "external_data"

    sparse = model_of([multiply], 1)
    values = onnx.helper.make_tensor("weights", onnx.TensorProto.FLOAT, [1], [1.0])
    places = onnx.helper.make_tensor("places", onnx.TensorProto.INT64, [1], [0])
    sparse.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [1]))
    assert refused(read_graph, sparse.SerializeToString()).reason == "sparse_initializer"

    function = model_of([identity], 1)
    function.functions.add().name = "f"
    assert refused(read_graph, function.SerializeToString()).reason == "operator"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_gets_past_the_reader(data: st.DataObject) -> None:
    whole = model_of([ensemble([TREE] * 3)], 1).SerializeToString()
    at = data.draw(st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["cut", "flip", "insert"]))
    byte = bytes([data.draw(st.integers(0, 255))])
    broken = {"cut": whole[:at], "flip": whole[:at] + byte + whole[at + 1 :]}.get(
        how, whole[:at] + byte + whole[at:]
    )
    try:
        graph = read_graph(broken)
    except ModelRefused:
        return
    # What is read nevertheless says what it says to the onnx package too.
    try:
        theirs = onnx.load_from_string(broken)
    except Exception:  # noqa: BLE001
        return
    assert [node.operator for node in graph.nodes] == [node.op_type for node in theirs.graph.node]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.floats(width=32, allow_nan=False)))
def test_lists_are_read_as_the_onnx_package_wrote_them(whole: list[int], real: list[float]) -> None:
    node = onnx.helper.make_node("Identity", ["features"], ["variable"])
    for name, values, kind in (("whole", whole, "ints"), ("real", real, "floats")):
        attribute = node.attribute.add()
        attribute.name = name
        getattr(attribute, kind).extend(values)
    found = read_graph(model_of([node], 1).SerializeToString()).nodes[0].attributes
    assert list(found.get("whole", np.zeros(0, np.int64))) == whole
    assert list(found.get("real", np.zeros(0, np.float32))) == real


def test_lists_may_be_packed() -> None:
    packed = b"".join([b"\x01", b"\xac\x02", b"\xff" * 9 + b"\x01"])
    assert integers(packed).tolist() == [1, 300, -1]
    for broken in (b"\x80", b"\xff" * 11 + b"\x01"):
        assert refused(integers, broken).reason == "malformed"
    assert refused(lambda: list(fields(b"\x0a\xff\xff\xff\xff\x0f"))).reason == "malformed"


def test_a_card_says_what_is_wrong_with_it(sound: ModelFile) -> None:
    card = replace(sound.card, metrics={"q_error_p50": 1.5}, since="2024-01-01T00:00:00+00:00")
    assert Card.from_json(card.to_json()) == card
    raw = json.loads(card.to_json())
    for change, why in (
        ({"format": 2}, "not of format 1"),
        ({"format": True}, "not of format 1"),
        ({"size_bytes": -1}, "size_bytes -1 is not at least 1"),
        ({"observations": -1}, "observations -1 is not at least 0"),
        ({"engine": "x"}, "engine 'x' is not the one that its name begins with"),
        ({"calibration": {"p90": 1e308}}, "p90 is 1e+308, and no calibration is beyond 1e+09"),
        ({"calibration": {"p90": -(10**400)}}, "p90 is -1000"),
        ({"name": "../../etc"}, "lower-case words"),
        ({"version": "1"}, "'version' is '1'"),
        ({"version": True}, "'version' is True"),
        ({"kind": "oracle"}, "'oracle' is none of"),
        ({"kind": "quantile"}, "only that, has a quantile"),
        ({"kind": "quantile", "quantile": 1.5}, "not between 0 and 1"),
        ({"columns": []}, "its columns are none"),
        ({"columns": ["a", 1]}, "'columns' is"),
        ({"sha256": "00"}, "64 hexadecimal"),
        ({"metrics": {"a": "b"}}, "'metrics' is"),
        ({"metrics": {"a": float("nan")}}, "a is nan"),
        ({"until": "yesterday"}, "no moment"),
        ({"surprise": 1}, "unknown entry 'surprise'"),
    ):
        error = refused(Card.from_json, json.dumps(raw | change))
        assert error.reason == "card"
        assert why in str(error), str(error)
    for text in ("", "[]", "{", "nonsense", "[" * 100_000):
        assert refused(Card.from_json, text).reason == "card"
    del raw["sha256"]
    assert "without sha256" in str(refused(Card.from_json, json.dumps(raw)))


def test_an_export_that_fails_leaves_nothing_behind(
    tmp_path: Path, sound: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ModelFolder(tmp_path)
    folder.export(sound.card, sound.data)
    second = replace(sound.card, version=2)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for fault, expected in ((full, ModelRefused), (_interrupted, KeyboardInterrupt)):
        with monkeypatch.context() as patch:
            patch.setattr(folders.os, "fsync", fault)
            with pytest.raises(expected):
                folder.export(second, sound.data)
        assert os.listdir(tmp_path / "duckdb-latency") == ["1"]
        assert Model.newest(tmp_path, "duckdb-latency").key == "duckdb-latency/1"
    assert refused(folder.export, second, sound.data + b"x").reason == "tampered"
    assert folder.export(second, sound.data).name == "2"


def _interrupted(handle: int) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_leaves_the_model_before_serving(tmp_path: Path, sound: ModelFile) -> None:
    """A real one: a file size limit of the operating system cuts the write of a child process."""
    if sys.platform == "win32":
        pytest.skip("no limits of file sizes on Windows")
    folder = ModelFolder(tmp_path)
    folder.export(sound.card, sound.data)
    program = (
        "import resource, signal, sys\n"
        "from dataclasses import replace\n"
        "from godb_fast.errors import ModelRefused\n"
        "from godb_fast.learning.models import ModelFolder\n"
        "folder = ModelFolder(sys.argv[1])\n"
        "file = folder.load('duckdb-latency', 1)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    folder.export(replace(file.card, version=2), file.data)\n"
        "except ModelRefused as error:\n"
        "    print(error.reason)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "unwritable"
    assert os.listdir(tmp_path / "duckdb-latency") == ["1"]


def test_serving_imports_neither_scikit_learn_nor_onnx(tmp_path: Path, sound: ModelFile) -> None:
    ModelFolder(tmp_path).export(sound.card, sound.data)
    program = (
        "import sys\n"
        "import godb_fast\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "from godb_fast.learning.models import Model\n"
        "for server in ('native', 'onnxruntime'):\n"
        "    Model.newest(sys.argv[1], 'duckdb-latency', server=server).predict([[0.0] * 5])\n"
        "print([name for name in ('sklearn', 'skl2onnx', 'onnx', 'scipy', 'duckdb') if name in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_without_onnxruntime_forests_serve_and_the_rest_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, sound: ModelFile
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert Model(sound).predict(np.zeros((1, 5))).shape == (1,)
    node = onnx.helper.make_node("Relu", ["features"], ["variable"])
    data = model_of([node], 1).SerializeToString()
    error = refused(Model, ModelFile.of(card_of(data, 1), data))
    assert "onnxruntime" in str(error)
    assert error.reason == "server"
