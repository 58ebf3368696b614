"""pg_hint_plan's hints: what we write is read back by a small grammar of our own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godb_fast.core import Block, JoinTree, Relation, Steering, Template
from godb_fast.engines.postgres.hints import hints_of, leading, quoted
from godb_fast.engines.postgres.rendering import hint_comment
from godb_fast.errors import InvalidInput

_TOKEN = re.compile(r'\s*(?:(?P<quoted>"(?:[^"]|"")*")|(?P<mark>[()])|(?P<word>[^\s()"]+))')


def parsed(comment: str) -> list[tuple[str, list[Any]]]:
    """Hints of a comment: ``Name(arguments)``, arguments nested by parentheses."""
    assert comment.startswith("/*+ ")
    assert comment.endswith(" */")
    text = comment[4:-3]
    assert "*/" not in text
    tokens: list[str] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        assert found is not None, text[place:]
        tokens.append(found[0].strip())
        place = found.end()
    hints = []
    number = 0
    while number < len(tokens):
        name = tokens[number]
        assert re.fullmatch(r"[A-Za-z]+", name)
        assert tokens[number + 1] == "("
        stack: list[list[Any]] = [[]]
        number += 2
        while stack:
            token = tokens[number]
            number += 1
            if token == "(":
                stack.append([])
            elif token == ")":
                done = stack.pop()
                if stack:
                    stack[-1].append(done)
                else:
                    hints.append((name, done))
            else:
                plain = token[1:-1].replace('""', '"') if token[0] == '"' else token.lower()
                stack[-1].append(plain)
    return hints


def block(*aliases: str) -> Block:
    return Block(0, None, "main", tuple(Relation(alias) for alias in aliases), None)


def tree_of(aliases: tuple[str, ...], read: Any) -> JoinTree:
    return (
        aliases.index(read)
        if isinstance(read, str)
        else (tree_of(aliases, read[0]), tree_of(aliases, read[1]))
    )


def test_a_tree_and_settings() -> None:
    template = Template(1, "", "postgres", blocks=(block("a", "b", "Customer"),))
    steering = Steering(
        join_trees=((0, ((0, 2), 1)),), settings=(("enable_nestloop", "off"), ("work_mem", "64MB"))
    )
    hints = hints_of(template, steering)
    assert hints == ('Leading(((a "Customer") b))', "Set(enable_nestloop off)", "Set(work_mem 64MB)")
    assert parsed(hint_comment(hints)) == [
        ("Leading", [[["a", "Customer"], "b"]]),
        ("Set", ["enable_nestloop", "off"]),
        ("Set", ["work_mem", "64mb"]),
    ]


names = st.text(min_size=1, max_size=12).filter(
    lambda text: "*/" not in text and "/*" not in text and "\0" not in text and text.isprintable()
)


@settings(max_examples=200, deadline=None)
@given(st.lists(names, min_size=2, max_size=7, unique=True), st.randoms(use_true_random=False))
def test_what_is_written_is_read_back(aliases: list[str], rng: Any) -> None:
    parts: list[JoinTree] = list(range(len(aliases)))
    while len(parts) > 1:
        rng.shuffle(parts)
        parts.append((parts.pop(), parts.pop()))
    hint = leading(block(*aliases), parts[0])
    ((name, arguments),) = parsed(hint_comment([hint]))
    assert name == "Leading"
    assert tree_of(tuple(aliases), arguments[0]) == parts[0]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInput, match="comment"):
        quoted("x*/ DROP TABLE y; --")
    with pytest.raises(InvalidInput, match="comment"):
        hint_comment(["Set(a b) */ SELECT 1"])
    twice = Template(1, "", "postgres", blocks=(block("a", "b"), block("a", "c")))
    with pytest.raises(InvalidInput, match="several places"):
        hints_of(twice, Steering(join_trees=((0, (0, 1)),)))
    with pytest.raises(InvalidInput, match="cannot be written"):
        hints_of(twice, Steering(settings=(("work_mem", "1) Leading(b a"),)))
    with pytest.raises(InvalidInput, match="repeated"):
        leading(block("a", "b"), (0, 0))
