"""Generates the demo's data: columns of numbers, the same for a seed on every platform.

The traps are those of real data. Popularity is Zipfian, and one ranking of members and questions holds in
all tables, so that keys are hot *together* and join sizes multiply. Columns depend on each other within a
table (level on reputation, status on age) and across joins (a question speaks its author's language, its
tags come from the author's area, votes follow the question's popularity). Popularity and id are unrelated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.demo import names
from godb_fast.demo.randomness import Ints, Source
from godb_fast.errors import InvalidInput

#: The seed of the published demo.
SEED: Final = 20240229
#: Days since 2015-01-01 that the community has lived.
DAYS: Final = 3400

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Sizes:
    """Rows per table. Entities and links grow with the scale, tags and clubs with its square root."""

    regions: int
    members: int
    tags: int
    clubs: int
    badges: int
    questions: int
    answers: int
    votes: int
    comments: int
    memberships: int
    follows: int
    interests: int
    awards: int
    bounties: int

    @classmethod
    def at(cls, scale: float) -> Sizes:
        """Sizes at a scale; 1.0 makes about three million rows.

        Raises
        ------
        InvalidInput
            Unless 0.001 ≤ scale ≤ 100.
        """
        if not 0.001 <= scale <= 100:
            raise InvalidInput(f"scale {scale} is not between 0.001 and 100")

        def many(count: int) -> int:
            return max(50, int(count * scale))

        def some(count: int) -> int:
            return max(60, int(count * float(np.sqrt(scale))))

        return cls(
            regions=40,
            members=many(60_000),
            tags=some(1_500),
            clubs=some(1_000),
            badges=50,
            questions=many(200_000),
            answers=many(450_000),
            votes=many(800_000),
            comments=many(330_000),
            memberships=many(220_000),
            follows=many(240_000),
            interests=many(240_000),
            awards=many(150_000),
            bounties=many(9_000),
        )


@dataclass(frozen=True, eq=False)
class _Members:
    """What other tables need to know of members; indexed by id - 1, but ``by_activity`` by rank."""

    by_activity: Ints
    activity: Ints
    area: Ints
    language: Ints
    joined: Ints
    level: Ints

    def active(self, source: Source, count: int, *, flat: float) -> Ints:
        """Members drawn by activity (positions, not ids)."""
        return self.by_activity[source.zipf(len(self.by_activity), count, flat=flat)]


def generate(scale: float = 1.0, seed: int = SEED) -> dict[str, Columns]:
    """All tables as arrays of numbers: ids, codes (positions in the tuples of ``names``) and days.

    Raises
    ------
    InvalidInput
        If the scale is out of range.
    """
    sizes = Sizes.at(scale)
    tables: dict[str, Columns] = {}

    def source(name: str) -> Source:
        return Source(seed, name)

    tables["region"] = _regions(sizes)
    members = _members(tables, sizes, source("member"))
    tag_by_rank, tag_area = _tags(tables, sizes, source("tag"))
    club_by_rank, club_area = _clubs(tables, sizes, source("club"))
    _badges(tables, sizes)
    popularity = _questions(tables, sizes, source("question"), members)
    _answers(tables, sizes, source("answer"), members, popularity)
    _question_tags(tables, sizes, source("question_tag"), members, tag_by_rank, tag_area)
    _votes(tables, sizes, source("vote"), members, popularity)
    _comments(tables, sizes, source("comment"), members, popularity)
    _memberships(tables, sizes, source("membership"), members, club_by_rank, club_area)
    _follows(tables, sizes, source("follow"), members)
    _interests(tables, sizes, source("interest"), members, tag_by_rank, tag_area)
    _awards(tables, sizes, source("award"), members)
    _bounties(tables, sizes, source("bounty"), members, popularity)
    return tables


def _ids(count: int) -> NDArray[np.int32]:
    return np.arange(1, count + 1, dtype=np.int32)


def _codes(values: Ints) -> NDArray[np.int16]:
    return values.astype(np.int16)


def _keys(positions: Ints) -> NDArray[np.int32]:
    return (positions + 1).astype(np.int32)


def _days(values: Ints) -> NDArray[np.int32]:
    return np.clip(values, 0, DAYS - 1).astype(np.int32)


def _regions(sizes: Sizes) -> Columns:
    rank = np.arange(sizes.regions)
    return {
        "id": _ids(sizes.regions),
        "rank": rank.astype(np.int32),
        "country": _codes((rank // 2) % len(names.COUNTRIES)),
        "continent": _codes((rank // 2) % len(names.COUNTRIES) // 4),
        "language": _codes((rank // 3) % len(names.LANGUAGES)),
    }


def _members(tables: dict[str, Columns], sizes: Sizes, source: Source) -> _Members:
    count = sizes.members
    by_activity = source.permutation(count)
    activity = np.empty(count, np.int64)
    activity[by_activity] = np.arange(count)
    region = source.zipf(sizes.regions, count, flat=1.0)
    main_language = tables["region"]["language"].astype(np.int64)[region]
    # Most speak the language of their region; the world's first language is everybody's second.
    language = np.where(source.chance(0.85, count), main_language, source.zipf(12, count))
    # Areas follow languages: a tag says much about the language that its questions are in.
    area = np.where(source.chance(0.6, count), (language * 3) % 8, source.zipf(8, count))
    joined = (source.uniform(count) * DAYS * (0.3 + 0.7 * (activity / count))).astype(np.int64)
    # Ranks are stretched to those of scale 1, so that thresholds in queries mean the same at any scale.
    reputation = 720_000 // ((activity * 60_000) // count + 12) + source.waiting(count, 400)
    level = np.searchsorted(np.array([60, 600, 6_000]), reputation, side="right")
    tables["member"] = {
        "id": _ids(count),
        "rank": activity.astype(np.int32),
        "region_id": np.where(source.chance(0.03, count), 0, region + 1).astype(np.int32),
        "language": _codes(language),
        "level": _codes(level),
        "reputation": reputation.astype(np.int32),
        "joined": _days(joined),
        "is_bot": source.chance(np.where(activity < 40, 0.25, 0.004), count),
    }
    return _Members(by_activity, activity, area, language, joined, level)


def _tags(tables: dict[str, Columns], sizes: Sizes, source: Source) -> tuple[Ints, Ints]:
    count = sizes.tags
    by_rank = source.permutation(count)
    rank = np.empty(count, np.int64)
    rank[by_rank] = np.arange(count)
    area = np.array([names.area_of_tag(int(entry)) for entry in rank])
    tables["tag"] = {
        "id": _ids(count),
        "rank": rank.astype(np.int32),
        "area": _codes(area),
        "created": _days((rank * DAYS) // (2 * count) + source.below(200, count)),
    }
    return by_rank, area


def _clubs(tables: dict[str, Columns], sizes: Sizes, source: Source) -> tuple[Ints, Ints]:
    count = sizes.clubs
    by_rank = source.permutation(count)
    rank = np.empty(count, np.int64)
    rank[by_rank] = np.arange(count)
    area = source.zipf(8, count, flat=1.0)
    tables["club"] = {
        "id": _ids(count),
        "rank": rank.astype(np.int32),
        "area": _codes(area),
        "founded": _days(source.below(DAYS * 3 // 4, count)),
        "is_public": source.chance(np.where(rank < count // 5, 0.95, 0.4), count),
    }
    return by_rank, area


def _badges(tables: dict[str, Columns], sizes: Sizes) -> None:
    rank = np.arange(sizes.badges)
    tables["badge"] = {
        "id": _ids(sizes.badges),
        "rank": rank.astype(np.int32),
        "tier": _codes(np.searchsorted(np.array([30, 44]), rank, side="right")),
    }


def _questions(tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members) -> Ints:
    count = sizes.questions
    by_popularity = source.permutation(count)
    popularity = np.empty(count, np.int64)
    popularity[by_popularity] = np.arange(count)
    author = members.active(source, count, flat=20.0)
    joined = members.joined[author]
    asked = joined + (source.uniform(count) * (DAYS - joined)).astype(np.int64)
    stretched = (popularity * 200_000) // count
    views = 8_000_000 // (stretched + 30) + source.waiting(count, 300)
    score = 400_000 // (stretched + 400) + source.waiting(count, 9) - source.below(3, count)
    # Old or popular questions are answered; recent ones are open.
    recent = asked > DAYS - 250
    status = np.where(
        source.chance(np.where(recent, 0.35, 0.85), count),
        0,
        np.where(recent, 1, 1 + source.zipf(3, count, flat=0.5)),
    )
    language = np.where(source.chance(0.92, count), members.language[author], 0)
    tables["question"] = {
        "id": _ids(count),
        "author_id": _keys(author),
        "language": _codes(language),
        "asked": _days(asked),
        "status": _codes(status),
        "score": score.astype(np.int32),
        "views": views.astype(np.int32),
        # Only closed questions have a day of closing: NULL elsewhere.
        "closed": np.where(status >= 2, np.minimum(asked + source.waiting(count, 200), DAYS - 1), -1).astype(
            np.int32
        ),
    }
    return by_popularity


def _answers(
    tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members, popularity: Ints
) -> None:
    count = sizes.answers
    # Half follow popularity, half are spread.
    question = np.where(
        source.chance(0.5, count),
        popularity[source.zipf(sizes.questions, count, flat=60.0)],
        source.below(sizes.questions, count),
    )
    question.sort()
    author = members.active(source, count, flat=8.0)
    first = np.ones(count, np.bool_)
    first[1:] = question[1:] != question[:-1]
    answered = tables["question"]["status"][question] == 0
    accepted = first & answered & source.chance(0.7, count)
    score = source.waiting(count, 40) - source.below(3, count) + np.where(accepted, 4, 0)
    score += members.level[author] * 2
    tables["answer"] = {
        "id": _ids(count),
        "question_id": _keys(question),
        "author_id": _keys(author),
        "posted": _days(tables["question"]["asked"][question].astype(np.int64) + source.waiting(count, 500)),
        "accepted": accepted,
        "score": score.astype(np.int32),
        "length": (60 + source.waiting(count, 6000) + members.level[author] * 150).astype(np.int32),
    }


def _by_area(source: Source, wanted: Ints, by_rank: Ints, area: Ints, loyal: float, flat: float) -> Ints:
    """Things drawn by popularity, for a share ``loyal`` only among those of the wanted area."""
    drawn = by_rank[source.zipf(len(by_rank), len(wanted), flat=flat)]
    stays = source.chance(loyal, len(wanted))
    for number in range(len(names.AREAS)):
        own = by_rank[area[by_rank] == number]
        places = np.flatnonzero(stays & (wanted == number))
        if own.size and places.size:
            drawn[places] = own[source.zipf(own.size, places.size, flat=flat)]
    return drawn


def _distinct_pairs(first: Ints, second: Ints, limit: int) -> tuple[Ints, Ints]:
    """The pairs without repetition, in order."""
    pairs = np.unique(first * limit + second)
    return pairs // limit, pairs % limit


def _question_tags(
    tables: dict[str, Columns],
    sizes: Sizes,
    source: Source,
    members: _Members,
    tag_by_rank: Ints,
    tag_area: Ints,
) -> None:
    per_question = 1 + source.zipf(5, sizes.questions, flat=1.0)
    question = np.repeat(np.arange(sizes.questions), per_question)
    author = tables["question"]["author_id"].astype(np.int64)[question] - 1
    tag = _by_area(source, members.area[author], tag_by_rank, tag_area, 0.7, 2.0)
    question, tag = _distinct_pairs(question, tag, sizes.tags)
    tables["question_tag"] = {"question_id": _keys(question), "tag_id": _keys(tag)}


def _votes(
    tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members, popularity: Ints
) -> None:
    count = sizes.votes
    answers = tables["answer"]
    # Votes go where the answers of popular questions are, and to the better answers.
    weights = 1.0 + np.clip(answers["score"], 0, None).astype(np.float64)
    rank = np.empty(sizes.questions, np.int64)
    rank[popularity] = (np.arange(sizes.questions) * 200_000) // sizes.questions
    weights *= 1.0 + 40_000.0 / (rank[answers["question_id"].astype(np.int64) - 1] + 800.0)
    answer = source.ranks(weights, count)
    voter = members.active(source, count, flat=30.0)
    liked = answers["score"][answer].astype(np.int64) > 4
    kind = np.where(source.chance(np.where(liked, 0.9, 0.6), count), 0, 1 + source.zipf(3, count, flat=0.5))
    tables["vote"] = {
        "id": _ids(count),
        "answer_id": _keys(answer),
        "voter_id": _keys(voter),
        "kind": _codes(kind),
        "cast_on": _days(answers["posted"][answer].astype(np.int64) + source.waiting(count, 900)),
    }


def _comments(
    tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members, popularity: Ints
) -> None:
    count = sizes.comments
    question = popularity[source.zipf(sizes.questions, count, flat=100.0)]
    author = members.active(source, count, flat=15.0)
    novice = members.level[author] == 0
    mood = np.where(
        source.chance(np.where(novice, 0.08, 0.004), count), 3, np.minimum(source.zipf(3, count, flat=0.3), 2)
    )
    tables["comment"] = {
        "id": _ids(count),
        "question_id": _keys(question),
        "author_id": _keys(author),
        "mood": _codes(mood),
        "posted": _days(tables["question"]["asked"][question].astype(np.int64) + source.waiting(count, 700)),
    }


def _memberships(
    tables: dict[str, Columns],
    sizes: Sizes,
    source: Source,
    members: _Members,
    club_by_rank: Ints,
    club_area: Ints,
) -> None:
    member = members.active(source, sizes.memberships, flat=300.0)
    club = _by_area(source, members.area[member], club_by_rank, club_area, 0.7, 4.0)
    club, member = _distinct_pairs(club, member, sizes.members)
    count = len(club)
    role = np.where(source.chance(np.where(members.level[member] >= 2, 0.3, 0.02), count), 1, 0)
    role = np.where(source.chance(0.01, count), 2, role)
    tables["membership"] = {
        "club_id": _keys(club),
        "member_id": _keys(member),
        "role": _codes(role),
        "since": _days(np.maximum(members.joined[member], tables["club"]["founded"][club])),
    }


def _follows(tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members) -> None:
    follower = members.active(source, sizes.follows, flat=400.0)
    followed = members.active(source, sizes.follows, flat=25.0)
    different = follower != followed
    follower, followed = _distinct_pairs(follower[different], followed[different], sizes.members)
    tables["follow"] = {
        "follower_id": _keys(follower),
        "followed_id": _keys(followed),
        "since": _days(np.maximum(members.joined[follower], members.joined[followed])),
    }


def _interests(
    tables: dict[str, Columns],
    sizes: Sizes,
    source: Source,
    members: _Members,
    tag_by_rank: Ints,
    tag_area: Ints,
) -> None:
    member = members.active(source, sizes.interests, flat=500.0)
    tag = _by_area(source, members.area[member], tag_by_rank, tag_area, 0.8, 3.0)
    member, tag = _distinct_pairs(member, tag, sizes.tags)
    tables["interest"] = {
        "member_id": _keys(member),
        "tag_id": _keys(tag),
        "strength": _codes(1 + source.zipf(5, len(member))),
    }


def _awards(tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members) -> None:
    count = sizes.awards
    member = members.active(source, count, flat=40.0)
    badge = np.minimum(source.zipf(sizes.badges, count) + members.level[member] * 4, sizes.badges - 1)
    joined = members.joined[member]
    tables["award"] = {
        "member_id": _keys(member),
        "badge_id": _keys(badge),
        "awarded": _days(joined + (source.uniform(count) * (DAYS - joined)).astype(np.int64)),
    }


def _bounties(
    tables: dict[str, Columns], sizes: Sizes, source: Source, members: _Members, popularity: Ints
) -> None:
    count = sizes.bounties
    question = popularity[source.zipf(sizes.questions, count, flat=500.0)]
    tables["bounty"] = {
        "id": _ids(count),
        "question_id": _keys(question),
        "sponsor_id": _keys(members.active(source, count, flat=10.0)),
        "amount": (50 * (1 + source.zipf(10, count))).astype(np.int32),
        "offered": _days(tables["question"]["asked"][question].astype(np.int64) + source.waiting(count, 300)),
    }
