"""Plans of statements whose parameters are not given."""

from __future__ import annotations

import pytest

from godb_fast.engines.postgres import open_url
from godb_fast.errors import EngineError

UNBOUND = "SELECT a FROM t WHERE tags @> $1 AND a % 2 = $2 AND b LIKE 'x%'"


@pytest.fixture
def engine(connection, postgres_url):
    connection.execute("CREATE TABLE t (a int, b text, tags text[])")
    with open_url(postgres_url, read_only=True) as opened:
        yield opened


def test_the_plan_that_holds_for_all_values(engine, connection):
    if connection.info.server_version < 160000:
        with pytest.raises(EngineError, match="parameter"):
            engine.explain(UNBOUND)
    else:
        plan = engine.explain(UNBOUND)
        assert "$1" in str(plan.root)
    # The connection is not given up for it.
    assert engine.explain("SELECT a FROM t").root is not None
    assert engine._connection.incarnation == 1


def test_in_a_transaction_it_is_refused_and_the_transaction_lives(engine, connection):
    from godb_fast.engines.base import Rendered

    engine.run(Rendered("BEGIN"))
    with pytest.raises(EngineError, match="parameter"):
        engine.explain(UNBOUND)
    assert engine.run(Rendered("SELECT 1")).rows == [(1,)]
    engine.run(Rendered("ROLLBACK"))
