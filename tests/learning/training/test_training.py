"""Training from stores: drawn ones with a known law, and what real engines did; faults on the way."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.executions import BEGIN, fill
from godb_fast import Optimizer
from godb_fast.cli import main
from godb_fast.core import Decision, Observation
from godb_fast.engines.base import Rendered
from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.engines.registry import open_engine
from godb_fast.errors import InvalidInput, MissingDependency, ModelRefused
from godb_fast.learning.expected import QuantileHeads
from godb_fast.learning.features import COLUMN, FEATURES, FEATURES_VERSION, VERSIONS
from godb_fast.learning.models import Model, ModelFolder
from godb_fast.learning.models import folder as folders
from godb_fast.learning.models.shipped import SHIPPED
from godb_fast.learning.physical import PAIR_COLUMNS, PHYSICAL_COLUMNS, pair_vectors, rank_vectors
from godb_fast.learning.pipelines import pipelines, plan_seconds
from godb_fast.learning.training import running, train, trainers
from godb_fast.learning.training.exporting import export
from godb_fast.learning.training.gathering import gather, same_database
from godb_fast.learning.training.ranking import ranker
from godb_fast.learning.training.splitting import held_out, out_of_fold
from godb_fast.learning.training.trainers import Watch, latency, quantile
from godb_fast.store import SqliteStore
from godb_fast.store.plans import pack

NAMES = {"duckdb-latency", "duckdb-ranker", "duckdb-p10", "duckdb-p50", "duckdb-p90"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of drawn executions, to be read only."""
    path = tmp_path_factory.mktemp("drawn") / "store.sqlite"
    store = SqliteStore(path)
    fill(store, 450, templates=24)
    store.close()
    return path


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("models")
    said: list[tuple[str, float]] = []
    report = train(drawn, folder, progress=lambda what, share: said.append((what, share)))
    return folder, report, said


def test_models_are_better_than_guessing_on_templates_that_they_never_saw(trained) -> None:
    folder, report, said = trained
    assert not report.skipped
    assert {entry.card.name for entry in report.trained} == NAMES == set(ModelFolder(folder).names())
    cards = {entry.card.name: entry.card for entry in report.trained}
    latency = cards["duckdb-latency"].metrics
    assert latency["q_error_p50"] < 1.35
    assert latency["q_error_p50"] < latency["baseline_rows_q_error_p50"]
    assert latency["rank_correlation"] > 0.9
    ranker = cards["duckdb-ranker"].metrics
    assert ranker["r_oracle"] <= ranker["r_chosen"] < 0.6
    assert ranker["default_within_tenth"] < ranker["within_tenth"] <= 1.0
    for card in cards.values():
        assert card.features_version == VERSIONS[card.kind]
        assert card.since.startswith("2024-05-01")
        assert card.templates >= 20
        assert set(card.packages) == {"scikit-learn", "skl2onnx", "numpy"}
    assert 0.5 < cards["duckdb-ranker"].calibration["level"] < 1.0
    assert ranker["harmed"] <= 0.02
    assert ranker["acted"] > 0.1
    assert list(cards["duckdb-p10"].calibration) == ["p05", "p10", "p50", "p90", "p95", "p99"]
    shares = [share for _, share in said]
    assert shares[0] == 0.0
    assert 0.9 < max(shares) <= 1.0


def test_what_was_trained_serves(trained, drawn: Path) -> None:
    folder = trained[0]
    found = gather(SqliteStore(drawn), "duckdb")
    latency = Model.newest(folder, "duckdb-latency")
    assert latency.server.startswith("native")
    predicted = plan_seconds(found.runs.source_rows, latency.predict(found.runs.vectors), found.runs.starts)
    off = np.abs(np.log(predicted / found.runs.latency_s))
    assert np.median(off) < 0.3
    ranker = Model.newest(folder, "duckdb-ranker")
    said = ranker.predict(rank_vectors(found.pairs.vectors))
    assert ((said < 0) == (found.pairs.log_ratio < 0))[np.abs(found.pairs.log_ratio) > 0.3].mean() > 0.9
    low, high = (
        Model.newest(folder, f"duckdb-{head}").predict(found.served.vectors) for head in ("p10", "p90")
    )
    assert (low < high).mean() > 0.95


def test_the_model_that_ships_is_judged_where_the_new_one_was(trained, drawn: Path) -> None:
    _, report, _ = trained
    served = gather(SqliteStore(drawn), "duckdb").served
    for entry in report.trained:
        shipped = entry.shipped
        assert shipped.model.startswith(f"{entry.card.name}/")
        # It knows nothing of how these times were drawn.
        assert not shipped.better
        assert shipped.own_error < shipped.error
        if entry.card.quantile is not None:
            assert shipped.own_error == pytest.approx(entry.card.metrics["pinball"], rel=1e-12)
            above = np.log(served.latencies_ms) - Model.newest(SHIPPED, entry.card.name).predict(
                served.vectors
            )
            level = entry.card.quantile
            assert shipped.compared == len(above)
            assert shipped.error == pytest.approx(np.maximum(level * above, (level - 1.0) * above).mean())


def test_where_the_model_that_ships_does_better_that_is_said(
    trained, drawn: Path, tmp_path: Path, monkeypatch, capsys, small_forests: None
) -> None:
    # Models that have seen these very executions ship, as it were.
    monkeypatch.setattr(running, "SHIPPED", trained[0])
    assert main(["train", str(drawn), "--models", str(tmp_path), "--json"]) == 0
    told = {entry["model"]: entry for entry in json.loads(capsys.readouterr().out)["trained"]}
    assert told["duckdb-latency/1"]["shipped"]["error"] < told["duckdb-latency/1"]["shipped"]["own_error"]
    assert main(["train", str(drawn), "--models", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "that of duckdb-latency/1, which ships, is" in text
    assert f"to have that one serve again, delete {tmp_path / 'duckdb-latency'}\n" in text


def test_expected_times_hold_for_templates_that_the_models_never_saw(trained, tmp_path: Path) -> None:
    heads = QuantileHeads.find("duckdb", trained[0])
    assert heads is not None
    store = SqliteStore(tmp_path / "others.sqlite")
    fill(store, 300, templates=20, seed=77)
    served = gather(store, "duckdb").served
    expected = [heads.expect(vector) for vector in served.vectors]
    assert all(each.low_ms <= each.ms <= each.high_ms for each in expected)
    assert expected[0].models == ("duckdb-p10/1", "duckdb-p50/1", "duckdb-p90/1")
    inside = [
        each.low_ms <= took <= each.high_ms for each, took in zip(expected, served.latencies_ms, strict=True)
    ]
    assert 0.65 < np.mean(inside) < 0.95
    off = np.abs(np.log([each.ms for each in expected]) - np.log(served.latencies_ms))
    assert np.median(off) < np.median(
        np.abs(np.log(served.latencies_ms) - np.median(np.log(served.latencies_ms)))
    )


def test_plans_that_nobody_timed_are_learned_from_too(tmp_path: Path, small_forests: None) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 300, templates=15, timed=False)
    found = gather(store, "duckdb")
    assert np.isnan(found.runs.seconds).all()
    report = train(store, tmp_path)
    metrics = next(entry.card.metrics for entry in report.trained if entry.card.kind == "latency")
    assert metrics["q_error_p50"] < metrics["baseline_rows_q_error_p50"]


def test_poisoned_executions_teach_nothing_and_are_counted(tmp_path: Path, drawn: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    (sound,) = SqliteStore(drawn).observations(1)
    decision = Decision(1, "", engine="duckdb")

    def ran(**more) -> None:
        seen = replace(sound, execution_id=os.urandom(8).hex(), decision_id=decision.id, **more)
        store.record(decision, seen)
        store.features.keep(
            seen.execution_id, seen.at - timedelta(seconds=1), FEATURES_VERSION, np.ones(len(FEATURES))
        )

    ran()
    ran(latency_ms=-5.0)
    ran(latency_ms=1e12)
    ran(latency_ms=float("inf"))
    ran(database="elsewhere")
    ran(outcome="error")
    ran(fell_back="watchdog")
    ran(obeyed=False)
    ran(plan=None)
    ran(engine="postgresql")
    assert store.flush()
    found = gather(store, "duckdb", "drawn")
    assert len(found.runs.starts) == 1
    assert len(found.served.latencies_ms) == 3  # The sound one; that without a plan; and a disobedient one.
    assert dict(found.dropped) == {
        "a negative time": 1,
        "an absurd time": 2,
        "of another database": 1,
        "not complete": 1,
        "not under the plan that was asked for": 2,
        "without a plan": 1,
        "features of another database": 1,
        "features a negative time": 1,
        "features an absurd time": 2,
    }
    assert len(gather(store, "duckdb", until=BEGIN).runs.starts) == 0
    assert same_database(
        "/a.duckdb a.main search_path= settings=1", "/a.duckdb a.main search_path=x settings=2"
    )
    assert same_database("h:1/d role=a search_path=x settings=2", "h:1/d role=b search_path=y settings=1")
    assert not same_database("h:1/d role=a search_path=x", "h:1/e role=a search_path=x")


def test_damaged_rows_are_left_out_of_training_and_counted(
    tmp_path: Path, small_forests: None, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 300, templates=15)
    sound = gather(store, "duckdb")
    assert not sound.dropped
    odd = {"operator": "SCAN", "extra": {"Workers Planned": 10**400}}
    told = {"engine": "duckdb", "source": "profile", "latency_ms": 1.0, "memory_bytes": None}
    with store.trials._using() as connection:
        ids = [row[0] for row in connection.execute("SELECT execution_id FROM observations ORDER BY at")]
        for one, (column, value) in enumerate(
            [
                ("plan", b"xx"),
                ("at", "2026-01-01"),
                ("latency_ms", "x"),
                ("plan", pack({**told, "nodes": [odd]})),
            ]
        ):
            connection.execute(
                f"UPDATE observations SET {column} = ? WHERE execution_id = ?", (value, ids[one])
            )
        connection.execute("UPDATE features SET vector = x'00' WHERE execution_id = ?", (ids[9],))
        connection.execute("UPDATE trials SET vector = 'x' WHERE id = (SELECT min(id) FROM trials)")
    found = gather(store, "duckdb")
    assert len(found.runs.starts) == len(sound.runs.starts) - 4
    assert dict(found.dropped) == {
        "damaged in the store": 4,
        "features damaged in the store": 3,
        "plan runs damaged in the store": 1,
    }
    report = train(store, tmp_path)
    assert "duckdb-latency" in {f"{entry.card.engine}-{entry.card.kind}" for entry in report.trained}
    assert main(["train", str(store.path), "--models", str(tmp_path)]) == 0
    assert "left out: 4 executions, damaged in the store" in capsys.readouterr().out


def test_a_column_that_is_the_outcome_is_not_learned_from(drawn: Path) -> None:
    served = gather(SqliteStore(drawn), "duckdb").served
    served.vectors[:, COLUMN["past_latency"]] = np.log1p(served.latencies_ms)
    with pytest.raises(ValueError, match="past_latency orders executions as their time does"):
        quantile(served, 0.5, Watch(), 0)


def test_too_little_is_said_and_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    with pytest.raises(InvalidInput, match="there is no store"):
        train(store)
    assert store.flush()
    fill(store, 9, templates=2)
    report = train(store)
    assert not report.trained
    assert set(report.skipped) == NAMES
    assert (
        "9 of at least 100 executions with a plan, 2 of at least 5 templates"
        in report.skipped["duckdb-latency"]
    )
    assert not (tmp_path / "models").exists()
    assert main(["train", str(store.path)]) == 1
    assert "duckdb-ranker: not trained: too little" in capsys.readouterr().out
    assert main(["train", str(store.path), "--engine", "postgresql", "--json"]) == 1
    assert "postgresql-latency" in json.loads(capsys.readouterr().out)["skipped"]
    # What only looks like a store, and what is none.
    assert main(["train", str(tmp_path / "absent.sqlite")]) == 2
    assert main(["train", str(tmp_path)]) == 2
    assert main(["train", "--store", "off"]) == 2
    assert "name one" in capsys.readouterr().err


def test_heads_of_which_one_is_refused_are_all_left_out(
    tmp_path: Path, drawn: Path, small_forests: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = trainers.quantile

    def refusing(served, level, watch, seed):
        fitted = fit(served, level, watch, seed)
        return replace(fitted, refused="off by too much") if level == 0.1 else fitted

    monkeypatch.setattr(trainers, "quantile", refusing)
    report = train(drawn, tmp_path, engine="duckdb")
    assert report.skipped["duckdb-p10"] == "off by too much"
    assert report.skipped["duckdb-p90"] == "it serves together with duckdb-p10 alone"
    assert not {"duckdb-p10", "duckdb-p50", "duckdb-p90"} & set(ModelFolder(tmp_path).names())


def test_no_signal_is_not_exported(tmp_path: Path, drawn: Path, small_forests: None) -> None:
    """Times that have nothing to do with the plans: no model of them is any good, and none is written."""
    source, store = random.Random(3), SqliteStore(tmp_path / "store.sqlite")
    for seen in SqliteStore(drawn).observations(300):
        store.record(
            Decision(seen.fingerprint, "", engine="duckdb"),
            replace(
                seen, plan=replace(seen.plan, latency_ms=None), latency_ms=10.0 * source.lognormvariate(0, 2)
            ),
        )
    assert store.flush()
    report = train(store, tmp_path)
    assert "no better than guessing" in report.skipped["duckdb-latency"]
    assert not report.trained


def test_ctrl_c_stops_within_a_tree_and_leaves_the_models_before(
    tmp_path: Path, trained, drawn: Path
) -> None:
    before = _copied(trained[0], tmp_path)

    pressed: list[float] = []

    def progress(what: str, share: float) -> None:
        if share > 0.2 and not pressed:
            pressed.append(share)
            signal.raise_signal(signal.SIGINT)

    if sys.platform == "win32":
        pytest.skip("Ctrl-C is no signal there")
    with pytest.raises(KeyboardInterrupt):
        train(drawn, tmp_path, progress=progress)
    assert pressed
    assert _listed(tmp_path) == before
    assert Model.newest(tmp_path, "duckdb-latency").key == "duckdb-latency/1"


def test_a_full_disk_is_named_and_leaves_the_models_before(
    tmp_path: Path,
    trained,
    drawn: Path,
    small_forests: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = _copied(trained[0], tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folders.os, "fsync", full)
    assert main(["train", str(drawn), "--models", str(tmp_path)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert _listed(tmp_path) == before


def _copied(folder: Path, target: Path) -> list[str]:
    for name in ModelFolder(folder).names():
        file = ModelFolder(folder).load(name, 1)
        ModelFolder(target).export(file.card, file.data)
    return _listed(target)


def _listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": 10**400}, "engine is 1000"),
        ({"engine": "\ud800"}, "engine is '.*'; give a text"),
        ({"engine": ""}, "engine is ''"),
        ({"database": -1}, "database is -1"),
        ({"until": -1}, "until is -1; give a datetime"),
        ({"until": BEGIN.replace(tzinfo=None)}, "give a datetime with a time zone"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"trained_from": None}, "trained_from is None"),
        ({"progress": -1}, "progress is -1; give a function"),
        ({"folder": -1}, "folder is -1; give a path"),
        ({"store": None}, "store is None; give the path of a store"),
        ({"store": b"x"}, "store is b'x'"),
        ({"store": "x" * 5000}, "cannot look for the store|there is no store"),
        ({"store": "absent\0"}, "there is no store"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_read(given, said: str, drawn: Path) -> None:
    with pytest.raises(InvalidInput, match=said):
        train(**{"store": drawn, **given})


@pytest.mark.parametrize(
    "folder", ["{file}", "{file}/deeper", "{there}/" + "x" * 300, "{there}/a\0", "/proc/nope"]
)
def test_a_folder_that_cannot_be_written_is_said_before_training(
    folder: str, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if folder.startswith("/proc") and sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    (tmp_path / "file").write_text("in the way")

    def read(*given: object, **more: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(running, "gather", read)
    place = folder.format(file=tmp_path / "file", there=tmp_path / "new")
    with pytest.raises(ModelRefused, match="cannot write models to") as refused:
        train(drawn, place)
    assert refused.value.reason == "unwritable"
    assert os.listdir(tmp_path) == ["file"]


def test_trying_whether_a_folder_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    ModelFolder(tmp_path / "one" / "two").check_writable()
    assert os.listdir(tmp_path) == []
    (tmp_path / "one").mkdir()
    ModelFolder(tmp_path / "one").check_writable()
    assert os.listdir(tmp_path / "one") == []


def test_without_scikit_learn_the_extra_is_named(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependency, match=r"needs scikit-learn; pip install 'godb_fast\[train\]'"):
        train(drawn)
    with pytest.raises(InvalidInput, match="needs a store"):
        Optimizer().train()


def test_an_optimizer_trains_from_what_its_sessions_recorded_on_duckdb(
    tmp_path: Path, small_forests: None
) -> None:
    """Real executions with their profiles, of real sizes: templates of one to three joins."""
    store = SqliteStore(tmp_path / "store.sqlite")
    source = random.Random(5)
    with DuckDBEngine.open() as engine:
        for number, rows in enumerate((2_000, 20_000, 200_000)):
            engine.run(
                Rendered(f"CREATE TABLE t{number} AS SELECT i AS id, i % 1000 AS k FROM range({rows}) r(i)")
            )
        texts = [
            "SELECT count(*) FROM t0 JOIN t1 USING (k) WHERE t1.id < {}",
            "SELECT count(*) FROM t0 JOIN t2 USING (id) WHERE t2.id < {}",
            "SELECT t1.k, count(*) FROM t1 JOIN t2 USING (id) WHERE t2.id < {} GROUP BY ALL",
            "SELECT * FROM t2 WHERE id < {} ORDER BY k LIMIT 5",
            "SELECT k, sum(id) FROM t2 WHERE id < {} GROUP BY k ORDER BY 2",
            "SELECT count(*) FROM t0 JOIN t1 USING (id) JOIN t2 USING (id) WHERE t2.k < {}",
        ]  # fmt: skip
        for number in range(180):
            text = texts[number % len(texts)].format(source.randrange(10, 200_000))
            result = engine.run(Rendered(text), profile=True)
            seen = Observation(
                "", number % len(texts), "ok", result.latency_ms, plan=result.plan, plan_source="profile",
                engine=engine.name, database=engine.environment(),
            )  # fmt: skip
            store.record(Decision(seen.fingerprint, "", engine=engine.name), seen)
        report = Optimizer(store=store).train(tmp_path / "models")
        assert set(report.skipped) >= NAMES - {"duckdb-latency"}
        found = gather(store, "duckdb", engine.environment())
        assert len(found.runs.starts) == 180
        assert not np.isnan(found.runs.seconds).any()
        for entry in report.trained:
            model = Model.newest(tmp_path / "models", entry.card.name)
            plan = pipelines(engine.explain(texts[2].format(50)))
            (seconds,) = plan_seconds(plan.source_rows, model.predict(plan.vectors), [0])
            assert 1e-5 < seconds < 10.0


def test_postgres_s_plans_are_explained_and_their_time_is_shared(tmp_path: Path, postgres_url: str) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    source = random.Random(7)
    engine = open_engine(postgres_url)
    try:
        for number, rows in enumerate((1_000, 10_000, 60_000)):
            engine.run(
                Rendered(
                    f"CREATE TABLE t{number} AS SELECT i AS id, i % 1000 AS k FROM generate_series(1, {rows}) r(i)"
                )
            )
            engine.run(Rendered(f"CREATE INDEX ON t{number} (id)"))
        engine.run(Rendered("ANALYZE"))
        texts = [
            "SELECT count(*) FROM t0 JOIN t2 USING (id) WHERE t2.k < {}",
            "SELECT t1.k, count(*) FROM t1 JOIN t2 USING (id) WHERE t2.k < {} GROUP BY t1.k",
            "SELECT * FROM t2 WHERE k < {} ORDER BY k, id LIMIT 5",
            "SELECT k, sum(id) FROM t2 WHERE k < {} GROUP BY k ORDER BY 2",
            "SELECT count(*) FROM t1 WHERE id < {}",
        ]
        for number in range(105):
            sql = texts[number % len(texts)].format(source.randrange(5, 1000))
            result = engine.run(Rendered(sql), profile=True)
            store.record(
                Decision(number % len(texts), "", engine=engine.name),
                Observation(
                    "", number % len(texts), "ok", result.latency_ms, plan=result.plan, plan_source="explain",
                    engine=engine.name, database=engine.environment(),
                ),
            )  # fmt: skip
        assert store.flush()
        found = gather(store, "postgresql", engine.environment())
    finally:
        engine.close()
    assert len(found.runs.starts) == 105
    assert np.isnan(found.runs.seconds).all()
    fitted = latency(found.runs, Watch(), 0)
    predicted = plan_seconds(
        found.runs.source_rows, fitted.estimator.predict(found.runs.vectors), found.runs.starts
    )
    # What it was fitted on: the shares add up to the plans' times.
    assert np.median(np.abs(np.log(predicted / found.runs.latency_s))) < 0.4


def test_exports_of_neighbouring_values_take_the_same_side() -> None:
    """Thresholds lie between float32 values that have no float32 between them."""
    from sklearn.ensemble import GradientBoostingRegressor

    first = np.nextafter(np.float32(1.0), np.float32(2.0))
    steps = [np.float32(1.0), first, np.nextafter(first, np.float32(2.0))]
    rows = np.array(steps * 40, np.float64)[:, None]
    target = 15.0 + np.arange(len(rows)) % 3
    estimator = GradientBoostingRegressor(n_estimators=30, max_depth=2).fit(rows, target)
    before = estimator.predict(rows)
    file = export(
        estimator,
        rows,
        name="duckdb-x",
        version=1,
        kind="latency",
        engine="duckdb",
        columns=("a",),
        trained_from="here",
    )
    assert (estimator.predict(rows) == before).all()
    np.testing.assert_allclose(Model(file).predict(rows), before, rtol=1e-6)

    class Other:
        """An estimator that says something else than what is exported."""

        estimators_ = estimator.estimators_

        def predict(self, sample: np.ndarray) -> np.ndarray:
            return estimator.predict(sample) + 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "godb_fast.learning.training.exporting.to_bytes", lambda *given: (file.data, "variable")
        )
        with pytest.raises(ModelRefused, match="differs from scikit-learn"):
            export(
                Other(), rows, name="duckdb-x", version=1, kind="latency", engine="duckdb", columns=("a",),
                trained_from="here",
            )  # fmt: skip


def test_whole_templates_are_held_out() -> None:
    templates = np.repeat(np.arange(20), 7)
    (chosen,) = held_out(templates, 1)
    assert chosen.sum() == 35
    assert all(len(set(chosen[templates == template])) == 1 for template in range(20))
    assert (held_out(templates, 1)[0] == chosen).all()
    assert (held_out(templates, 2)[0] != chosen).any()
    rounds = held_out(templates, 1, 4)
    assert (np.sum(rounds, axis=0) == 1).all()
    judged, predicted = out_of_fold(templates, 1, 140, lambda test: templates[test].astype(float))
    assert judged.all()
    assert (predicted == templates).all()


def test_a_ranker_of_short_queries_is_not_made_and_says_why(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.executions.SLOWNESS", 0.001)
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 240, templates=12)
    found = gather(store, "duckdb").pairs
    assert len(found.log_ratio) == 80
    with pytest.raises(ValueError, match="own plan takes 50 ms or more"):
        ranker(found, Watch(), 0)


def test_pairs_are_differences_and_the_default() -> None:
    count = len(PHYSICAL_COLUMNS)
    plans, default = np.full((2, count), 5.0), np.arange(float(count))
    rows = pair_vectors(plans, default)
    assert rows.shape == (2, len(PAIR_COLUMNS)) == (2, 2 * count)
    assert rows[0, :3].tolist() == [5.0, 4.0, 3.0]
    assert rows[1, count : count + 3].tolist() == [0.0, 1.0, 2.0]
