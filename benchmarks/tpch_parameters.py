"""Other parameters for the 22 queries of TPC-H, by its specification (clauses 2.4.1.3 to 2.4.22.3).

The published texts hold the specification's validation values; each rule names those, and draws others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta

Swaps = Mapping[str, str]

_NATIONS = {
    "ALGERIA": "AFRICA", "ARGENTINA": "AMERICA", "BRAZIL": "AMERICA", "CANADA": "AMERICA",
    "EGYPT": "MIDDLE EAST", "ETHIOPIA": "AFRICA", "FRANCE": "EUROPE", "GERMANY": "EUROPE", "INDIA": "ASIA",
    "INDONESIA": "ASIA", "IRAN": "MIDDLE EAST", "IRAQ": "MIDDLE EAST", "JAPAN": "ASIA",
    "JORDAN": "MIDDLE EAST", "KENYA": "AFRICA", "MOROCCO": "AFRICA", "MOZAMBIQUE": "AFRICA",
    "PERU": "AMERICA", "CHINA": "ASIA", "ROMANIA": "EUROPE", "SAUDI ARABIA": "MIDDLE EAST",
    "VIETNAM": "ASIA", "RUSSIA": "EUROPE", "UNITED KINGDOM": "EUROPE", "UNITED STATES": "AMERICA",
}  # fmt: skip
_REGIONS = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
_SEGMENTS = ("AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY")
_MODES = ("AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK")
_SIZES = ("STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO")
_FINISHES = ("ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED")
_METALS = ("TIN", "NICKEL", "BRASS", "STEEL", "COPPER")
_BOX_SIZES = ("SM", "LG", "MED", "JUMBO", "WRAP")
_BOXES = ("CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM")
_COLORS = (
    "almond", "antique", "aquamarine", "azure", "beige", "bisque", "black", "blanched", "blue", "blush",
    "brown", "burlywood", "burnished", "chartreuse", "chiffon", "chocolate", "coral", "cornflower",
    "cornsilk", "cream", "cyan", "dark", "deep", "dim", "dodger", "drab", "firebrick", "floral",
    "forest", "frosted", "gainsboro", "ghost", "goldenrod", "green", "grey", "honeydew", "hot",
    "indian", "ivory", "khaki", "lace", "lavender", "lawn", "lemon", "light", "lime", "linen",
    "magenta", "maroon", "medium", "metallic", "midnight", "mint", "misty", "moccasin", "navajo",
    "navy", "olive", "orange", "orchid", "pale", "papaya", "peach", "peru", "pink", "plum", "powder",
    "puff", "purple", "red", "rose", "rosy", "royal", "saddle", "salmon", "sandy", "seashell", "sienna",
    "sky", "slate", "smoke", "snow", "spring", "steel", "tan", "thistle", "tomato", "turquoise",
    "violet", "wheat", "white", "yellow",
)  # fmt: skip
_COMMENT_WORDS = (
    ("special", "pending", "unusual", "express"),
    ("packages", "requests", "accounts", "deposits"),
)


def _nation(rng: random.Random) -> str:
    return rng.choice(sorted(_NATIONS))


def _brand(rng: random.Random) -> str:
    return f"Brand#{rng.randint(1, 5)}{rng.randint(1, 5)}"


def _year(rng: random.Random, first: int = 1993, last: int = 1997) -> Swaps:
    year = rng.randint(first, last)
    return {"1994-01-01": f"{year}-01-01", "1995-01-01": f"{year + 1}-01-01"}


def _months(rng: random.Random, old: tuple[str, str], first: tuple[int, int], last: tuple[int, int]) -> Swaps:
    """The first of a month, and that of a month as much later as in the old text."""
    span = _month_number(old[1]) - _month_number(old[0])
    number = rng.randint(first[0] * 12 + first[1] - 1, last[0] * 12 + last[1] - 1)
    return {old[0]: _month(number), old[1]: _month(number + span)}


def _month_number(text: str) -> int:
    year, month, _ = text.split("-")
    return int(year) * 12 + int(month) - 1


def _month(number: int) -> str:
    return f"{number // 12}-{number % 12 + 1:02}-01"


def _q1(rng: random.Random, scale: float) -> Swaps:
    return {"1998-09-02": str(date(1998, 12, 1) - timedelta(days=rng.randint(60, 120)))}


def _q2(rng: random.Random, scale: float) -> Swaps:
    return {
        "p_size = 15": f"p_size = {rng.randint(1, 50)}",
        "BRASS": rng.choice(_METALS),
        "EUROPE": rng.choice(_REGIONS),
    }


def _q3(rng: random.Random, scale: float) -> Swaps:
    return {"BUILDING": rng.choice(_SEGMENTS), "1995-03-15": f"1995-03-{rng.randint(1, 31):02}"}


def _q4(rng: random.Random, scale: float) -> Swaps:
    return _months(rng, ("1993-07-01", "1993-10-01"), (1993, 1), (1997, 10))


def _q5(rng: random.Random, scale: float) -> Swaps:
    return {"ASIA": rng.choice(_REGIONS), **_year(rng)}


def _q6(rng: random.Random, scale: float) -> Swaps:
    discount = rng.randint(2, 9)
    return {
        "0.05": f"0.{discount - 1:02}",
        "0.07": f"0.{discount + 1:02}",
        "l_quantity < 24": f"l_quantity < {rng.randint(24, 25)}",
        **_year(rng),
    }


def _q7(rng: random.Random, scale: float) -> Swaps:
    one, other = rng.sample(sorted(_NATIONS), 2)
    return {"FRANCE": one, "GERMANY": other}


def _q8(rng: random.Random, scale: float) -> Swaps:
    nation = _nation(rng)
    kind = f"{rng.choice(_SIZES)} {rng.choice(_FINISHES)} {rng.choice(_METALS)}"
    return {"BRAZIL": nation, "AMERICA": _NATIONS[nation], "ECONOMY ANODIZED STEEL": kind}


def _q9(rng: random.Random, scale: float) -> Swaps:
    return {"green": rng.choice(_COLORS)}


def _q10(rng: random.Random, scale: float) -> Swaps:
    return _months(rng, ("1993-10-01", "1994-01-01"), (1993, 2), (1995, 1))


def _q11(rng: random.Random, scale: float) -> Swaps:
    return {"GERMANY": _nation(rng), "0.0001000000": f"{0.0001 / scale:.10f}"}


def _q12(rng: random.Random, scale: float) -> Swaps:
    one, other = rng.sample(_MODES, 2)
    return {"MAIL": one, "SHIP": other, **_year(rng)}


def _q13(rng: random.Random, scale: float) -> Swaps:
    first, second = _COMMENT_WORDS
    return {"special": rng.choice(first), "requests": rng.choice(second)}


def _q14(rng: random.Random, scale: float) -> Swaps:
    return _months(rng, ("1995-09-01", "1995-10-01"), (1993, 1), (1997, 12))


def _q15(rng: random.Random, scale: float) -> Swaps:
    return _months(rng, ("1996-01-01", "1996-04-01"), (1993, 1), (1997, 10))


def _q16(rng: random.Random, scale: float) -> Swaps:
    return {
        "Brand#45": _brand(rng),
        "MEDIUM POLISHED": f"{rng.choice(_SIZES)} {rng.choice(_FINISHES)}",
        "49, 14, 23, 45, 19, 3, 36, 9": ", ".join(map(str, rng.sample(range(1, 51), 8))),
    }


def _q17(rng: random.Random, scale: float) -> Swaps:
    return {"Brand#23": _brand(rng), "MED BOX": f"{rng.choice(_BOX_SIZES)} {rng.choice(_BOXES)}"}


def _q18(rng: random.Random, scale: float) -> Swaps:
    return {"> 300": f"> {rng.randint(312, 315)}"}


def _q19(rng: random.Random, scale: float) -> Swaps:
    least = [rng.randint(1, 10), rng.randint(10, 20), rng.randint(20, 30)]
    swaps = {"Brand#12": _brand(rng), "Brand#23": _brand(rng), "Brand#34": _brand(rng)}
    for old, new in zip((1, 10, 20), least, strict=True):
        swaps[f">= {old}\n"] = f">= {new}\n"
        swaps[f"<= {old} + 10"] = f"<= {new} + 10"
    return swaps


def _q20(rng: random.Random, scale: float) -> Swaps:
    return {"forest": rng.choice(_COLORS), "CANADA": _nation(rng), **_year(rng)}


def _q21(rng: random.Random, scale: float) -> Swaps:
    return {"SAUDI ARABIA": _nation(rng)}


def _q22(rng: random.Random, scale: float) -> Swaps:
    codes = rng.sample(range(10, 35), 7)
    old = ("13", "31", "23", "29", "30", "18", "17")
    return {f"'{before}'": f"'{after}'" for before, after in zip(old, codes, strict=True)}


RULES: tuple[Callable[[random.Random, float], Swaps], ...] = (
    _q1, _q2, _q3, _q4, _q5, _q6, _q7, _q8, _q9, _q10, _q11, _q12, _q13, _q14, _q15, _q16, _q17, _q18, _q19,
    _q20, _q21, _q22,
)  # fmt: skip


def redraw(number: int, text: str, rng: random.Random, scale: float = 1.0) -> str | None:
    """Query ``number`` (1 to 22) with other parameters; None if its text lacks a value to replace."""
    return swapped(text, RULES[number - 1](rng, scale))


def swapped(text: str, swaps: Swaps) -> str | None:
    """Replace all at once, so that what was put in is not replaced again; None if one does not occur."""
    if not all(old in text for old in swaps):
        return None
    longest_first = sorted(swaps, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: swaps[found[0]], text)
