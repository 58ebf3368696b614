"""Routes: what the short way finds is what the longer way decides."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from oracles.warehouse import BAD, planner, star

from godb_fast import backend as backends
from godb_fast.core import NO_STEERING, LateDecision
from godb_fast.planning.draft import Draft
from godb_fast.sql.fingerprint import fingerprint, lexer

SQL = "SELECT * FROM f, a, b, c WHERE a.kind = {} AND b.kind = {}"
GOOD = (((0, 1), 2), 3)


@dataclass
class Owner:
    """A known template."""

    route: Any = None
    proved: Any = None


@dataclass
class Made:
    """What a route's caller makes of a decision."""

    decision: LateDecision
    rendered: None
    known: Owner
    bucket: bytes
    literals: tuple[str, ...]
    served: Any = None


class Ways:
    """Both ways of one template under a default plan."""

    def __init__(self, tree: Any, backend: str | None = None, most: int = 1000) -> None:
        self.planner = planner(star(), backend=backend)
        self.own = self.planner.own_plans({0: tree})
        self.owner = Owner()
        self.owner.route = self.planner.route(self.owner, 1.1)
        self.exact: dict[str, Made] = {}
        self.templates: dict[Any, Any] = {}
        self.asked: list[str] = []
        self.routes = backends.kernels("routes", backend).Routes(
            lexer("duckdb", backend),
            self.templates,
            self.exact,
            most,
            LateDecision,
            Made,
            NO_STEERING,
            self.make,
        )
        self.know(SQL)

    def know(self, sql: str) -> None:
        found = fingerprint(sql.format(1, 2))
        self.templates[found.hash, found.casing] = (found.key, self.owner)

    def make(self, planned: Any, field: str) -> dict[str, Any]:
        self.asked.append(field)
        if planned.served is not None:
            return {"timings_us": planned.timings_us}
        draft = self.drafted(planned)
        reason, block_reasons = draft.reasons()
        return {
            "reason": reason,
            "block_reasons": block_reasons,
            "timings_us": planned.timings_us,
            "engine": "e",
        }

    def drafted(self, planned: Any) -> Draft:
        return Draft.planned(self.planner, planned, self.own, 1.1)

    def made(self, sql: str) -> Any:
        """What is made of a text on the short way, with what its execution needs."""
        kept = self.routes.find(sql)
        assert self.exact[sql] is kept
        made = kept.prepared()
        assert made.decision is kept.decision
        return made

    def has_made(self, sql: str) -> bool:
        return hasattr(self.routes.find(sql), "prepared")

    def slow(self, literals: tuple[str, ...]) -> Draft:
        draft = self.planner.draft(literals)
        draft.propose(self.own, 1.1)
        return draft

    def learn(self, *literals: tuple[str, str]) -> None:
        for values in literals:
            draft = self.slow(values)
            self.owner.route.learn(draft.bucket, self.planner.only_own(self.own))


@pytest.mark.parametrize("tree", [BAD, GOOD])
def test_both_ways_decide_alike(backend, tree):
    ways = Ways(tree, backend)
    values = [(str(first), str(first * 13 % 1000)) for first in range(0, 1000, 45)]
    ways.learn(*values)
    steered = 0
    for literals in values:
        slow = ways.slow(literals)
        found = ways.routes.find(SQL.format(*literals))
        if hasattr(found, "prepared"):
            assert ways.exact[SQL.format(*literals)] is found
            found = found.prepared()
            assert slow.steering is NO_STEERING
            assert found.known is ways.owner
            assert (found.bucket, found.literals) == (slow.bucket, literals)
            decision = found.decision
            assert (decision.reason, decision.block_reasons) == slow.reasons()
            assert decision.fingerprint == fingerprint(SQL.format(*literals)).hash
        else:
            draft = ways.drafted(found)
            assert draft.steering == slow.steering
            assert draft.steering is not NO_STEERING
            assert draft.reasons() == slow.reasons()
            assert [entry.costs for entry in draft.candidates()] == [
                entry.costs for entry in slow.candidates()
            ]
            steered += 1
    assert (steered > 0) is (tree == BAD)
    assert ways.routes.decided == len(values) - steered


def test_nothing_is_told_before_somebody_asks(backend):
    ways = Ways(GOOD, backend)
    ways.learn(("1", "2"))
    decision = ways.routes.find(SQL.format(1, 2)).decision
    assert (decision.steering, decision.action, ways.asked) == (NO_STEERING, "default", [])
    assert set(decision.timings_us) == {"fingerprint", "estimates", "search"}
    assert all(spent >= 0 for spent in decision.timings_us.values())
    assert decision.engine == "e"
    assert ways.asked == ["timings_us"]


def test_what_has_no_route_gives_its_fingerprint(backend):
    ways = Ways(GOOD, backend)
    unknown_region = SQL.format(1, 2)
    assert ways.routes.find(unknown_region).key == fingerprint(unknown_region).key
    ways.learn(("1", "2"))
    assert ways.has_made(unknown_region)
    assert ways.routes.find("SELECT 2 FROM a").key == fingerprint("SELECT 2 FROM a").key
    ways.owner.route = None
    assert ways.routes.find(unknown_region).key == fingerprint(unknown_region).key


def test_a_collision_of_hashes_never_mixes_two_queries(backend):
    ways = Ways(GOOD, backend)
    ways.learn(("1", "2"))
    ((place, (_, owner)),) = ways.templates.items()
    ways.templates[place] = (fingerprint("SELECT 2 FROM a").key, owner)
    assert not ways.has_made(SQL.format(1, 2))


@pytest.mark.parametrize("text", ["SELECT 'a", "\ud800", None, 7])
def test_what_cannot_be_read_is_left_to_others(backend, text):
    assert Ways(GOOD, backend).routes.find(text) is None


def test_no_more_texts_are_kept_than_allowed(backend):
    ways = Ways(GOOD, backend, most=1)
    ways.learn(("1", "2"), ("3", "4"))
    assert ways.has_made(SQL.format(1, 2))
    assert ways.routes.find(SQL.format(3, 4)) is None
    assert len(ways.exact) == 1


def test_a_filter_that_only_a_closure_knows_is_evaluated(backend):
    ways = Ways(GOOD, backend)
    sql, odd = SQL.format("'x'", 2), ("'x'", "2")
    ways.know(sql)
    ways.learn(odd)
    made = ways.made(sql)
    assert (made.bucket, made.literals) == (ways.slow(odd).bucket, odd)


def test_several_blocks_have_no_route():
    assert planner(star(), star(index=1, parent=0, role="subquery")).route(Owner(), 1.1) is None


def test_threads_share_routes():
    ways = Ways(GOOD)
    values = [(str(number), str(7 * number % 1000)) for number in range(200)]
    ways.learn(*values)

    def ask(literals: tuple[str, str]) -> tuple[bytes, str]:
        made = ways.made(SQL.format(*literals))
        return made.bucket, made.decision.reason

    alone = [ask(literals) for literals in values]
    ways.exact.clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, values)) == alone


def proved(
    ways: Ways,
    backend: Any,
    *entries: tuple[bytes, str],
    near: int = 1,
    apart: frozenset[bytes] = frozenset(),
    pieces: tuple[Any, ...] | None = None,
) -> None:
    ways.owner.proved = backends.kernels("routes", backend).Proved(
        ways.owner,
        ways.owner.route,
        [(region, f"steer {name}", name, apart, near, pieces) for region, name in entries],
    )


def test_what_was_proved_serves_the_nearest_region(backend):
    ways = Ways(GOOD, backend)
    region = ways.slow(("1", "2")).bucket
    step, far = (bytes([region[0] ^ 1, *region[1:]]), bytes([(region[0] + 9) % 250, *region[1:]]))
    proved(ways, backend, (far, "far"), (step, "step"))
    made = ways.made(SQL.format(1, 2))
    assert (made.served, made.decision.steering, made.decision.action) == ("step", "steer step", "steer")
    assert (made.bucket, made.literals) == (region, ("1", "2"))
    assert made.decision.fingerprint == fingerprint(SQL.format(1, 2)).hash
    ways.exact.clear()
    proved(ways, backend, (step, "step"), apart=frozenset({region}))
    assert not ways.has_made(SQL.format(1, 2))
    proved(ways, backend, (step, "step"), (region, "here"))
    assert ways.made(SQL.format(1, 2)).served == "here"


def test_what_was_proved_is_sent_in_its_own_words(backend):
    ways = Ways(GOOD, backend)
    ways.owner.route = None
    text = SQL.format(7, 2)
    proved(ways, backend, (b"", "everywhere"))
    assert ways.made(text).decision.sql == text
    ways.exact.clear()
    proved(ways, backend, (b"", "everywhere"), pieces=("SELECT ", 1, " AND ", 0, ";"))
    made = ways.made(f"  {text}")
    assert made.decision.sql == "SELECT 2 AND 7;"
    for comment in ("/* trace 1 */ ", "  /*+ hint */ ", "-- trace\n"):
        # Who keeps comments is not asked on the short way.
        assert not ways.has_made(comment + text)


@pytest.mark.parametrize("pieces", [("a", 1, " b ", 0, 2, "c"), (2,), ("only", " text"), ("é", 0, 1, 2)])
@pytest.mark.parametrize(
    "values",
    [("7", "'x'", "(1,2 ,\n3)"), ("-7", "'ü'", "(1)"), ("0", "''", f"({', '.join(map(str, range(99)))})")],
)
def test_literals_are_sent_in_their_slots(backend, pieces, values):
    ways = Ways(GOOD, backend)
    ways.owner.route = None
    text = "SELECT * FROM f, a, b, c WHERE a.kind = {} AND b.kind = {} AND c.kind IN {}".format(*values)
    ways.know(text)
    proved(ways, backend, (b"", "everywhere"), pieces=pieces)
    literals = fingerprint(text).literals
    sent = "".join(piece if isinstance(piece, str) else _written(literals[piece]) for piece in pieces)
    for _ in range(2):
        # Read by the lexer, then known again.
        assert ways.made(text).decision.sql == sent
        ways.exact.clear()


def _written(literal: Any) -> str:
    return literal if isinstance(literal, str) else ", ".join(literal)


def test_far_from_what_was_proved_the_longer_way_decides(backend):
    ways = Ways(GOOD, backend)
    ways.learn(("1", "2"))
    region = ways.slow(("1", "2")).bucket
    far = bytes([(region[0] + 9) % 250, *region[1:]])
    proved(ways, backend, (far, "far"), (b"\0", "another length"))
    assert ways.routes.find(SQL.format(1, 2)).key == fingerprint(SQL.format(1, 2)).key
    assert not ways.exact
    proved(ways, backend, (far, "far"), near=250)
    assert ways.made(SQL.format(1, 2)).served == "far"


def test_without_regions_what_was_proved_serves_everywhere(backend):
    ways = Ways(GOOD, backend)
    ways.owner.route = None
    proved(ways, backend, (b"", "everywhere"))
    made = ways.made(SQL.format(7, 2))
    assert (made.served, made.bucket, made.known) == ("everywhere", b"", ways.owner)
    assert set(made.decision.timings_us) == {"recall"}
