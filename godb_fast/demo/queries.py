"""The demo's queries: templates with slots, and a stream of literals drawn from the data's domains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from godb_fast.demo import names
from godb_fast.demo.community import DAYS, SEED, Sizes
from godb_fast.demo.randomness import Source
from godb_fast.demo.templates_blocks import BLOCK_TEMPLATES
from godb_fast.demo.templates_joins import JOIN_TEMPLATES

_SLOT: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class QueryTemplate:
    """A query with slots.

    A slot ``{tag}`` or ``{tag_a}`` takes a literal of the domain ``tag``.
    """

    name: str
    sql: str

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots, each once, in the order of the text."""
        return tuple(dict.fromkeys(_SLOT.findall(self.sql)))

    def fill(self, source: Source, sizes: Sizes) -> str:
        """The query with literals drawn from the slots' domains."""
        literals = {slot: DOMAINS[slot.partition("_")[0]](source, sizes) for slot in self.slots}
        return _SLOT.sub(lambda found: literals[found[1]], self.sql)


@dataclass(frozen=True)
class DemoQuery:
    """One query of the stream."""

    template: str
    instance: int
    sql: str

    @property
    def name(self) -> str:
        """Unique in the stream."""
        return f"{self.template}#{self.instance}"


def stream(
    *,
    instances: int = 2,
    scale: float = 1.0,
    seed: int = SEED,
    templates: Sequence[QueryTemplate] | None = None,
) -> Iterator[DemoQuery]:
    """Each template with ``instances`` draws of its literals; the same for a seed and scale.

    The literals of an instance do not depend on how many instances or which templates are asked for.
    """
    sizes = Sizes.at(scale)
    for template in TEMPLATES if templates is None else templates:
        for instance in range(instances):
            source = Source(seed, f"query {template.name} {instance}")
            yield DemoQuery(template.name, instance, template.fill(source, sizes))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rank(source: Source, count: int) -> int:
    """A popularity rank: users ask for what is popular, and now and then for something rare."""
    if bool(source.chance(0.7, 1)[0]):
        return int(source.zipf(count, 1, flat=2.0)[0])
    return int(source.below(count, 1)[0])


def _one_of(values: Sequence[str]) -> Callable[[Source, Sizes], str]:
    return lambda source, sizes: _quoted(values[int(source.below(len(values), 1)[0])])


def _number(values: Sequence[int]) -> Callable[[Source, Sizes], str]:
    return lambda source, sizes: str(values[int(source.below(len(values), 1)[0])])


def _day(first: int, last: int) -> Callable[[Source, Sizes], str]:
    def draw(source: Source, sizes: Sizes) -> str:
        day = date(2015, 1, 1) + timedelta(first + int(source.below(last - first, 1)[0]))
        return f"DATE '{day.isoformat()}'"

    return draw


def _several_tags(source: Source, sizes: Sizes) -> str:
    ranks = dict.fromkeys(_rank(source, sizes.tags) for _ in range(4))
    return ", ".join(_quoted(names.tag_name(rank)) for rank in ranks)


#: How the literal of a slot is drawn, by the part of its name before the underscore.
DOMAINS: Final[dict[str, Callable[[Source, Sizes], str]]] = {
    "tag": lambda source, sizes: _quoted(names.tag_name(_rank(source, sizes.tags))),
    "tags": _several_tags,
    "club": lambda source, sizes: _quoted(names.club_name(_rank(source, sizes.clubs))),
    "member": lambda source, sizes: _quoted(names.member_name(_rank(source, sizes.members))),
    "badge": lambda source, sizes: _quoted(names.badge_name(_rank(source, sizes.badges))),
    "region": lambda source, sizes: _quoted(names.region_name(_rank(source, sizes.regions))),
    "area": _one_of(names.AREAS),
    "language": _one_of(names.LANGUAGES),
    "continent": _one_of(names.CONTINENTS),
    "country": _one_of(names.COUNTRIES),
    "level": _one_of(names.LEVELS),
    "senior": _one_of(names.LEVELS[2:]),
    "status": _one_of(names.STATUSES),
    "kind": _one_of(names.VOTE_KINDS),
    "mood": _one_of(names.MOODS),
    "role": _one_of(names.ROLES),
    "tier": _one_of(names.TIERS),
    "day": _day(200, DAYS - 10),
    "late": _day(DAYS - 400, DAYS - 20),
    "early": _day(100, 900),
    "views": _number((60, 100, 250, 1_000, 5_000)),
    "score": _number((-1, 0, 2, 5, 10)),
    "merit": _number((1, 3, 6, 12, 40)),
    "reputation": _number((20, 40, 100, 400, 3_000)),
    "length": _number((300, 1_000, 3_000, 5_000)),
    "amount": _number((50, 100, 200, 400)),
    "strength": _number((1, 2, 3, 4)),
}

#: All templates, in the order of the stream.
TEMPLATES: Final = tuple(
    QueryTemplate(name, sql.strip()) for name, sql in (*JOIN_TEMPLATES.items(), *BLOCK_TEMPLATES.items())
)
