"""One timer thread stops what outlives its limit, and nothing else."""

from __future__ import annotations

import os
import threading
import time

import pytest

from godb_fast.engines.watchdog import WATCHDOG, Watchdog


def test_alarms_ring_in_order_of_their_deadlines() -> None:
    watchdog = Watchdog()
    rung: list[str] = []
    done = threading.Event()
    alarms = []

    def ring(name: str) -> None:
        if name not in rung:
            rung.append(name)
        if len(rung) == 3:
            done.set()

    for seconds, name in ((0.09, "late"), (0.03, "early"), (0.06, "middle")):
        alarms.append(watchdog.arm(seconds, lambda name=name: ring(name)))
    assert done.wait(5)
    assert rung == ["early", "middle", "late"]
    for alarm in alarms:
        alarm.disarm()
        assert alarm.fired


def test_an_alarm_repeats_until_it_is_disarmed() -> None:
    watchdog = Watchdog()
    rung: list[float] = []
    alarm = watchdog.arm(0.0, lambda: rung.append(time.monotonic()))
    while len(rung) < 3:
        time.sleep(0.005)
    alarm.disarm()
    count = len(rung)
    time.sleep(0.1)
    assert len(rung) == count


def test_a_stop_that_raises_silences_no_other_alarm() -> None:
    """As that of a connection which was closed meanwhile: its thread would end, and nobody be stopped in time."""
    watchdog = Watchdog()
    tried: list[int] = []
    rung = threading.Event()

    def closed() -> None:
        tried.append(1)
        raise RuntimeError("Connection already closed!")

    broken = watchdog.arm(0.0, closed)
    sound = watchdog.arm(0.05, rung.set)
    assert rung.wait(10)
    sound.disarm()
    assert broken.fired
    assert not broken.armed
    assert tried == [1]


def test_a_disarmed_alarm_does_not_ring() -> None:
    watchdog = Watchdog()
    rung: list[int] = []
    alarm = watchdog.arm(0.02, lambda: rung.append(1))
    alarm.disarm()
    time.sleep(0.08)
    assert rung == []
    assert not alarm.fired


def test_one_thread_serves_all_and_forgets_what_ended() -> None:
    def running() -> int:
        return sum(thread.name == "godb-fast-watchdog" for thread in threading.enumerate())

    before = running()
    watchdog = Watchdog()
    for _ in range(5000):
        watchdog.arm(3600, lambda: None).disarm()
    assert running() == before + 1
    assert len(watchdog._heap) < 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_a_timer_of_its_own() -> None:
    WATCHDOG.arm(3600, lambda: None).disarm()
    child = os.fork()
    if child == 0:
        rung = threading.Event()
        WATCHDOG.arm(0.01, rung.set)
        os._exit(0 if rung.wait(5) else 1)
    assert os.waitpid(child, 0)[1] == 0
