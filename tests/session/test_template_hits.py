"""Template hits: what the short way answers is what the longer way answers, for every text of the demo."""

from __future__ import annotations

import time
from collections import defaultdict

import pytest

from godb_fast import recall
from godb_fast.core import Steering
from godb_fast.demo import build, stream
from godb_fast.engines.registry import open_engine
from godb_fast.exploring import Evidence, MemoEntry
from godb_fast.exploring.earlier import key_of
from godb_fast.exploring.subjects import LiveQuery, Subject, examine
from godb_fast.session import Optimizer, Session
from godb_fast.sql import fingerprint
from godb_fast.store import SqliteStore


@pytest.mark.slow
def test_both_ways_answer_alike(tmp_path):
    path = tmp_path / "demo.duckdb"
    build(path, scale=0.02)
    texts: dict[str, list[str]] = defaultdict(list)
    for query in stream(instances=9, scale=0.02, seed=11):
        texts[query.template].append(query.sql)
    store = SqliteStore(tmp_path / "store.sqlite")
    with open_engine(f"duckdb:///{path}") as engine:
        asked = Session(Optimizer(), engine, mode="advise")
        for first, *_ in texts.values():
            decision = asked.optimize(first)
            subject = examine(engine, LiveQuery("q", first))
            assert isinstance(subject, Subject)
            trees = {each.block: each.plan.tree() for each in decision.candidates if each.name != "default"}
            # What is sent as it is, where there is no other join tree.
            steering = Steering(join_trees=tuple(trees.items()))
            proof = Evidence(5, 0.1, 0.05, 0.2, time.time(), "claimed by a test", 1.0)
            entry = MemoEntry(key_of(subject), steering, engine.schema_epoch(), proof)
            store.explorations.remember(engine.name, engine.environment(), entry.to_dict())
        session = Session(Optimizer(store=store), engine, mode="advise")
        served = left = short = 0
        for own in texts.values():
            for text in dict.fromkeys(own):
                decision = session.optimize(text)
                scope = session._scope
                found = fingerprint(text)
                known = scope.template(found)
                short += known.proved is not None
                expected = recall.recalled(engine, scope, known, found, text, None, {})
                prepared = scope.decided(text)
                if expected is None:
                    assert prepared.served is None
                    left += 1
                    continue
                served += 1
                assert decision is prepared.decision
                assert prepared.served is expected.served
                assert (prepared.bucket, prepared.literals) == (expected.bucket, expected.literals)
                assert prepared.rendered == expected.rendered
                assert (decision.sql, decision.steering, decision.action, decision.reason) == (
                    expected.decision.sql,
                    expected.decision.steering,
                    expected.decision.action,
                    expected.decision.reason,
                )
        assert served > 100
        assert left > 20
        assert short > 0.9 * (served + left)
    store.close()
