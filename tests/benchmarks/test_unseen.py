"""Templates left out: on a small matrix with texts everywhere, on published ones where they are."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from benchmarks import replay, unseen
from benchmarks.common import MissingData, Options, collect
from benchmarks.matrices import read
from benchmarks.unseen_texts import plain_text, read_terms, terms_of

DIMENSIONS = ("store", "item", "buyer", "place", "period", "reason", "carrier", "brand")


@pytest.fixture(autouse=True)
def fresh_arguments():
    before = replay.ARGUMENTS
    yield
    replay.ARGUMENTS = before


def written(path, *, luck=0.1, seed=1):
    """A matrix with SQL: 8 star joins; many kinds in the list make the default slow and arm 1 good."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as target:
        out = csv.writer(target)
        out.writerow(["name", "sql", *range(4)])
        for template, name in enumerate(DIMENSIONS):
            for number in range(25):
                size = int(rng.integers(1, 9))
                kinds = ", ".join(f"'k{kind}'" for kind in rng.permutation(8)[:size])
                long = (size - 4.5) / 3.5
                default = float(np.exp(2.0 * long + rng.normal(0.0, luck)))
                ratios = np.exp(np.array([0.0, -1.2 * long, 1.0, 0.05]) + rng.normal(0.0, luck, 4))
                ratios[0] = 1.0
                out.writerow(
                    [
                        f"t{template}_{number}",
                        f"SELECT count(*) FROM sale AS s, {name} AS d WHERE s.{name}_id = d.id "
                        f"AND s.kind IN ({kinds}) AND d.{name}_size > {int(rng.integers(9))}",
                        *(default * ratios),
                    ]
                )
    return path


def test_what_literals_do_is_carried_over_to_new_templates_within_the_budget(tmp_path):
    path = written(tmp_path / "stars.csv")
    replay.ARGUMENTS = replay.Arguments(track="unseen", matrices=(path,))
    report = collect("replay", replay.run, Options(quick=True))
    found = {row["choice"]: row for row in report.rows if "choice" in row}
    static, oracle = found["best static arm of the other templates"], found["oracle"]
    gated, brave = found["ours, gated"], found["ours, courage (no gate)"]
    assert oracle["R"] <= gated["R"] < 0.6
    assert oracle["R"] <= brave["R"] < static["R"]
    assert not report.broken, report.text()
    assert any(row.get("before_any_outcome") is not None for row in report.rows)


def test_hardly_anything_is_steered_where_nothing_can_be_known(tmp_path):
    path = tmp_path / "noise.csv"
    rng = np.random.default_rng(4)
    with written(path).open() as source:
        rows = list(csv.reader(source))
    with path.open("w", newline="") as target:
        out = csv.writer(target)
        out.writerow(rows[0])
        for row in rows[1:]:
            default = float(rng.lognormal())
            out.writerow([*row[:2], default, *(default * rng.lognormal(0.0, 1.0, 3))])
    matrix = read(path)
    terms, source = terms_of(matrix, Options())
    assert source == "the matrix's own column"
    played = unseen.play(matrix, terms, ["c"] * len(terms), 1, 100)
    rows = np.arange(len(terms))
    gated, brave = (matrix.seconds[rows, arms] / matrix.default_s for arms in (played.gated, played.brave))
    assert (gated > 1.2).mean() <= 0.03
    assert (brave > 1.2).mean() > 0.25


def test_the_left_out_template_is_told_nothing_of_its_runtimes(tmp_path):
    matrix = read(written(tmp_path / "a.csv"))
    terms, _ = terms_of(matrix, Options())
    played = unseen.play(matrix, terms, ["c"] * len(terms), 1, 100)
    own = np.array(matrix.templates) == matrix.templates[0]
    seconds = matrix.seconds.copy()
    # Other runtimes of the template under all arms, the default's included.
    seconds[own] = np.exp(np.random.default_rng(2).normal(size=seconds[own].shape))
    changed = type(matrix)(matrix.name, matrix.queries, matrix.templates, seconds, matrix.texts)
    again = unseen.play(changed, terms, ["c"] * len(terms), 1, 100)
    assert (again.gated[own] == played.gated[own]).all()
    assert (again.brave[own] == played.brave[own]).all()


def test_the_static_arm_comes_from_the_other_templates(tmp_path):
    matrix = read(written(tmp_path / "a.csv"))
    arms = unseen.static_arms(matrix)
    own = np.array(matrix.templates) == matrix.templates[0]
    assert set(arms[own]) == {int(matrix.seconds[~own].sum(axis=0).argmin())}


def test_a_template_of_tpcds_kind_becomes_a_statement():
    text = plain_text(
        '-- notice\ndefine AGG= text({"sum",1},{"min",1});\n define YEAR = random(1,2,uniform);\ndefine _LIMIT=100;\n'
        "[_LIMITA] select [_LIMITB] [AGG](x) from t where y = [YEAR] and z in ('[KIND.1]','[KIND.2]') [_LIMITC];\n"
    )
    assert " ".join(text.split()) == "select sum(x) from t where y = 1 and z in ('1','1') limit 100"
    [terms] = read_terms([text], "CREATE TABLE t (x INTEGER, y INTEGER, z VARCHAR)")
    assert terms.structure["filter t.z in"] == 1.0


def test_a_matrix_without_texts_or_templates_is_refused_by_name(tmp_path):
    bare = tmp_path / "bare.csv"
    bare.write_text("name,0,1\n" + "".join(f"t{i % 4}_{i},1.0,2.0\n" for i in range(40)))
    with pytest.raises(MissingData, match="needs imdb_sql"):
        terms_of(read(bare), Options())
    single = tmp_path / "single.csv"
    single.write_text("name,0,1\n" + "".join(f"a_{i},1.0,2.0\n" for i in range(10)))
    with pytest.raises(MissingData, match="fewer than 3"):
        unseen.compare(read(single), Options(), collect("replay", lambda options, report: None))


@pytest.mark.data
@pytest.mark.slow
def test_on_published_templates_no_more_queries_are_harmed_than_allowed(data):
    replay.ARGUMENTS = replay.Arguments(track="unseen", matrices=(data / "limeqo" / "dsb-matrix.csv",))
    report = collect("replay", replay.run, Options(data=data, quick=True))
    assert report.floors["dsb-matrix: share slower than 1.2 ×"]["holds"], report.text()
    found = {row["choice"]: row for row in report.rows if "choice" in row}
    static, brave = found["best static arm of the other templates"], found["ours, courage (no gate)"]
    assert static["R"] == pytest.approx(1.084, abs=0.001)
    assert brave["geometric_mean"] < 0.8 < 1.5 < static["geometric_mean"]
