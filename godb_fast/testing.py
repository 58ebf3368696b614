"""The contract that every engine keeps, as a test class to subclass.

An engine's tests run it on a real server or database::

    from godb_fast.testing import EngineContract

    class TestMyEngine(EngineContract):
        def make_engine(self):
            return MyEngine.connect("…")       # an empty database

        def make_bystander(self, engine):
            return MyEngine.connect("…")       # a second connection to the same database

pytest collects the ``test_…`` methods; each builds a fresh engine with a small schema. The statements are
kept to what DuckDB and PostgreSQL both read; an engine with another dialect overrides ``SCHEMA`` and
``QUERIES``.
pytest itself is imported only to skip what an engine cannot do.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from godb_fast.core import ColumnKind, JoinTree, PhysicalPlan, QueryGraph, Steering, Template
from godb_fast.engines.base import CancelToken, Engine, EngineResult, Rendered
from godb_fast.engines.dependencies import TellsDependencies
from godb_fast.errors import (
    EngineError,
    MissingStatistics,
    QueryCancelled,
    QueryTimeout,
    ResultTooLarge,
)
from godb_fast.sql import fingerprint, parse_template

__all__ = ["EngineContract"]

#: Rows are compared as floats up to this relative difference.
TOLERANCE = 1e-9


class EngineContract:
    """What an :class:`~godb_fast.engines.base.Engine` promises, as pytest methods.

    Subclasses define :meth:`make_engine`; they may define :meth:`make_bystander` and :meth:`foreign`.
    """

    #: Statements that build the sample tables.
    SCHEMA: ClassVar[tuple[str, ...]] = (
        "CREATE TABLE country (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL)",
        "CREATE TABLE customer (id INTEGER PRIMARY KEY, country_id INTEGER, name VARCHAR, "
        "score DOUBLE PRECISION)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, status VARCHAR, "
        "total NUMERIC(12, 2))",
        "CREATE TABLE item (order_id INTEGER, product_id INTEGER, quantity INTEGER)",
        "CREATE TABLE product (id INTEGER PRIMARY KEY, kind VARCHAR)",
        'CREATE TABLE "odd ""name; --" ("at" INTEGER, "select" INTEGER, "ünï cödé" VARCHAR)',
        "INSERT INTO country SELECT i, 'country ' || i FROM generate_series(1, 20) AS g(i)",
        "INSERT INTO customer SELECT i, CASE WHEN i % 11 = 0 THEN NULL ELSE 1 + (i * i) % 20 END, "
        "'name ' || (i % 50), i / 7.0 FROM generate_series(1, 500) AS g(i)",
        "INSERT INTO orders SELECT i, 1 + (i * 37) % 500, CASE WHEN i % 9 = 0 THEN 'open' ELSE 'done' END, "
        "(i % 1000) * 1.25 FROM generate_series(1, 3000) AS g(i)",
        "INSERT INTO item SELECT 1 + i % 3000, 1 + (i * i) % 60, i % 7 FROM generate_series(1, 9000) AS g(i)",
        "INSERT INTO product SELECT i, 'kind ' || (i % 6) FROM generate_series(1, 60) AS g(i)",
        'INSERT INTO "odd ""name; --" '
        "SELECT i, i % 3, 'text ' || (i % 5) FROM generate_series(1, 200) AS g(i)",
    )
    #: Joins whose every tree must give the same rows; none joins a table with itself.
    QUERIES: ClassVar[tuple[str, ...]] = (
        "SELECT count(*), sum(o.total) FROM customer c, orders o "
        "WHERE c.id = o.customer_id AND o.status = 'open'",
        "SELECT y.name, count(*) AS n FROM country y, customer c, orders o WHERE y.id = c.country_id "
        "AND c.id = o.customer_id AND c.name = 'name 7' GROUP BY y.name ORDER BY n DESC, y.name",
        "SELECT p.kind, min(c.name), max(o.total), count(*) "
        "FROM customer c JOIN orders o ON c.id = o.customer_id "
        "JOIN item i ON i.order_id = o.id JOIN product p ON p.id = i.product_id "
        "WHERE i.quantity > 4 AND p.kind IN ('kind 1', 'kind 2') GROUP BY p.kind",
        "SELECT * FROM country y JOIN customer c ON y.id = c.country_id "
        "JOIN orders o ON c.id = o.customer_id "
        "JOIN item i ON i.order_id = o.id WHERE o.total < 20 AND i.quantity = 3",
        'SELECT d."ünï cödé", count(*) FROM "odd ""name; --" d, orders o, customer c '
        'WHERE d."at" = o.id AND c.id = o.customer_id AND d."select" = 1 GROUP BY 1',
    )
    #: A join of a table with itself.
    SELF_JOIN: ClassVar[str] = (
        "SELECT count(*) FROM customer a, customer b, orders o "
        "WHERE a.country_id = b.country_id AND a.id = o.customer_id AND b.score > 60"
    )
    #: Takes minutes, but not at planning.
    SLOW: ClassVar[str] = (
        "SELECT count(*) FROM item a, item b, item c "
        "WHERE (a.quantity + b.quantity * c.product_id) % 1009 = 3"
    )
    #: Fails while it runs.
    FAILING: ClassVar[str] = (
        "SELECT CAST(c.name AS INTEGER) FROM customer c, orders o WHERE c.id = o.customer_id"
    )
    PURE: ClassVar[tuple[str, ...]] = (
        "SELECT count(*) FROM orders",
        "WITH q AS (SELECT * FROM orders) SELECT max(total) FROM q",
        "SELECT lower(name) FROM customer UNION SELECT status FROM orders",
        "SELECT name, rank() OVER (ORDER BY score) FROM customer",
        "SELECT name FROM customer ORDER BY name LIMIT 3",
    )
    NOT_STEERABLE: ClassVar[tuple[str, ...]] = (
        "SELECT id FROM orders LIMIT 3",
        "SELECT id, total FROM orders ORDER BY total LIMIT 3",
        "SELECT string_agg(status, ',') FROM orders",
        "SELECT row_number() OVER (ORDER BY total) FROM orders",
        "SELECT count(*) FROM (SELECT id FROM orders LIMIT 10) q",
    )
    IMPURE: ClassVar[tuple[str, ...]] = (
        "SELECT random()",
        "SELECT no_such_function(id) FROM orders",
        "INSERT INTO country VALUES (99, 'x')",
        "UPDATE orders SET total = 0",
        "DELETE FROM item",
        "CREATE TABLE other AS SELECT 1 AS x",
        "DROP TABLE item",
        "SELECT 1; DROP TABLE item",
        "BEGIN",
        "",
        "SELEC 1",
    )

    # -- hooks --------------------------------------------------------------------------------------

    def make_engine(self) -> Engine:
        """An engine on an empty database; on one where it may steer, if it can."""
        raise NotImplementedError("an engine's contract test defines make_engine()")

    def make_bystander(self, engine: Engine) -> Engine | None:
        """A second connection to the same database, or None if there can be none."""
        return None

    def foreign(self, engine: Engine) -> Callable[[str], None] | None:
        """Executes statements on the same database past this engine, or None if that is impossible."""
        return None

    def setup_method(self) -> None:
        """Build the sample tables."""
        self.engine = self.make_engine()
        for statement in self.SCHEMA:
            self.run(statement)

    def teardown_method(self) -> None:
        """Close what was opened."""
        self.engine.close()
        del self.engine

    # -- tools --------------------------------------------------------------------------------------

    def run(self, sql: str, **options: Any) -> EngineResult:
        """Run a statement unsteered."""
        return self.engine.run(Rendered(sql), **options)

    def template(self, sql: str) -> tuple[Template, Any]:
        """Template and literals of a statement."""
        statement = fingerprint(sql, self.engine.dialect)
        return parse_template(statement, self.engine.dialect, self.engine.schema()), statement.literals

    def steered(self, sql: str, rng: random.Random) -> tuple[Template, Steering, Rendered]:
        """A statement under a random join tree in each of its plannable blocks."""
        template, literals = self.template(sql)
        assert template.plannable, (template.reason, [block.reason for block in template.blocks])
        trees = tuple(
            (block.index, random_tree(block.graph, rng))
            for block in template.plannable
            if block.graph is not None
        )
        steering = Steering(join_trees=trees)
        return template, steering, self.engine.render(template, literals, steering)

    def needs_steering(self) -> None:
        """Skip where join trees cannot be imposed."""
        if not self.engine.capabilities.join_trees:
            skip(self.engine.capabilities.reason or "join trees cannot be imposed here")

    def shapes(self) -> list[str]:
        """The default plans of all sample queries, as text."""
        return [shape(self.engine.explain(sql)) for sql in self.QUERIES]

    # -- identity -----------------------------------------------------------------------------------

    def test_it_says_what_it_is(self) -> None:
        assert isinstance(self.engine, Engine)
        assert self.engine.name
        assert self.engine.version[0].isdigit()
        capabilities = self.engine.capabilities
        assert capabilities == self.engine.capabilities
        assert capabilities.join_trees or capabilities.reason

    # -- results ------------------------------------------------------------------------------------

    def test_results_have_columns_types_and_rows(self) -> None:
        result = self.run("SELECT id, name FROM country WHERE id < 4 ORDER BY id")
        assert result.columns == ("id", "name")
        assert len(result.types) == 2
        assert result.rows == [(1, "country 1"), (2, "country 2"), (3, "country 3")]
        assert result.latency_ms > 0

    def test_an_empty_result_keeps_its_columns(self) -> None:
        result = self.run("SELECT id, name FROM country WHERE id < 0")
        assert (result.columns, result.rows) == (("id", "name"), [])

    def test_errors_are_ours_and_the_connection_stays_usable(self) -> None:
        for sql in ("SELEC 1", "SELECT no_such_column FROM country", self.FAILING, ""):
            with raises(EngineError):
                self.run(sql)
            assert self.run("SELECT 1").rows == [(1,)]

    def test_a_result_past_the_limit_is_refused(self) -> None:
        with raises(ResultTooLarge):
            self.run("SELECT * FROM item", max_rows=100)
        assert len(self.run("SELECT * FROM item WHERE order_id <= 3", max_rows=100).rows) <= 100
        assert len(self.run("SELECT id FROM country", max_rows=20).rows) == 20

    # -- time ---------------------------------------------------------------------------------------

    def test_a_time_limit_stops_a_statement_and_nothing_else(self) -> None:
        threads = threading.active_count()
        for _ in range(3):
            with raises(QueryTimeout):
                self.run(self.SLOW, timeout_s=0.1)
            assert self.run("SELECT count(*) FROM country").rows == [(20,)]
        assert threading.active_count() <= threads + 1

    def test_a_quick_statement_is_not_hit_by_its_limit_later(self) -> None:
        for _ in range(20):
            assert self.run("SELECT 1", timeout_s=0.5).rows == [(1,)]
        deadline = time.monotonic() + 0.6
        while time.monotonic() < deadline:
            assert self.run("SELECT count(*) FROM item").rows == [(9000,)]

    def test_cancel_stops_a_statement(self) -> None:
        token = CancelToken()
        timer = threading.Timer(0.1, token.cancel)
        timer.start()
        with raises(QueryCancelled):
            self.run(self.SLOW, cancel=token, timeout_s=60)
        timer.join()
        assert self.run("SELECT 1").rows == [(1,)]

    def test_a_statement_that_was_cancelled_before_does_not_start(self) -> None:
        token = CancelToken()
        token.cancel()
        with raises(QueryCancelled):
            self.run("DELETE FROM item", cancel=token)
        assert self.run("SELECT count(*) FROM item").rows == [(9000,)]

    # -- plans --------------------------------------------------------------------------------------

    def test_plans_are_well_formed(self) -> None:
        for sql in self.QUERIES:
            plan = self.engine.explain(sql)
            assert plan.source == "explain"
            scans = [node for node in plan.root.walk() if node.kind == "scan"]
            joins = [node for node in plan.root.walk() if node.kind in ("join", "cross_product")]
            assert len(scans) >= 2
            assert joins
            assert all(node.table for node in scans)
            assert all(node.rows is None for node in plan.root.walk())
            assert any(node.estimated_rows is not None for node in plan.root.walk())
            assert plan.draw()

    def test_explaining_can_be_limited(self) -> None:
        plan = self.engine.explain(self.QUERIES[0], timeout_s=60)
        assert shape(plan) == shape(self.engine.explain(self.QUERIES[0]))

    def test_explaining_runs_nothing(self) -> None:
        with raises(EngineError):
            self.engine.explain("SELECT 1; DELETE FROM item")
        assert self.run("SELECT count(*) FROM item").rows == [(9000,)]

    def test_a_profile_has_actual_rows(self) -> None:
        if not self.engine.capabilities.profile:
            skip("this engine gives no profile with an execution")
        sql = "SELECT c.name, o.id FROM customer c, orders o WHERE c.id = o.customer_id AND o.total < 100"
        plain, profiled = self.run(sql), self.run(sql, profile=True)
        assert Counter(profiled.rows) == Counter(plain.rows)
        assert plain.plan is None
        plan = profiled.plan
        assert plan is not None
        assert plan.source in ("profile", "analyze")
        assert plan.latency_ms
        assert any(node.rows == len(plain.rows) for node in plan.root.walk())
        assert any(node.time_ms is not None for node in plan.root.walk())
        assert self.run(sql).plan is None

    # -- steering -----------------------------------------------------------------------------------

    def test_answers_are_equal_under_every_tree(self) -> None:
        self.needs_steering()
        rng = random.Random(1)
        for sql in (*self.QUERIES, self.SELF_JOIN):
            default = self.run(sql, timeout_s=60)
            for _ in range(6):
                _, steering, statement = self.steered(sql, rng)
                result = self.engine.run(statement, timeout_s=60)
                assert (result.columns, result.types) == (default.columns, default.types), steering
                assert same_rows(result.rows, default.rows), (sql, steering)

    def test_join_trees_are_obeyed(self) -> None:
        self.needs_steering()
        rng = random.Random(2)
        for sql in self.QUERIES:
            for _ in range(6):
                template, steering, statement = self.steered(sql, rng)
                result = self.engine.run(statement, timeout_s=60, profile=True)
                plan = result.plan or self.engine.explain(statement.sql)
                assert self.engine.obeyed(template, steering, plan) is True, (sql, steering, plan.draw())

    def test_disobedience_is_seen(self) -> None:
        self.needs_steering()
        rng = random.Random(3)
        for sql in self.QUERIES[1:4]:
            template, one, statement = self.steered(sql, rng)
            other = one
            while other == one:
                _, other, _ = self.steered(sql, rng)
            result = self.engine.run(statement, timeout_s=60, profile=True)
            plan = result.plan or self.engine.explain(statement.sql)
            assert self.engine.obeyed(template, other, plan) is False

    def test_self_joins_are_never_called_disobedient(self) -> None:
        self.needs_steering()
        rng = random.Random(4)
        for _ in range(8):
            template, steering, statement = self.steered(self.SELF_JOIN, rng)
            result = self.engine.run(statement, timeout_s=60, profile=True)
            if result.plan is not None:
                assert self.engine.obeyed(template, steering, result.plan) is not False

    def test_the_default_tree_can_be_asked_for(self) -> None:
        self.needs_steering()
        for sql in self.QUERIES:
            template, literals = self.template(sql)
            trees = self.engine.default_trees(template, self.engine.explain(sql))
            assert set(trees) <= {block.index for block in template.plannable}
            assert trees, f"no tree was read from the default plan of {sql}"
            steering = Steering(join_trees=tuple(sorted(trees.items())))
            statement = self.engine.render(template, literals, steering)
            assert same_rows(self.engine.run(statement, timeout_s=60).rows, self.run(sql).rows)

    def test_settings_are_put_back_on_every_path(self) -> None:
        self.needs_steering()
        rng = random.Random(5)
        before = (self.engine.environment(), self.shapes())
        _, _, statement = self.steered(self.QUERIES[1], rng)
        self.engine.run(statement)
        assert (self.engine.environment(), self.shapes()) == before
        _, _, failing = self.steered(self.FAILING, rng)
        with raises(EngineError):
            self.engine.run(failing)
        assert (self.engine.environment(), self.shapes()) == before
        _, _, large = self.steered(self.QUERIES[3], rng)
        with raises(ResultTooLarge):
            self.engine.run(large, max_rows=1)
        assert (self.engine.environment(), self.shapes()) == before
        slow = Rendered(
            self.SLOW, before=statement.before, after=statement.after, steering=statement.steering
        )
        with raises(QueryTimeout):
            self.engine.run(slow, timeout_s=0.2)
        assert (self.engine.environment(), self.shapes()) == before
        token = CancelToken()
        timer = threading.Timer(0.1, token.cancel)
        timer.start()
        with raises(QueryCancelled):
            self.engine.run(slow, cancel=token, timeout_s=60)
        timer.join()
        assert (self.engine.environment(), self.shapes()) == before

    def test_a_bystanders_plans_never_change(self) -> None:
        self.needs_steering()
        bystander = self.make_bystander(self.engine)
        if bystander is None:
            skip("there is no second connection to this database")
        try:
            before = [shape(bystander.explain(sql)) for sql in self.QUERIES]
            _, _, statement = self.steered(self.QUERIES[1], random.Random(6))
            slow = Rendered(
                self.SLOW, before=statement.before, after=statement.after, steering=statement.steering
            )
            token = CancelToken()
            ended: list[type[BaseException]] = []

            def steer() -> None:
                try:
                    self.engine.run(slow, cancel=token, timeout_s=60)
                except EngineError as error:
                    ended.append(type(error))

            thread = threading.Thread(target=steer)
            thread.start()
            time.sleep(0.2)
            # A bystander may have to wait for its turn; then the steered statement has to end first.
            stop = threading.Timer(0.5, token.cancel)
            stop.start()
            during = [shape(bystander.explain(sql)) for sql in self.QUERIES]
            thread.join()
            stop.join()
            assert during == before
            assert ended == [QueryCancelled]
            assert [shape(bystander.explain(sql)) for sql in self.QUERIES] == before
        finally:
            bystander.close()

    # -- transactions -------------------------------------------------------------------------------

    def test_a_callers_transaction_is_seen(self) -> None:
        assert self.engine.in_transaction() is False
        self.run("BEGIN")
        assert self.engine.in_transaction() is True
        self.run("INSERT INTO country VALUES (98, 'x')")
        assert self.engine.in_transaction() is True
        self.run("ROLLBACK")
        assert self.engine.in_transaction() is False
        self.run("BEGIN")
        with raises(EngineError):
            self.run(self.FAILING)
        assert self.engine.in_transaction() is True, "an aborted transaction is still open"
        self.run("ROLLBACK")
        assert self.engine.in_transaction() is False
        assert self.run("SELECT count(*) FROM country").rows == [(20,)]

    def test_looking_around_leaves_a_callers_transaction_alone(self) -> None:
        self.run("BEGIN")
        self.run("INSERT INTO country VALUES (98, 'x')")
        self.engine.environment()
        self.engine.schema_epoch()
        self.engine.schema().resolve(("country",))
        self.engine.effects("SELECT 1")
        self.engine.explain(self.QUERIES[0])
        assert self.engine.in_transaction() is True
        assert self.run("SELECT count(*) FROM country").rows == [(21,)]
        self.run("ROLLBACK")
        assert self.run("SELECT count(*) FROM country").rows == [(20,)]

    # -- catalogue ----------------------------------------------------------------------------------

    def test_the_epoch_notices_every_change_of_names(self) -> None:
        seen = {self.engine.schema_epoch()}
        for statement in (
            "ALTER TABLE customer ADD COLUMN note VARCHAR",
            "CREATE VIEW open_orders AS SELECT id FROM orders WHERE status = 'open'",
            "CREATE OR REPLACE VIEW open_orders AS SELECT id FROM orders WHERE status = 'done'",
            "CREATE TEMPORARY TABLE product (id INTEGER, kind VARCHAR, extra INTEGER)",
            "ALTER TABLE customer RENAME COLUMN note TO remark",
            "CREATE TABLE added (x INTEGER)",
        ):
            self.run(statement)
            epoch = self.engine.schema_epoch()
            assert epoch not in seen, statement
            assert self.engine.schema_epoch() == epoch
            seen.add(epoch)

    def test_the_epoch_stays_while_names_do(self) -> None:
        epoch = self.engine.schema_epoch()
        self.run("INSERT INTO country VALUES (21, 'country 21')")
        self.run("SELECT count(*) FROM item")
        self.engine.explain(self.QUERIES[0])
        assert self.engine.schema_epoch() == epoch

    def test_what_a_statement_uses_changes_with_that_alone(self) -> None:
        engine = self.engine
        if not isinstance(engine, TellsDependencies):
            skip("this engine cannot tell what a statement uses")
        sql = "SELECT count(*) FROM orders o JOIN customer c ON o.customer_id = c.id"
        before = engine.dependencies(sql)
        assert before is not None
        assert len(before.tables) == 2
        self.run("CREATE TABLE added (x INTEGER)")
        self.run("ALTER TABLE product ADD COLUMN note VARCHAR")
        assert engine.dependencies(sql) == before
        for statement in ("CREATE INDEX by_customer ON orders (customer_id)",
                          "ALTER TABLE customer ADD COLUMN note VARCHAR"):  # fmt: skip
            self.run(statement)
            now = engine.dependencies(sql)
            assert now is not None
            assert now.digest != before.digest, statement
            before = now
        self.run("CREATE TEMPORARY TABLE customer (id INTEGER)")
        assert engine.dependencies(sql) is None, "a temporary table is one session's"

    def test_the_epoch_notices_what_others_change(self) -> None:
        foreign = self.foreign(self.engine)
        if foreign is None:
            skip("nobody else can reach this database")
        epoch = self.engine.schema_epoch()
        foreign("ALTER TABLE customer ADD COLUMN note VARCHAR")
        assert self.engine.schema_epoch() != epoch
        table = self.engine.schema().resolve(("customer",))
        assert table is not None
        assert table.columns[-1] == "note"

    def test_names_resolve_as_the_engine_does(self) -> None:
        schema = self.engine.schema()
        table = schema.resolve(("customer",))
        assert table is not None
        assert table.columns == ("id", "country_id", "name", "score")
        assert len(table.types) == 4
        assert table.unique == (("id",),)
        assert "id" in table.not_null
        assert table.view_sql is None
        assert table.name.endswith(".customer")
        assert schema.resolve(("no_such_table",)) is None
        assert "customer" in schema.near("custmer")
        odd = schema.resolve(('odd "name; --',))
        assert odd is not None
        assert odd.columns == ("at", "select", "ünï cödé")

    def test_a_temporary_table_shadows(self) -> None:
        self.run("CREATE TEMPORARY TABLE product (only_here INTEGER)")
        table = self.engine.schema().resolve(("product",))
        assert table is not None
        assert table.columns == ("only_here",)
        assert table.temporary

    def test_views_show_their_select(self) -> None:
        self.run("CREATE VIEW open_orders AS SELECT id FROM orders WHERE status = 'open'")
        view = self.engine.schema().resolve(("open_orders",))
        assert view is not None
        assert view.columns == ("id",)
        assert view.view_sql is not None
        assert view.view_sql.lower().lstrip().startswith("select")

    # -- effects ------------------------------------------------------------------------------------

    def test_pure_statements_are_known(self) -> None:
        for sql in self.PURE:
            found = self.engine.effects(sql)
            assert found.pure, (sql, found.reason)
            assert found.steerable, (sql, found.reason)

    def test_answers_that_depend_on_the_plan_are_not_steered(self) -> None:
        for sql in self.NOT_STEERABLE:
            found = self.engine.effects(sql)
            assert not found.steerable, sql
            assert found.reason, sql

    def test_everything_else_is_impure(self) -> None:
        for sql in self.IMPURE:
            found = self.engine.effects(sql)
            assert not found.pure, sql
            assert not found.steerable, sql
            assert found.reason, sql
        assert self.run("SELECT count(*) FROM item").rows == [(9000,)]

    def test_a_view_is_judged_by_what_it_does(self) -> None:
        self.run("CREATE VIEW lucky AS SELECT random() AS r")
        self.run("CREATE VIEW some_orders AS SELECT id FROM orders LIMIT 5")
        assert not self.engine.effects("SELECT * FROM lucky").pure
        assert not self.engine.effects("SELECT * FROM some_orders").steerable

    # -- statistics ---------------------------------------------------------------------------------

    def test_statistics_describe_the_tables(self) -> None:
        statistics = self.engine.statistics()
        orders = self.engine.schema().resolve(("orders",))
        customer = self.engine.schema().resolve(("customer",))
        assert orders is not None
        assert customer is not None
        assert abs(statistics.rows(orders.name) - 3000) <= 300
        key = statistics.column(orders.name, "id")
        assert key is not None
        assert key.kind is ColumnKind.NUMBER
        assert abs(key.distinct - 3000) <= 300
        status = statistics.column(orders.name, "status")
        assert status is not None
        assert status.kind is ColumnKind.TEXT
        assert status.common_values[0] == "done"
        assert abs(float(status.common_shares[0]) - 8 / 9) < 0.05
        country = statistics.column(customer.name, "country_id")
        assert country is not None
        assert abs(country.null_share - 1 / 11) < 0.03
        assert statistics.column(orders.name, "no_such_column") is None
        with raises(MissingStatistics):
            statistics.rows("no.such.table")

    def test_growth_changes_the_statistics_epoch(self) -> None:
        statistics = self.engine.statistics()
        table = self.engine.schema().resolve(("country",))
        assert table is not None
        statistics.rows(table.name)
        epoch = statistics.epoch
        assert statistics.epoch == epoch
        self.run("INSERT INTO country SELECT i, 'more' FROM generate_series(100, 140) AS g(i)")
        assert self.engine.statistics().epoch != epoch


# -- tools ----------------------------------------------------------------------------------------------


def skip(reason: str) -> NoReturn:
    """Skip the running test."""
    import pytest

    pytest.skip(reason)
    raise AssertionError("pytest.skip() returned")


@contextmanager
def raises(kind: type[BaseException]) -> Iterator[None]:
    """Expect exactly this error, or a child of it."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def random_tree(graph: QueryGraph, rng: random.Random) -> JoinTree:
    """A random bushy join tree without cross products between connected relations."""
    parts: list[tuple[frozenset[int], JoinTree]] = [
        (frozenset({number}), number) for number in range(graph.size)
    ]
    edges = graph.edges.tolist()
    while len(parts) > 1:
        rng.shuffle(parts)
        pairs = [
            (i, j)
            for i in range(len(parts))
            for j in range(len(parts))
            if i != j
            and any(
                (a in parts[i][0] and b in parts[j][0]) or (b in parts[i][0] and a in parts[j][0])
                for a, b in edges
            )
        ]
        one, two = pairs[0] if pairs else (0, 1)
        merged = (parts[one][0] | parts[two][0], (parts[one][1], parts[two][1]))
        parts = [part for number, part in enumerate(parts) if number not in (one, two)] + [merged]
    return parts[0][1]


def shape(plan: PhysicalPlan) -> str:
    """Operators and tables of a plan, without numbers."""
    return " ".join(f"{node.operator}:{node.table or ''}:{len(node.children)}" for node in plan.root.walk())


def same_rows(one: Sequence[tuple[Any, ...]], two: Sequence[tuple[Any, ...]]) -> bool:
    """Whether two results hold the same multiset of rows, floats within ``TOLERANCE``."""
    if len(one) != len(two):
        return False
    if Counter(map(repr, one)) == Counter(map(repr, two)):
        return True
    for left, right in zip(sorted(one, key=_sort_key), sorted(two, key=_sort_key), strict=True):
        for a, b in zip(left, right, strict=True):
            if isinstance(a, float) and isinstance(b, float):
                if abs(a - b) > TOLERANCE * max(1.0, abs(a), abs(b)):
                    return False
            elif a != b:
                return False
    return True


def _sort_key(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{value:.6g}" if isinstance(value, float) else repr(value) for value in row)
