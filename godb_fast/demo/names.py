"""Names in the demo database. Ranks count popularity: rank 0 is the most popular."""

from __future__ import annotations

from typing import Final

AREAS: Final = ("programming", "cooking", "gardening", "music", "travel", "science", "games", "crafts")
LANGUAGES: Final = ("en", "es", "de", "fr", "pt", "ja", "it", "pl", "nl", "sv", "cs", "fi")
CONTINENTS: Final = ("Europe", "America", "Asia", "Africa", "Oceania")
LEVELS: Final = ("newcomer", "regular", "trusted", "moderator")
STATUSES: Final = ("answered", "open", "closed", "duplicate")
VOTE_KINDS: Final = ("up", "down", "flag", "bookmark")
MOODS: Final = ("neutral", "praise", "criticism", "spam")
ROLES: Final = ("member", "editor", "owner")
TIERS: Final = ("bronze", "silver", "gold")
COUNTRIES: Final = (
    "Aldria", "Borland", "Corvia", "Dunmark", "Estova", "Ferland", "Galdia", "Halvia", "Ingria", "Jorland",
    "Kestria", "Lormark", "Mervia", "Norland", "Ostria", "Pelmark", "Querland", "Rovia", "Selmark", "Tarland",
)  # fmt: skip

_TAG_STEMS: Final = {
    "programming": ("sql", "python", "regex", "threads", "parsing", "caching", "sorting", "testing"),
    "cooking": ("bread", "noodles", "soup", "pastry", "spices", "grilling", "cheese", "sauces"),
    "gardening": ("roses", "compost", "tomatoes", "pruning", "lawn", "bulbs", "herbs", "orchids"),
    "music": ("guitar", "piano", "harmony", "rhythm", "singing", "drums", "violin", "mixing"),
    "travel": ("trains", "hiking", "visas", "hostels", "cycling", "islands", "cities", "camping"),
    "science": ("optics", "algebra", "genetics", "planets", "enzymes", "quarks", "glaciers", "statistics"),
    "games": ("chess", "puzzles", "cards", "dice", "rpg", "strategy", "go", "speedruns"),
    "crafts": ("knitting", "pottery", "wood", "leather", "origami", "sewing", "weaving", "glass"),
}
_DETAILS: Final = (
    "", "basics", "tools", "errors", "history", "repair", "buying", "theory", "style", "safety", "care",
    "methods", "events", "books", "courses", "storage", "design", "timing", "costs", "trends",
)  # fmt: skip
_FIRST: Final = (
    "amber", "brisk", "calm", "dusty", "eager", "fuzzy", "gentle", "humble", "idle", "jolly", "keen", "lucky",
    "mellow", "noble", "odd", "proud", "quiet", "rapid", "silent", "tidy", "urban", "vivid", "warm", "young",
)  # fmt: skip
_SECOND: Final = (
    "otter", "falcon", "maple", "comet", "harbor", "lantern", "meadow", "nugget", "oyster", "pebble", "quill",
    "raven", "saddle", "thistle", "umbrella", "violet", "willow", "yak", "zephyr", "badger", "cedar", "dune",
)  # fmt: skip


def area_of_tag(rank: int) -> int:
    """Number of the area to which the tag of a popularity rank belongs.

    Programming holds every second of the most popular tags: areas are as skewed as tags are.
    """
    return 0 if rank % 2 == 0 and rank < 64 else (rank * 7 + rank // 8) % len(AREAS)


def tag_name(rank: int) -> str:
    """Name of the tag of a popularity rank."""
    stems = _TAG_STEMS[AREAS[area_of_tag(rank)]]
    stem = stems[(rank // 2) % len(stems)]
    detail = _DETAILS[(rank // 16) % len(_DETAILS)]
    return "-".join(part for part in (stem, detail, str(rank) if rank >= 9 else "") if part)


def club_name(rank: int) -> str:
    """Name of the club of a popularity rank."""
    return f"{_FIRST[rank % len(_FIRST)]} {_SECOND[(rank // 3) % len(_SECOND)]} club {rank}"


def member_name(rank: int) -> str:
    """Name of the member of an activity rank."""
    return f"{_FIRST[(rank * 5) % len(_FIRST)]}_{_SECOND[rank % len(_SECOND)]}_{rank}"


def badge_name(rank: int) -> str:
    """Name of the badge of a frequency rank."""
    return f"{_SECOND[(rank * 3) % len(_SECOND)]} badge {rank}"


def region_name(rank: int) -> str:
    """Name of the region of a population rank."""
    return f"{('north', 'south', 'east', 'west')[rank % 4]} {COUNTRIES[(rank // 2) % len(COUNTRIES)]}"
