"""pg_stat_statements of a real server."""

from __future__ import annotations

import pytest
from postgres_contrib import contrib_programs
from postgres_server import started

from godb_fast.engines.postgres import open_url
from godb_fast.errors import InvalidInput
from godb_fast.workload import rank
from godb_fast.workload.intake import Request, gather, with_synthetic
from godb_fast.workload.postgres_statements import read_statements
from godb_fast.workload.shapes import shape

JOIN = (
    "SELECT count(*) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.city = %s AND o.id < %s"
)


@pytest.fixture
def engine(listed_url):
    with open_url(listed_url, read_only=True) as opened:
        yield opened


def found(workload, part):
    matching = [usage for usage in workload.queries if part in usage.text]
    assert len(matching) == 1, [usage.text for usage in matching]
    return matching[0]


def test_statements_are_counted_as_they_ran(listed_url, engine, session_of):
    connection = session_of(listed_url)
    for limit in range(5):
        connection.execute(JOIN, ("c1", limit * 100))
    for number in (1, 2, 3):
        # Lists of any length are one template of ours, and three of the server's.
        listed = ", ".join(str(i) for i in range(number))
        connection.execute(f"SELECT id FROM orders WHERE id IN ({listed})")
    workload = read_statements(engine)
    join, listed = found(workload, "join orders"), found(workload, "in (")
    assert (join.calls, join.rows) == (5, 5)
    assert (listed.calls, listed.rows) == (3, 0 + 1 + 2)
    server = connection.execute(
        "SELECT sum(calls), sum(total_exec_time), max(max_exec_time) FROM pg_stat_statements s "
        "WHERE query LIKE '%id IN (%' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    assert listed.calls == server[0]
    assert listed.total_ms == pytest.approx(server[1])
    assert listed.max_ms == pytest.approx(server[2])
    ranked = rank(workload, 1_000)
    shares = [entry.share for entry in ranked]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)
    assert ranked[-1].cumulative_share == pytest.approx(1.0)


def test_another_databases_statements_are_not_counted(logging_server, listed_url, engine, session_of):
    with logging_server.server.database("other") as other:
        session_of(other).execute("SELECT 'elsewhere' AS only_there")
        assert not [usage for usage in read_statements(engine).queries if "only_there" in usage.text]
        # A database that is in use cannot be dropped, but this one is, by force.


def test_statements_within_functions_are_part_of_the_call(listed_url, engine, session_of):
    connection = session_of(listed_url)
    connection.execute(
        "CREATE FUNCTION nested() RETURNS bigint LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN (SELECT count(*) FROM orders WHERE note = 'inner one'); END $$"
    )
    connection.execute("SET pg_stat_statements.track = 'all'")
    connection.execute("SELECT nested()")
    workload = read_statements(engine)
    assert found(workload, "select nested").calls == 1
    assert not [usage for usage in workload.queries if "from orders" in usage.text and "count" in usage.text]


def test_a_server_without_the_extension_says_what_to_do(postgres_url):
    with open_url(postgres_url, read_only=True) as engine, pytest.raises(InvalidInput) as caught:
        read_statements(engine)
    message = str(caught.value)
    assert "CREATE EXTENSION pg_stat_statements" in message
    assert "--log" in message
    assert "shared_preload_libraries" in message


def test_an_extension_that_is_not_created_is_named_with_its_database(logging_server):
    with (
        logging_server.server.database("bare") as url,
        open_url(url, read_only=True) as engine,
        pytest.raises(InvalidInput, match="not created in database godb_bare_"),
    ):
        read_statements(engine)


def test_an_extension_that_is_not_loaded_is_told(logging_server, session_of):
    with started(contrib_programs()) as server:
        session_of(server.url).execute("CREATE EXTENSION pg_stat_statements")
        with open_url(server.url, read_only=True) as engine, pytest.raises(InvalidInput) as caught:
            read_statements(engine)
    assert "not loaded" in str(caught.value)
    assert "restart" in str(caught.value)


def test_an_ordinary_role_learns_what_it_may_not_see(logging_server, listed_url, session_of):
    admin = session_of(listed_url)
    admin.execute(JOIN, ("c1", 10))
    role = listed_url.rsplit("/", 1)[1] + "_reader"
    admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    database = listed_url.rsplit("/", 1)[1]
    url = logging_server.server.database_url(database, user=role, password="x")
    try:
        with open_url(url, read_only=True) as engine:
            workload = read_statements(engine)
            assert not [usage for usage in workload.queries if "join orders" in usage.text]
            assert any(f"GRANT pg_read_all_stats TO {role}" in note for note in workload.notes)
            # Hidden time stays in the whole.
            assert workload.total_ms > sum(usage.total_ms for usage in workload.queries)
            admin.execute("REVOKE SELECT ON pg_stat_statements FROM PUBLIC")
            with pytest.raises(InvalidInput, match=f"role {role} may not read"):
                read_statements(engine)
    finally:
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")


def test_the_extension_may_stand_in_any_schema(logging_server, session_of):
    with logging_server.server.database("schema") as url:
        connection = session_of(url)
        connection.execute('CREATE SCHEMA "we""ird"')
        connection.execute('CREATE EXTENSION pg_stat_statements SCHEMA "we""ird"')
        connection.execute("SELECT 41 + 1")
        with open_url(url, read_only=True) as engine:
            assert found(read_statements(engine), "+").calls == 1
        connection.close()


def test_examples_come_from_the_log_then_from_statistics(logging_server, listed_url, engine, session_of):
    connection = session_of(listed_url)
    connection.execute(JOIN, ("c1", 700))
    connection.execute("SELECT note FROM orders WHERE note = 'it''s 1' LIMIT 3")
    connection.execute("UPDATE orders SET note = note WHERE id = 3")
    logs = str(logging_server.settled())
    logged = gather(Request(engine, logs=(logs,)))
    join = found(logged, "join orders")
    assert join.provenance == "logged"
    expected = connection.execute(JOIN, ("c1", 700)).fetchall()
    assert connection.execute(join.example).fetchall() == expected
    assert found(logged, "limit").example == "SELECT note FROM orders WHERE note = 'it''s 1' LIMIT 3"
    without = gather(Request(engine))
    join = found(without, "join orders")
    assert (join.example, join.provenance) == (None, "none")
    made_up = with_synthetic(engine, join)
    assert made_up.provenance == "synthetic"
    assert shape(made_up.text) == shape(join.text)
    assert connection.execute(made_up.example).fetchall()
    # What writes gets no values, whoever asks.
    update = found(logged, "update orders")
    assert with_synthetic(engine, update).example is None


def test_the_catalogue_is_nobodys_workload(listed_url, engine, session_of):
    session_of(listed_url).execute("SELECT pg_catalog.count(*) FROM pg_catalog.pg_class")
    workload = gather(Request(engine))
    assert not [usage for usage in workload.queries if "pg_class" in usage.text]
    assert any("system catalogue" in note for note in workload.notes)


def test_where_there_is_no_list_a_log_is_ranked_instead(logging_server, session_of):
    with logging_server.server.database("unlisted") as url:
        session_of(url).execute("SELECT 'only in the log' AS logged_alone")
        logs = str(logging_server.settled())
        with open_url(url, read_only=True) as engine:
            workload = gather(Request(engine, logs=(logs,)))
            assert "log" in workload.source
            assert found(workload, "logged_alone").calls == 1
            assert any("CREATE EXTENSION" in note for note in workload.notes)
            with pytest.raises(InvalidInput, match="CREATE EXTENSION"):
                gather(Request(engine, "statements", logs=(logs,)))
            with pytest.raises(InvalidInput, match="CREATE EXTENSION"):
                gather(Request(engine))
