"""Whether a steering saves more than steering costs on a connection to a server."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from godb_fast.core import NO_STEERING, Decision, LateDecision
from godb_fast.experience import STEERED_RUNS
from godb_fast.exploring.memo import MemoEntry
from godb_fast.knowledge import KnownTemplate, Prepared

#: Weight of the newest measurement.
_NEWEST: Final = 0.2
#: Per statement that is not steered, what is known of further round trips counts this much less: what made
#: them may have passed, and only steering would tell.
_FADES: Final = 0.98


class SteeringCost:
    """What steering adds to a statement, by connection; measured on what runs anyway.

    Attributes
    ----------
    own_ms : float
        Deciding and rendering, a moving average.
    round_trip_ms : float
        Asking for the schema's epoch, a moving average.
    further : float
        Round trips that a steered statement took beyond its own, a moving average.
    """

    __slots__ = ("further", "own_ms", "round_trip_ms")

    def __init__(self) -> None:
        self.own_ms = self.round_trip_ms = self.further = 0.0

    @property
    def ms(self) -> float:
        """Milliseconds that steering is expected to cost; 0 while nothing was measured."""
        return self.own_ms + self.further * self.round_trip_ms

    def decided(self, ms: float) -> None:
        """Deciding took so long, round trips for the epoch not counted.

        Short times count ten times as much: now and then literals are new, and the engine is asked to plan.
        """
        weight = _NEWEST if ms < self.own_ms else _NEWEST / 10
        self.own_ms = self.own_ms + weight * (ms - self.own_ms) if self.own_ms else ms

    def asked(self, ms: float) -> None:
        """A round trip of ours took so long."""
        self.round_trip_ms = _mixed(self.round_trip_ms, ms) if self.round_trip_ms else ms

    def steered(self, round_trips: int) -> None:
        """A steered statement took further round trips."""
        self.further = _mixed(self.further, round_trips)

    def abstained(self) -> None:
        """A statement was not steered, because that was not worth it."""
        self.further *= _FADES


def _mixed(before: float, newest: float) -> float:
    return before + _NEWEST * (newest - before)


def proved_gain_ms(entry: MemoEntry) -> float | None:
    """Milliseconds that a steering saved where it was proved; None if the default's time is not known."""
    proof = entry.evidence
    return proof.default_s * (1.0 - proof.ratio) * 1e3 if proof.default_s > 0.0 else None


def gain_ms(known: KnownTemplate, bucket: bytes, steering_key: str) -> float | None:
    """Milliseconds by which a *verified* steering beats the engine's own plan; None if it is not verified.

    Verified means: the engine was seen to obey it, and in at least ``STEERED_RUNS`` complete runs the fastest
    beat the fastest of the engine's own plan.
    """
    if steering_key in known.quarantine or not known.has_obeyed(bucket, steering_key):
        return None
    runs, best = known.steered_ms.get((bucket, steering_key), (0, 0.0))
    bound = known.baseline_ms.get(bucket)
    if runs < STEERED_RUNS or bound is None or not best < bound:
        return None
    return bound - best


def verified_gain_ms(prepared: Prepared) -> float | None:
    """As :func:`gain_ms`, of a decision; what exploration proved counts as well."""
    steering = prepared.decision.steering
    if prepared.known is None or not steering:
        return None
    if prepared.verified is not None:
        return proved_gain_ms(prepared.verified)
    return gain_ms(prepared.known, prepared.bucket, steering.key)


def best_gain_ms(known: KnownTemplate) -> float | None:
    """The largest gain of a verified steering of a template, over all its buckets."""
    gains = [gain_ms(known, bucket, key) for bucket, key in list(known.steered_ms)]
    gains += [proved_gain_ms(served.entry) for served in known.verified if served.key not in known.quarantine]
    return max((gain for gain in gains if gain is not None), default=None)


def expected_gain_ms(prepared: Prepared) -> tuple[float, str] | None:
    """Milliseconds that the steering of a decision is expected to save, and by what; None if nothing tells.

    What exploration proved counts before what runs here have shown, and that before what was estimated.
    """
    known, key = prepared.known, prepared.decision.steering.key
    if prepared.verified is not None:
        proved = proved_gain_ms(prepared.verified)
        return None if proved is None else (proved, "verified")
    if known is None:
        return None
    bound = known.baseline_ms.get(prepared.bucket)
    if bound is None:
        return None
    runs, best = known.steered_ms.get((prepared.bucket, key), (0, 0.0))
    if runs >= STEERED_RUNS:
        return bound - best, "measured"
    place = prepared.bucket, key
    ratio = known.estimated.get(place)
    if ratio is None:
        ratio = known.estimated[place] = _estimated_ratio(prepared)
    return None if ratio != ratio else (bound * (1.0 - ratio), "estimated")


def _estimated_ratio(prepared: Prepared) -> float:
    """Estimated cost of the chosen plans over that of the engine's own, in the best guess; else NaN."""
    chosen, own = {}, {}
    for entry in prepared.decision.candidates:
        if entry.chosen:
            chosen[entry.block] = entry.costs[0]
        if entry.name.startswith("default"):
            own[entry.block] = entry.costs[0]
    if not chosen or not all(own.get(block, 0.0) > 0.0 for block in chosen):
        return float("nan")
    return sum(chosen.values()) / sum(own[block] for block in chosen)


def left_aside(prepared: Prepared, cost: SteeringCost, sql: str) -> Prepared | None:
    """The decision not to steer what saves less than it costs; None if it is worth it, or nothing tells.

    Parameters
    ----------
    sql : str
        The statement as it was given.
    """
    found = expected_gain_ms(prepared)
    if found is None or found[0] > cost.ms:
        return None
    values = {
        "fingerprint": prepared.decision.fingerprint,
        "sql": sql,
        "steering": NO_STEERING,
        "_make": partial(_told, prepared.decision, *found, cost.ms),
    }
    return Prepared(
        LateDecision(values), None, prepared.known, prepared.bucket, prepared.literals, prepared.params
    )


def _told(decision: Decision, gain: float, by: str, spent: float, field: str) -> dict[str, Any]:
    if field == "reason":
        why = (
            f"the {by} gain of {gain:.2f} ms is below what steering costs on this connection: {spent:.2f} ms"
        )
        return {"reason": f"not steered, {why}; {decision.reason}"}
    return {field: getattr(decision, field)}
