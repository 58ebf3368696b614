"""Terms out of real templates, distances between them: support and clusters."""

from __future__ import annotations

import itertools
import json

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.engines.duckdb import DuckDBEngine
from godb_fast.errors import InvalidInput
from godb_fast.learning.clustering import QueryClusters
from godb_fast.learning.support import SupportTest
from godb_fast.learning.terms import query_terms
from godb_fast.sql import fingerprint, parse_template

DDL = """
CREATE TABLE person (id INTEGER, name VARCHAR, age INTEGER);
CREATE TABLE city (id INTEGER, name VARCHAR, mayor INTEGER);
CREATE TABLE visit (person_id INTEGER, city_id INTEGER, year INTEGER, note VARCHAR);
"""


@pytest.fixture(scope="module")
def terms():
    connection = duckdb.connect()
    connection.execute(DDL)
    schema = DuckDBEngine.borrow(connection).schema()

    def read(sql):
        found = fingerprint(sql, "postgres")
        return query_terms(parse_template(found, "postgres", schema), found.literals)

    return read


def test_aliases_and_the_order_of_from_and_where_say_nothing(terms):
    one = terms(
        "SELECT count(*) FROM person p, visit v WHERE p.id = v.person_id AND v.year > 1990 AND p.name = 'Ann'"
    )
    other = terms(
        "SELECT count(*) FROM visit x, person y WHERE y.name = 'Ann' AND x.year > 1990 AND x.person_id = y.id"
    )
    assert one == other
    assert one.structure["join person.id = visit.person_id"] == 1.0
    assert one.structure["filter visit.year >"] == 1.0
    assert one.values["least visit.year"] == 1990.0


def test_literals_change_values_and_never_structure(terms):
    sql = "SELECT count(*) FROM person p JOIN visit v ON p.id = v.person_id WHERE p.name IN ({}) AND v.year < {}"
    one, other = terms(sql.format("'Ann', 'Bob'", 1990)), terms(sql.format("'Bob', 'Cy', 'Di'", 2000))
    assert one.structure == other.structure
    shared = set(one.values) & set(other.values)
    assert {name for name in shared if name.startswith("value ")} == {
        name for name in terms(sql.format("'Bob'", 1)).values if name.startswith("value ")
    }
    assert one.values["most visit.year"] < other.values["most visit.year"]
    assert one.values["values person.name"] < other.values["values person.name"]


def test_no_literal_appears_in_a_term(terms):
    found = terms(
        "SELECT count(*) FROM person p, city c WHERE p.id = c.mayor AND p.name = 'secret' AND c.name LIKE '%hid%'"
    )
    text = json.dumps([dict(found.structure), dict(found.values)])
    assert "secret" not in text
    assert "hid" not in text
    assert found.values["open city.name"] == 1.0


def test_conditions_inside_of_or_and_not_are_counted(terms):
    found = terms(
        "SELECT count(*) FROM person p, visit v WHERE p.id = v.person_id AND (p.age < 3 OR p.name IS NULL) AND NOT v.year = 7"
    )
    assert found.structure["disjunctions"] == 1.0
    assert found.structure["filter person.age <"] == 1.0
    assert found.structure["filter person.name is_null"] == 1.0


def test_blocks_and_kinds_of_joins_are_structure(terms):
    found = terms(
        "SELECT p.name, count(*) FROM person p LEFT JOIN visit v ON p.id = v.person_id "
        "WHERE EXISTS (SELECT 1 FROM city c WHERE c.mayor = p.id) GROUP BY p.name"
    )
    assert found.structure["left joins"] == 1.0
    assert found.structure["semi joins"] == 1.0
    assert found.structure["grouping columns"] == 1.0


BASE = {"table a": 1.0, "table b": 1.0, "join a.x = b.y": 1.0, "relations": 2.0}
NEAR = BASE | {"filter a.x =": 1.0}
FAR = {"table q": 3.0, "join q.x = q.y": 2.0, "relations": 3.0, "blocks": 4.0}


def test_support_measures_against_the_distances_that_training_groups_have():
    structures = [BASE, NEAR, BASE | {"filter b.y <": 1.0}, BASE | {"filter b.y =": 2.0}]
    test = SupportTest.of(structures, ["1", "2", "3", "4"])
    assert test.verdict(BASE).inside
    assert test.verdict(BASE | {"filter a.x <": 1.0}).inside
    far = test.verdict(FAR)
    assert not far.inside
    assert far.distance > far.allowed
    assert test.verdict(BASE | dict.fromkeys(("table z", "join b.y = z.w", "filter z.w ="), 3.0)).distance > (
        test.verdict(NEAR).distance
    )


def test_variants_of_one_group_do_not_make_each_other_near():
    variants = [BASE | {f"filter a.c{number} =": 1.0} for number in range(6)]
    alone = SupportTest.of(variants, ["one"] * 6)
    assert alone.allowed == 0.0
    assert alone.verdict(variants[2]).inside
    assert not alone.verdict(BASE).inside
    assert SupportTest.of([*variants, FAR], ["one"] * 6 + ["two"]).allowed > 0.5


def test_support_and_clusters_survive_json():
    structures = [BASE, NEAR, FAR, BASE | {"filter b.y <": 1.0}]
    test = SupportTest.of(structures, list("abcd"))
    clusters = QueryClusters()
    names = [clusters.assign(one) for one in structures]
    test = SupportTest.from_dict(json.loads(json.dumps(test.to_dict())))
    again = QueryClusters.from_dict(json.loads(json.dumps(clusters.to_dict())))
    assert [again.assign(one) for one in structures] == names
    new = FAR | {"table r": 1.0}
    assert again.assign(new) == clusters.assign(new)
    assert test.verdict(new) == SupportTest.of(structures, list("abcd")).verdict(new)
    for broken in ({}, {**clusters.to_dict(), "terms": 0}, {**clusters.to_dict(), "leaders": {}}):
        with pytest.raises(InvalidInput):
            QueryClusters.from_dict(broken)
    for broken in ({}, {**test.to_dict(), "terms": 0}, {**test.to_dict(), "groups": [0]}):
        with pytest.raises(InvalidInput):
            SupportTest.from_dict(broken)


structures = st.lists(
    st.dictionaries(
        st.sampled_from([f"t{number}" for number in range(7)]), st.integers(1, 4).map(float), min_size=1
    ),
    min_size=1,
    max_size=12,
)


@given(structures)
@settings(max_examples=100, deadline=None)
def test_a_query_keeps_its_cluster_whatever_comes_later_and_members_are_near_their_leader(many):
    clusters = QueryClusters(0.15)
    first = [clusters.assign(one) for one in many]
    assert [clusters.assign(one) for one in many] == first
    assert [QueryClusters(0.15).assign(many[0])] == first[:1]
    leaders = dict(reversed(list(zip(first, many, strict=True))))
    for name, one in zip(first, many, strict=True):
        leader = leaders[name]
        assert name == QueryClusters().assign(leader)
        assert SupportTest.of([leader], ["x"]).verdict(one).distance <= 0.15 + 1e-9


def test_different_leaders_are_apart():
    clusters = QueryClusters(0.1)
    many = [{"a": 1.0, f"b{number}": float(number)} for number in range(1, 9)]
    leaders = {}
    for one in many:
        leaders.setdefault(clusters.assign(one), one)
    for one, other in itertools.combinations(leaders.values(), 2):
        assert SupportTest.of([one], ["x"]).verdict(other).distance > 0.1
