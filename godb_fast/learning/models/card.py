"""What a model says of itself: the JSON beside its file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from godb_fast.errors import ModelRefused
from godb_fast.learning.features import VERSIONS

#: Of the card itself.
FORMAT: Final = 1
#: ``latency``: -ln(seconds per source row) of a pipeline. ``ranker``: ln(time of a plan / time of the
#: engine's own plan). ``quantile``: a quantile of ln(latency in ms) of a plan.
KINDS: Final = ("latency", "ranker", "quantile")
#: What becomes of NaN in an input: an error, or the way that the trees' nodes declare.
MISSING: Final = ("refused", "tracked")
#: Calibrations are logarithms of times, shares and counts: none of ours is near this.
MOST_CALIBRATION: Final = 1e9
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Card:
    """The card of one model.

    Parameters
    ----------
    name : str
        Such as ``duckdb-latency``; lower case, digits and hyphens.
    version : int
        Counted from 1.
    kind : str
        One of :data:`KINDS`.
    engine : str
        The engine whose plans it knows.
    features_version : int
        The version of the table of its columns (``learning.features.VERSIONS``).
    columns : tuple of str
        What the input's columns are, in order.
    input, output : str
        Names in the ONNX graph; the output is one number per row (of two columns, the last one).
    sha256, size_bytes : str, int
        Of the model file.
    missing : str
        One of :data:`MISSING`.
    quantile : float or None
        Which quantile, of kind ``quantile``.
    since, until : str
        The window of its data, ISO 8601 with an offset.
    observations, templates : int
        How much it was trained on.
    trained_from : str
        The data and the command.
    calibration, metrics : mapping of str to float
        Quantiles of held-out residuals; figures on held-out templates.
    least, most : mapping of str to float
        What columns were between in training; empty where that is not asked.
    packages : mapping of str to str
        Versions of what trained and exported it.
    """

    name: str
    version: int
    kind: str
    engine: str
    features_version: int
    columns: tuple[str, ...]
    input: str
    output: str
    sha256: str
    size_bytes: int
    missing: str = "refused"
    quantile: float | None = None
    since: str = ""
    until: str = ""
    observations: int = 0
    templates: int = 0
    trained_from: str = ""
    calibration: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for complaint in self._complaints():
            raise ModelRefused(f"card of model {self.name!r}: {complaint}", "card")

    def _complaints(self) -> list[str]:
        wrong = []
        if not _NAME.match(self.name):
            wrong.append("its name is not made of lower-case words and hyphens")
        if self.version < 1:
            wrong.append(f"version {self.version} is not at least 1")
        if not self.name.startswith(f"{self.engine}-"):
            # Models are found by their engine's name, and no engine of another would ask for this one.
            wrong.append(f"engine {self.engine!r} is not the one that its name begins with")
        if self.size_bytes < 1:
            wrong.append(f"size_bytes {self.size_bytes} is not at least 1")
        for name in ("observations", "templates"):
            if getattr(self, name) < 0:
                wrong.append(f"{name} {getattr(self, name)} is not at least 0")
        if self.kind not in KINDS:
            wrong.append(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        if self.missing not in MISSING:
            wrong.append(f"missing {self.missing!r} is none of {', '.join(MISSING)}")
        if not _HASH.match(self.sha256):
            wrong.append("sha256 is not 64 hexadecimal digits")
        if not self.columns or len(set(self.columns)) != len(self.columns):
            wrong.append("its columns are none, or not distinct")
        if (self.kind == "quantile") != (self.quantile is not None):
            wrong.append("kind 'quantile', and only that, has a quantile")
        if self.quantile is not None and not 0.0 < self.quantile < 1.0:
            wrong.append(f"quantile {self.quantile} is not between 0 and 1")
        for moment in (self.since, self.until):
            if moment and not _is_moment(moment):
                wrong.append(f"{moment!r} is no moment with an offset")
        for values in (self.calibration, self.metrics, self.least, self.most):
            wrong.extend(f"{key} is {value}" for key, value in values.items() if not _finite(value))
        wrong.extend(
            f"{key} is {value:g}, and no calibration is beyond {MOST_CALIBRATION:g}"
            for key, value in self.calibration.items()
            if _finite(value) and abs(value) > MOST_CALIBRATION
        )
        return wrong

    def check_features(self) -> None:
        """Raise ModelRefused if the model reads features of another version than are computed here."""
        computed = VERSIONS[self.kind]
        if self.features_version != computed:
            raise ModelRefused(
                f"model {self.name!r} version {self.version} reads features of version "
                f"{self.features_version}, this godb_fast computes version {computed}; "
                "train it anew with 'godb-fast train'",
                "features",
            )

    @property
    def key(self) -> str:
        """Name and version, as a Decision names the model."""
        return f"{self.name}/{self.version}"

    def to_json(self) -> str:
        """The card as it is written."""
        values: dict[str, Any] = {"format": FORMAT}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Mapping):
                value = dict(value)
            values[each.name] = value
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Card:
        """The card that :meth:`to_json` wrote.

        Raises
        ------
        ModelRefused
            If it is no such card.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelRefused(f"a card that is no JSON: {error}", "card") from error
        form = raw.pop("format", None) if isinstance(raw, dict) else None
        # True is 1 in Python, and no number in JSON.
        if isinstance(form, bool) or form != FORMAT:
            raise ModelRefused(f"a card that is not of format {FORMAT}", "card")
        known = {each.name: str(each.type) for each in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in raw.items():
            if key not in known:
                raise ModelRefused(f"a card with the unknown entry {key!r}", "card")
            values[key] = _typed(key, known[key], value)
        try:
            return cls(**values)
        except TypeError:
            required = list(known)[:10]
            absent = [key for key in required if key not in values]
            raise ModelRefused(f"a card without {', '.join(absent)}", "card") from None


def _typed(key: str, kind: str, value: Any) -> Any:
    """An entry of the declared type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "str":
        fine = isinstance(value, str)
    elif kind == "int":
        fine = isinstance(value, int) and not isinstance(value, bool)
    elif kind.startswith("float"):
        fine = value is None or number
    elif kind.startswith("tuple"):
        fine = isinstance(value, list) and all(isinstance(each, str) for each in value)
        value = tuple(value) if fine else value
    else:
        fine = isinstance(value, dict) and all(
            isinstance(each, str) if kind.endswith("str]") else isinstance(each, int | float)
            for each in value.values()
        )
        value = MappingProxyType(value) if fine else value
    if not fine:
        raise ModelRefused(f"a card whose {key!r} is {value!r}", "card")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer that is no double.
        return False


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
