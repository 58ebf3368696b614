"""Training in another process while models serve: when it begins, what it leaves, and what ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from learning.rankers import ranker

from benchmarks.executions import fill
from godb_fast.core import PhysicalNode, PhysicalPlan
from godb_fast.errors import InvalidInput
from godb_fast.feedback.costs import CostScope
from godb_fast.learning import retraining
from godb_fast.learning.features import PHYSICAL_VERSION
from godb_fast.learning.models import ModelFolder, shipped
from godb_fast.learning.models.waiting import ShadowFolder
from godb_fast.learning.physical import plan_vector
from godb_fast.learning.pipelines import PIPELINE_COLUMNS
from godb_fast.learning.retraining import ModelSlot, Retrainer
from godb_fast.lessons import CostLessons
from godb_fast.store import PlanRun, SqliteStore
from godb_fast.store.trainings import LEASE_S, Trainings

ROWS = np.zeros((2, len(PIPELINE_COLUMNS)))
LONG_S = 300.0


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(retraining, "APART_S", 0.0)


@pytest.fixture
def store(tmp_path: Path):
    kept = SqliteStore(tmp_path / "store.sqlite")
    yield kept
    kept.close()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Executions that take some seconds to learn from."""
    path = tmp_path_factory.mktemp("drawn") / "store.sqlite"
    with closing(SqliteStore(path)) as store:
        fill(store, 1200, templates=12)
    return path


@pytest.fixture
def filled(drawn: Path, tmp_path: Path):
    shutil.copy(drawn, tmp_path / "store.sqlite")
    with closing(SqliteStore(tmp_path / "store.sqlite")) as store:
        yield store


def outcomes(store: SqliteStore) -> list[str | None]:
    return [training.outcome for training in store.trainings.recent()]


def test_enough_executions_train_a_model_that_takes_over_between_two_calls(store: SqliteStore) -> None:
    retrainer = Retrainer(store, every=100)
    slot = ModelSlot("duckdb-latency", store.models)
    assert slot.model is None
    fill(store, 30, templates=12)
    assert retrainer.noted(30)
    # One look at a time.
    assert not retrainer.noted(30)
    retrainer.look()
    assert outcomes(store) == []
    fill(store, 90, templates=12, seed=2)
    retrainer.look()
    assert not retrainer.begin()
    assert retrainer.wait(LONG_S)
    assert outcomes(store) == ["exported"]
    (training,) = store.trainings.recent()
    assert training.why == "100 new executions and runs of plans"
    assert "duckdb-latency/1" in training.told
    # Nothing serves yet that it could be compared with.
    assert retrainer.noted()
    retrainer.look()
    assert slot.refresh()
    assert slot.model.key == "duckdb-latency/1"
    first, wrong, stop = slot.model, [], threading.Event()

    def serve() -> None:
        while not stop.is_set():
            time.sleep(0.001)
            try:
                assert np.isfinite(slot.model.predict(ROWS)).all()
            except Exception as error:  # noqa: BLE001
                wrong.append(error)

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        ModelFolder(store.models).export(_next(store, "duckdb-latency"), _bytes(store, "duckdb-latency"))
        assert slot.refresh()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        retrainer.close()
    assert not wrong
    assert slot.model.key == "duckdb-latency/2"
    assert np.isfinite(first.predict(ROWS)).all()
    # A version that is damaged later changes nothing for who serves already.
    (store.models / "duckdb-latency" / "2" / "model.onnx").write_bytes(b"")
    assert not slot.refresh()
    assert slot.model.key == "duckdb-latency/2"


def _next(store: SqliteStore, name: str):
    return replace(ModelFolder(store.models).load(name, 1).card, version=2)


def _bytes(store: SqliteStore, name: str) -> bytes:
    return ModelFolder(store.models).load(name, 1).data


def test_drift_is_a_reason_once_a_tenth_is_new(store: SqliteStore) -> None:
    retrainer = Retrainer(store, every=500)
    fill(store, 15, templates=5)
    assert not retrainer.noted(15)
    assert retrainer.due() is None
    retrainer.drifted("drift: costs")
    assert retrainer.noted()
    assert retrainer.due() is None
    fill(store, 15, templates=5, seed=2)
    assert retrainer.due() == "drift: costs"
    lessons = CostLessons(CostScope("duckdb", "db", "machine"))
    assert lessons.drift() is None
    lessons.model._all.freeze("drift: Page-Hinkley test of log errors")
    assert lessons.drift() == "drift: Page-Hinkley test of log errors"
    assert lessons.drift() is None


def test_one_training_at_a_time_and_once_an_hour_for_all_processes(store: SqliteStore) -> None:
    now = [1000.0]
    trainings, others = Trainings(store.path), Trainings(store.path)
    trainings.clock = others.clock = lambda: now[0]
    first = trainings.begin("one", "due", apart_s=3600.0)
    assert not isinstance(first, str)
    assert others.begin("two", "due", apart_s=3600.0) == "one is training"
    now[0] += LEASE_S / 2
    assert trainings.renew(first.id)
    now[0] += LEASE_S * 0.9
    assert others.begin("two", "due", apart_s=3600.0) == "one is training"
    # Its process was killed: nobody renews.
    now[0] += LEASE_S
    assert "began" in others.begin("two", "due", apart_s=3600.0)
    assert [each.outcome for each in others.recent()] == ["lost"]
    assert not trainings.renew(first.id)
    assert not trainings.end(first.id, "exported")
    now[0] += 3600.0
    second = others.begin("two", "due", apart_s=3600.0)
    assert not isinstance(second, str)
    assert others.end(second.id, "nothing", "too little")
    # A clock that is set back blocks nobody.
    now[0] = 5.0
    assert not isinstance(trainings.begin("one", "due", apart_s=3600.0), str)


def test_little_is_said_and_a_failure_is_named(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    said: list[tuple[str, str]] = []
    fill(store, 9, templates=2)
    retrainer = Retrainer(store, say=lambda what, why: said.append((what, why)))
    assert retrainer.begin()
    assert retrainer.wait(LONG_S)
    assert outcomes(store) == ["nothing"]
    assert "too little to learn from" in store.trainings.recent()[0].told
    # A file where models should go.
    store.models.write_text("in the way")
    fill(store, 300, templates=12, seed=3)
    assert retrainer.begin()
    assert retrainer.wait(LONG_S)
    assert outcomes(store) == ["failed", "nothing"]
    assert "unwritable" in store.trainings.recent()[0].told
    assert [what for what, _ in said] == ["retraining_failed"]
    assert retrainer.outcomes == {"failed": 1, "nothing": 1}
    with pytest.raises(InvalidInput, match="at least 1"):
        Retrainer(store, every=0)


def test_without_scikit_learn_nothing_begins(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(retraining, "NEEDED", {"sklearn_that_nobody_has": "scikit-nobody"})
    assert not Retrainer(store, say=lambda what, why: said.append((what, why))).begin()
    assert said == [("not_retrained", "training needs scikit-nobody; pip install 'godb_fast[train]'")]
    assert outcomes(store) == []


def begun(store: SqliteStore) -> Retrainer:
    """A training that is under way for some seconds to come."""
    retrainer = Retrainer(store)
    assert retrainer.begin()
    time.sleep(2.0)
    return retrainer


def left_over(store: SqliteStore) -> list[str]:
    return [str(path) for path in store.models.rglob("*") if path.is_file()] if store.models.exists() else []


def test_the_end_of_a_process_ends_its_training(filled: SqliteStore) -> None:
    store = filled
    retrainer = begun(store)
    retrainer.close()
    retrainer.close()
    assert outcomes(store) == ["interrupted"]
    assert store.trainings.recent()[0].told == "the process that asked for it ended"
    assert left_over(store) == []
    assert not retrainer.begin()


def test_a_training_that_is_killed_is_noted_by_who_began_it(filled: SqliteStore) -> None:
    store = filled
    retrainer = begun(store)
    os.kill(retrainer._process.pid, signal.SIGKILL)
    assert retrainer.wait(60.0)
    assert outcomes(store) == ["failed"]
    assert store.trainings.recent()[0].told == "killed by signal 9"
    assert left_over(store) == []
    # The lease is free again.
    assert retrainer.begin()
    retrainer.close()


def test_a_training_that_is_told_to_end_says_so(filled: SqliteStore) -> None:
    store = filled
    retrainer = begun(store)
    retrainer._process.terminate()
    assert retrainer.wait(60.0)
    assert outcomes(store) == ["interrupted"]
    assert store.trainings.recent()[0].told == "stopped by signal 15"


PARENT = """
import sys, time
from godb_fast.learning.retraining import Retrainer
from godb_fast.store import SqliteStore
retrainer = Retrainer(SqliteStore(sys.argv[1]))
assert retrainer.begin()
print(retrainer._process.pid, flush=True)
{end}
"""


def parent(store: SqliteStore, end: str) -> tuple[subprocess.Popen[str], int]:
    script = textwrap.dedent(PARENT).format(end=end)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(store.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def ended(store: SqliteStore, pid: int) -> str | None:
    """The outcome, once the training's process is gone."""
    deadline = time.monotonic() + 60.0
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)
    return store.trainings.recent()[0].outcome


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_parent_that_is_killed_takes_its_training_with_it(filled: SqliteStore, how: signal.Signals) -> None:
    process, training = parent(store := filled, "time.sleep(120)")
    time.sleep(2.0)
    process.send_signal(how)
    process.wait(60.0)
    assert ended(store, training) == "interrupted"
    assert left_over(store) == []


def test_a_parent_that_returns_waits_for_no_training(filled: SqliteStore) -> None:
    process, training = parent(store := filled, "time.sleep(1)")
    assert process.wait(60.0) == 0
    assert ended(store, training) == "interrupted"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing to fork")
def test_a_child_of_a_fork_neither_ends_nor_keeps_the_training_of_its_parent(filled: SqliteStore) -> None:
    end = (
        "import os, signal\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    assert retrainer._process is None\n"
        "    retrainer.close()\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        "time.sleep(1)\n"
        "assert retrainer._process.poll() is None\n"
        "print(child, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process, training = parent(store := filled, end)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.wait(60.0)
        assert ended(store, training) == "interrupted"
    finally:
        os.kill(child, signal.SIGKILL)


def test_half_an_export_is_swept_away(store: SqliteStore) -> None:
    folder = ShadowFolder(store.models)
    file = ranker("joins", above=0.0, below=0.0)
    folder.export(file.card, file.data)
    half = folder.path / "duckdb-ranker" / ".2-abc"
    half.mkdir()
    (half / "model.onnx").write_bytes(b"half")
    folder.sweep()
    assert not half.exists()
    assert folder.waiting("duckdb-ranker") == 1


# -- shadow -------------------------------------------------------------------------------------------

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)


def plan(loops: int) -> PhysicalPlan:
    node = PhysicalNode("Seq Scan", "scan", table="t", estimated_rows=10.0)
    for _ in range(3):
        loops, operator = loops - 1, "Nested Loop" if loops > 0 else "Hash Join"
        node = PhysicalNode(operator, "join", estimated_rows=10.0, children=(node, node))
    return PhysicalPlan(node, "duckdb", "explain")


def later(store: SqliteStore, queries: int, factor: float, *, after: float = 60.0) -> None:
    """Queries of which a plan without loops takes ``factor`` times the time of the engine's own."""
    at = UNTIL + timedelta(seconds=after)
    runs = []
    for number in range(queries):
        for steering, loops, seconds in (("", 3, 0.2), ("no loops", 0, 0.2 * factor)):
            vector = plan_vector(plan(loops))
            name = f"query {after} {number}"
            runs.append(PlanRun("duckdb", "db", name, number, steering, vector, seconds, False, at))
    store.trials.keep(PHYSICAL_VERSION, runs)


def in_shadow(store: SqliteStore, below: float, version: int = 2) -> ShadowFolder:
    """Version 1 serves, and says that plans without loops take half of the time; the next one waits."""
    serving = ranker("delta_loop_joins", above=0.5, below=float(np.log(0.5)))
    if not (store.models / "duckdb-ranker").exists():
        ModelFolder(store.models).export(serving.card, serving.data)
    newer = ranker("delta_loop_joins", above=0.5, below=below, version=version, until=UNTIL.isoformat())
    folder = ShadowFolder(store.models)
    folder.export(newer.card, newer.data)
    return folder


def test_in_shadow_a_model_waits_for_outcomes_that_nobody_learned_from(store: SqliteStore) -> None:
    folder = in_shadow(store, float(np.log(0.1)))
    later(store, 40, 0.1, after=-60.0)
    later(store, 5, 0.1)
    retrainer = Retrainer(store)
    assert retrainer.judge() == []
    assert folder.waiting("duckdb-ranker") == 2
    later(store, 20, 0.1, after=120.0)
    assert retrainer.judge() == ["duckdb-ranker/2"]
    assert ModelFolder(store.models).versions("duckdb-ranker") == [1, 2]
    assert folder.waiting("duckdb-ranker") is None
    (verdict,) = store.trainings.verdicts()
    assert (verdict.model, verdict.outcome) == ("duckdb-ranker/2", "promoted")
    assert "25 later outcomes" in verdict.reason
    slot = ModelSlot("duckdb-ranker", store.models)
    assert slot.model.key == "duckdb-ranker/2"


def test_what_is_worse_in_shadow_never_serves_and_its_number_is_taken(store: SqliteStore) -> None:
    folder = in_shadow(store, float(np.log(0.1)))
    later(store, 30, 0.5)
    assert Retrainer(store).judge() == []
    assert ModelFolder(store.models).versions("duckdb-ranker") == [1]
    assert folder.waiting("duckdb-ranker") is None
    assert "it was worse" in (folder.refused("duckdb-ranker", 2) or "")
    assert [verdict.outcome for verdict in store.trainings.verdicts()] == ["refused"]
    assert folder.next_version("duckdb-ranker") == 3
    # It is not judged again.
    assert Retrainer(store).judge() == []
    assert len(store.trainings.verdicts()) == 1


def test_a_model_in_shadow_that_is_damaged_is_refused_by_name(store: SqliteStore) -> None:
    folder = in_shadow(store, 0.0)
    file = folder.place("duckdb-ranker", 2) / "model.onnx"
    file.write_bytes(file.read_bytes()[:-3])
    Retrainer(store).judge()
    assert "it was cut" in (folder.refused("duckdb-ranker", 2) or "")


def test_two_processes_promote_once_and_a_number_that_is_taken_is_not_replaced(store: SqliteStore) -> None:
    folder = in_shadow(store, 0.0)
    assert folder.promote("duckdb-ranker", 2).key == "duckdb-ranker/2"
    assert folder.promote("duckdb-ranker", 2) is None
    in_shadow(store, 0.1, version=3)
    by_hand = ranker("joins", above=0.0, below=0.0, version=3)
    ModelFolder(store.models).export(by_hand.card, by_hand.data)
    assert folder.promote("duckdb-ranker", 3).key == "duckdb-ranker/4"
    assert ModelFolder(store.models).versions("duckdb-ranker") == [1, 2, 3, 4]
    assert ModelFolder(store.models).load("duckdb-ranker", 3).data == by_hand.data
