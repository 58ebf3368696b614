"""Training in another process while models serve."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.executions import fill
from godb_fast.errors import InvalidInput
from godb_fast.learning.models import shipped
from godb_fast.learning.pipelines import PIPELINE_COLUMNS
from godb_fast.learning.retraining import ModelSlot, Retrainer
from godb_fast.store import SqliteStore

ROWS = np.zeros((2, len(PIPELINE_COLUMNS)))


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")


def test_a_newer_model_takes_over_between_two_calls(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 120, templates=12)
    retrainer = Retrainer(store.path, tmp_path / "models", every=100)
    slot = retrainer.serves(ModelSlot("duckdb-latency", tmp_path / "models"))
    assert slot.model is None
    retrainer.noted(60)
    assert retrainer.poll() is None
    assert retrainer.wait() is None
    retrainer.noted(60)
    assert not retrainer.begin()
    assert retrainer.wait(300) == "exported"
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
    fill(store, 60, templates=12, seed=2)
    try:
        assert retrainer.begin()
        assert retrainer.wait(300) == "exported"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        retrainer.close()
    assert not wrong
    assert slot.model.key == "duckdb-latency/2"
    assert np.isfinite(first.predict(ROWS)).all()
    assert retrainer.exported()["duckdb-latency"] == [1, 2]
    # A version that is damaged later changes nothing for who serves already.
    (tmp_path / "models" / "duckdb-latency" / "2" / "model.onnx").write_bytes(b"")
    assert not slot.refresh()
    assert slot.model.key == "duckdb-latency/2"
    assert retrainer.outcomes == {"exported": 2}


def test_what_fails_is_logged_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 9, templates=2)
    retrainer = Retrainer(store.path, tmp_path / "models")
    assert retrainer.begin()
    assert retrainer.wait(60) == "nothing"
    store.close()
    broken = Retrainer(tmp_path / "absent.sqlite", tmp_path / "models")
    assert broken.begin()
    with caplog.at_level("WARNING", "godb_fast"):
        assert broken.wait(60) == "failed"
    assert "there is no store" in caplog.text
    assert broken.outcomes == {"failed": 1}
    with pytest.raises(InvalidInput, match="at least 1"):
        Retrainer(store.path, tmp_path, every=0)


def test_closing_stops_the_process(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    fill(store, 300, templates=12)
    retrainer = Retrainer(store.path, tmp_path / "models")
    assert retrainer.begin()
    time.sleep(1.0)
    retrainer.close()
    assert retrainer.poll() is None
    left = [name for name in os.listdir(tmp_path) if name == "models"]
    assert not left or retrainer.exported() == {}
    retrainer.close()
