"""The replay's floors: on a made-up matrix everywhere, on published ones where they are."""

from __future__ import annotations

import pytest

from benchmarks import replay
from benchmarks.common import MissingData, Options, collect
from benchmarks.matrices import name_template, read


@pytest.fixture(autouse=True)
def fresh_arguments():
    before = replay.ARGUMENTS
    yield
    replay.ARGUMENTS = before


@pytest.mark.parametrize("order", ["uniform", "redbench-like"])
def test_on_a_made_up_matrix_it_beats_its_rivals(order):
    replay.ARGUMENTS = replay.Arguments(order=order)
    report = collect("replay", replay.run, Options(quick=True))
    assert report.floors
    assert not report.broken, report.text()
    r = {row["method"]: row["1"] for row in report.rows if "method" in row}
    ours = r["ours, --confirm none"]
    assert r["oracle"] <= ours < min(r["random"], r["greedy"], r["low rank (ALS)"])
    assert ours < r["ours, --confirm pairs"] < 1.0


@pytest.mark.data
@pytest.mark.slow
def test_on_published_matrices_it_keeps_its_floors(data):
    replay.ARGUMENTS = replay.Arguments(confirm=("none",))
    report = collect("replay", replay.run, Options(data=data, quick=True))
    assert {"ceb-matrix: R after 0.25", "dsb-matrix: R after 1.0"} <= set(report.floors)
    # Processor time is no matter of correctness, and this machine may be busy.
    assert not [name for name in report.broken if "compute" not in name], report.text()


def test_templates_are_read_from_texts_or_else_from_names(tmp_path):
    assert [name_template(name) for name in ("1a10", "query001_3", "17b.sql", "q5-012", "fast")] == [
        "1a",
        "query001",
        "17",
        "q5",
        "fast",
    ]
    path = tmp_path / "m.csv"
    path.write_text(
        'name,sql,d,a\nx,"select 1 from t where a = 3",2.0,1.0\ny,"select 1 from t where a = 5",3,1\n'
        'z,"select 2 from u",1,1\nw,"select 2 from u",1,1\n'
    )
    matrix = read(path)
    assert matrix.seconds.tolist() == [[2.0, 1.0], [3.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    assert matrix.templates[0] == matrix.templates[1] != matrix.templates[2] == matrix.templates[3]


@pytest.mark.parametrize(
    "body", ["", "name,0\n", "name,0,1\nq,1.0,nan\n", "name,0,1\nq,1.0,-2\n", "name,0\nq,x\n"]
)
def test_what_is_no_matrix_is_refused_by_name(tmp_path, body):
    path = tmp_path / "bad.csv"
    path.write_text(body)
    with pytest.raises(MissingData, match=r"bad\.csv"):
        read(path)
