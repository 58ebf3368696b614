"""Settings that PostgreSQL is steered by: a table with bounds, filtered by what the server allows."""

from __future__ import annotations

import psycopg
import pytest

from godb_fast.engines.postgres.connection import Connection
from godb_fast.engines.postgres.pipeline import Command
from godb_fast.engines.postgres.settings import KNOBS, SteeringSettings, parse, statement
from godb_fast.errors import InvalidInput

ALL = SteeringSettings(dict.fromkeys(KNOBS, ""), shared_buffers_kb=1024 * 1024)


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("enable_hashjoin", "OFF", "off"),
        ("max_parallel_workers_per_gather", "4", "4"),
        ("work_mem", "64MB", "65536kB"),
        ("work_mem", "65536", "65536kB"),
        ("hash_mem_multiplier", "2.5", "2.5"),
        ("random_page_cost", "1.1", "1.1"),
        ("plan_cache_mode", "force_custom_plan", "force_custom_plan"),
        ("min_parallel_table_scan_size", "8MB", "8192kB"),
    ],
)
def test_values_are_checked_and_written_one_way(name: str, value: str, sent: str) -> None:
    assert ALL.check([(name, value)]) == ((name, sent),)
    assert parse([statement(name, sent)]) == ((name, sent),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable_hashjoin", "maybe"),
        ("enable_hashjoin", "off'; DROP TABLE x; --"),
        ("work_mem", "1GB"),
        ("work_mem", "1kB"),
        ("work_mem", "lots"),
        ("hash_mem_multiplier", "100"),
        ("max_parallel_workers_per_gather", "1.5"),
        ("max_parallel_workers_per_gather", "65"),
        ("random_page_cost", "1e99"),
        ("plan_cache_mode", "whatever"),
        ("min_parallel_table_scan_size", "1024"),
        ("statement_timeout", "0"),
        ("session_authorization", "postgres"),
        ("role", "postgres"),
    ],
)
def test_everything_else_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        ALL.check([(name, value)])


def test_memory_of_hash_tables_is_bounded_by_both_settings() -> None:
    # A quarter of 1 GB of shared buffers, twice.
    small = SteeringSettings(dict.fromkeys(KNOBS, "") | {"work_mem": "4096"}, shared_buffers_kb=1024 * 1024)
    assert small.check([("hash_mem_multiplier", "8")]) == (("hash_mem_multiplier", "8"),)
    assert small.check([("hash_mem_multiplier", "2"), ("work_mem", "256MB")])
    assert small.check([("work_mem", "128MB"), ("hash_mem_multiplier", "4")])
    for settings in (
        [("hash_mem_multiplier", "2.1"), ("work_mem", "256MB")],
        [("work_mem", "128MB"), ("hash_mem_multiplier", "4.5")],
    ):
        with pytest.raises(InvalidInput, match="hash tables of"):
            small.check(settings)
    # What the session has counts where nothing else is asked for.
    large = SteeringSettings(dict.fromkeys(KNOBS, "") | {"work_mem": "262144"}, shared_buffers_kb=1024 * 1024)
    with pytest.raises(InvalidInput, match="hash tables of"):
        large.check([("hash_mem_multiplier", "3")])


@pytest.mark.parametrize(
    "text",
    [
        "SET LOCAL role = 'postgres'",
        "SET enable_hashjoin = 'off'",
        "SET LOCAL enable_hashjoin = 'off'; DROP TABLE x",
        "SET LOCAL enable_hashjoin = 'o''ff'",
        "DROP TABLE x",
    ],
)
def test_nothing_but_known_settings_goes_in_front_of_a_statement(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse([text])


def test_the_last_value_counts() -> None:
    assert ALL.check([("jit", "on"), ("jit", "off")]) == (("jit", "off"),)


def test_the_server_takes_what_is_checked(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        connection = Connection(raw)
        known = SteeringSettings.discover(connection.ask)
        assert {"enable_hashjoin", "work_mem", "join_collapse_limit", "plan_cache_mode"} <= set(known.allowed)
        # 64 MB of shared buffers: the rule's floor counts.
        assert known.work_mem_most_kb >= 64 * 1024
        values = {"switch": "off", "integer": "3", "real": "1.5", "memory": "1024kB"}
        for name in known.allowed:
            knob = KNOBS[name]
            value = knob.choices[-1] if knob.kind == "choice" else values[knob.kind]
            if name == "cursor_tuple_fraction":
                value = "0.5"
            checked = known.check([(name, value)])
            before = raw.execute("SELECT current_setting(%s)", [name]).fetchone()
            shown = connection.apart([Command("SELECT current_setting($1)", [name])], checked)[0].rows[0][0]
            assert shown == ("1MB" if knob.kind == "memory" else value), name
            assert raw.execute("SELECT current_setting(%s)", [name]).fetchone() == before
