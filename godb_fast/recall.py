"""What exploration proved, on the way of every statement: which verified steering serves a call.

Entries are kept with the region of selectivities that they were verified in. One serves a call whose every
relation has rows within a factor of four of there (a step of the region's scale), or within the factor that
it gained; calls farther off take the usual way. Entries whose statement uses something else now
(:mod:`godb_fast.engines.dependencies`), whose tables were analysed or have grown by more than a tenth since,
or that failed once wait for verification: they are kept, and not used. What was proved under another role or
search path, or on a standby of the server, serves here too, where the statement uses the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from godb_fast import backend as backends
from godb_fast.core import Decision, Steering, Template
from godb_fast.core.ratio import ratio_text
from godb_fast.engines.base import Engine, HasArms, Parameters, Rendered
from godb_fast.engines.dependencies import grown
from godb_fast.errors import GodbError, InvalidInput
from godb_fast.exploring.candidates import render_for
from godb_fast.exploring.memo import MemoEntry, MemoKey
from godb_fast.exploring.subjects import bucket_number, region_of
from godb_fast.knowledge import NO_MODEL, KnownTemplate, Prepared, Scope, Served, explored_near
from godb_fast.sql import Fingerprint
from godb_fast.store import Explorations

_UNSIGNED: Final = 2**64 - 1
#: Steps of the scale of regions (factors of four in rows), per relation, within which a verified steering
#: serves: one at least, and as many as its gain is worth, because what gains a hundredfold will hardly lose
#: where there are ten times the rows. Where it does, that region is split off.
NEAREST: Final = 1
FARTHEST: Final = 4

#: Entries by unsigned fingerprint, with the environment that keeps each.
Verified = dict[int, tuple[tuple[MemoEntry, str], ...]]


def load(records: Explorations, engine: str, database: str, epoch: str) -> Verified:
    """What may be used in an environment (``database``) at an epoch: its own first, then what is newest.

    Of other environments (roles, a standby of the server, other databases) only what says on what it rests;
    beside an entry of its own, only what was proved after that, and not what failed here.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    own: dict[MemoKey, MemoEntry] = {}
    verified: Verified = {}
    for raw in records.remembered(engine, database):
        entry = MemoEntry.from_dict(raw)
        own[entry.key] = entry
        if not entry.reverify and (entry.dependencies or entry.epoch == epoch):
            _add(verified, entry, database)
    others = [
        (MemoEntry.from_dict(raw), where) for where, raw in records.remembered_elsewhere(engine, database)
    ]
    for entry, where in sorted(others, key=lambda other: -other[0].evidence.at_s):
        if entry.dependencies and not entry.reverify and _adds(entry, own.get(entry.key)):
            _add(verified, entry, where)
    return verified


def _add(verified: Verified, entry: MemoEntry, where: str) -> None:
    fingerprint = entry.key.fingerprint
    verified[fingerprint] = (*verified.get(fingerprint, ()), (entry, where))


def _adds(entry: MemoEntry, own: MemoEntry | None) -> bool:
    """Whether what was proved elsewhere says more than an environment's own entry, should that not hold."""
    if own is None:
        return True
    failed_here = own.reverify and own.steering.key == entry.steering.key
    return entry.evidence.at_s > own.evidence.at_s and not failed_here


def explored(records: Explorations, engine: str, database: str) -> dict[int, tuple[bytes, ...]]:
    """Regions in which templates were explored, by unsigned fingerprint, whatever was found there.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    found: dict[int, tuple[bytes, ...]] = {}
    for fingerprint, bucket in records.explored(engine, database):
        key = int(fingerprint, 16)
        found[key] = (*found.get(key, ()), region_of(int(bucket)))
    return found


def attach(engine: Engine, known: KnownTemplate, verified: Verified, backend: str | None = None) -> None:
    """Give a template what was verified of it, where it rests on what there is now."""
    found: dict[MemoKey, tuple[MemoEntry, str]] = {}
    for each in verified.get(known.template.fingerprint & _UNSIGNED, ()):
        if each[0].key not in found and holds(engine, known, each[0]):
            found[each[0].key] = each
    kept = tuple(found.values())
    guarded = guards_of(engine, known) if any(entry.steering.rewrites for entry, _ in kept) else set()
    # Where it was explored, only what was proved steers.
    chosen = tuple(
        each for each in known.verified if each.choice is not None and not explored_near(known, each.region)
    )
    proved = tuple(served_by(engine, known, entry, where, guarded) for entry, where in kept)
    known.verified = (*proved, *chosen)
    # The short way of planning knows nothing of it.
    known.route = None
    known.proved = short_way(known, backend)


def guards_of(engine: Engine, known: KnownTemplate) -> set[str]:
    """Rewrites of a template whose proof rests on literals; also what rendering any of them rests on."""
    from godb_fast.rewriting import rewrites

    return {each.name for each in rewrites(known.template, engine.schema()) if each.guards}


def short_way(known: KnownTemplate, backend: str | None = None) -> Any:
    """What finds, in one native call, which of the proved steerings serves a text.

    None where more than literals decides what is sent, or where the region of a text is not told that way.
    """
    entries = [served for served in known.verified if served.key not in known.quarantine]
    if not entries or any(served.before is None for served in entries):
        return None
    route = None
    if any(served.region for served in entries):
        route = None if known.planner is None else known.planner.regions(known)
        if route is None:
            return None
    natives = backends.kernels("routes", backend)
    return natives.Proved(
        known,
        route,
        [
            (served.region, served.entry.steering, served, served.apart, served.near, served.pieces)
            for served in entries
        ],
    )


def holds(engine: Engine, known: KnownTemplate, entry: MemoEntry) -> bool:
    """Whether an entry rests on what its statement uses now, and on how much there is of it.

    One that does not say on what it rests was admitted by its epoch.
    """
    if entry.dependencies:
        now = known.dependencies
        proof = entry.evidence
        if now is None or now.digest != entry.dependencies or now.analyzed_since(proof.analyzed, proof.at_s):
            return False
    return not grown(engine.statistics(), entry.evidence.rows)


def served_by(
    engine: Engine, known: KnownTemplate, entry: MemoEntry, database: str, guarded: Set[str]
) -> Served:
    """An entry with what every call that it serves needs."""
    steering = entry.steering
    before = pieces = None
    # Guards are evaluated for each call, and where LIMIT is widened its text changes.
    if "+".join(steering.rewrites) not in guarded and known.template.cut is None:
        try:
            before, pieces = _constant(engine, known.template, steering)
        except InvalidInput as error:
            # Another connection may be able to follow a join tree; what its server lacks, all lack.
            if not steering.join_trees:
                known.quarantine[steering.key] = f"cannot be asked for here: {error}"
    # Whoever explained it saw the engine follow it.
    known.obeyed.add((b"", steering.key))
    region = region_of(entry.key.bucket)
    return Served(
        entry, region, reason_of(entry), steering.key, before, pieces, near(entry), _apart(entry), database
    )


def _constant(
    engine: Engine, template: Template, steering: Steering
) -> tuple[tuple[str, ...] | None, tuple[str | int, ...] | None]:
    """Settings under which a steering is sent, and the pieces of its text, whatever the literals are.

    No settings where it depends on them; no pieces where the text is as it is.

    Raises
    ------
    InvalidInput
        If it cannot be asked for on this connection.
    """
    if not (steering.join_trees or steering.rewrites or steering.hints):
        return (
            (engine.under("", None, steering).before, None) if isinstance(engine, HasArms) else (None, None)
        )
    if any(slot.kind == "parameter" for slot in template.slots):
        return None, None
    marks = tuple(f"\0{number}\0" for number in range(len(template.slots)))
    sent = render_for(engine, template, marks, "", None, steering)
    if sent.after or sent.params is not None:
        return None, None
    # Between two marks' zeros stands a slot, between others text.
    texts = sent.sql.split("\0")
    pieces = [int(text) if at % 2 else text for at, text in enumerate(texts)]
    return sent.before, tuple(piece for piece in pieces if piece != "")


def _apart(entry: MemoEntry) -> frozenset[bytes]:
    return frozenset(region_of(bucket) for bucket in entry.apart)


def near(entry: MemoEntry) -> int:
    """Steps of the scale of regions within which an entry serves."""
    gained = 1.0 / max(entry.evidence.ratio, 1e-9)
    return min(FARTHEST, max(NEAREST, int(math.log(gained, 4.0))))


def recalled(
    engine: Engine,
    scope: Scope,
    known: KnownTemplate,
    print_: Fingerprint,
    sql: str,
    params: Parameters,
    laps: dict[str, float],
) -> Prepared | None:
    """A decision to steer as was verified; None if nothing serves this call."""
    begun = time.perf_counter_ns()
    region = _region(known, print_, params)
    served = _nearest(known, region)
    if served is None:
        return None
    steering = served.entry.steering
    if served.before is not None and served.pieces is None:
        sent = Rendered(sql, params, served.before, steering=steering)
    else:
        try:
            sent = render_for(engine, known.template, print_.literals, sql, params, steering)
        except GodbError:
            # These literals break a guard, or this connection cannot be asked: the usual way decides.
            return None
    laps["recall"] = (time.perf_counter_ns() - begun) / 1e3
    decision = Decision(
        known.template.fingerprint,
        sent.sql,
        steering,
        "steer",
        served.reason,
        engine=engine.name,
        epoch=scope.epoch,
        timings_us=laps,
        **chosen_fields(served),
    )
    prepared = Prepared(decision, sent, known, region, print_.literals, params)
    prepared.served = served
    return prepared


def chosen_fields(served: Served) -> dict[str, Any]:
    """Fields of a Decision that say why a steering was chosen unverified."""
    choice = served.choice
    if choice is None:
        return NO_MODEL
    models = (served.model,) if served.model else ()
    return {"models": models, "bound": choice.bound, "support": choice.support, "cluster": choice.cluster}


def _region(known: KnownTemplate, print_: Fingerprint, params: Parameters) -> bytes:
    if known.planner is None or not any(served.region for served in known.verified):
        return b""
    draft = known.planner.draft(print_.literals, params)
    region = draft.bucket
    draft.discard()
    return region


def _nearest(known: KnownTemplate, region: bytes) -> Served | None:
    best: tuple[int, Served] | None = None
    for served in known.verified:
        if served.key in known.quarantine or region in served.apart:
            continue
        there = served.region
        if not there:
            off = 0
        elif len(there) != len(region):
            continue
        else:
            steps = [abs(one - other) for one, other in zip(there, region, strict=True)]
            if max(steps) > served.near:
                continue
            off = sum(steps)
        if best is None or off < best[0]:
            best = off, served
    return None if best is None else best[1]


def reason_of(entry: MemoEntry) -> str:
    """What was verified, when, and how sure it is."""
    proof = entry.evidence
    day = datetime.fromtimestamp(proof.at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"verified on {day}: {ratio_text(proof.ratio)} × the time of the engine's own plan "
        f"(interval {ratio_text(proof.low)} to {ratio_text(proof.high)}) in {proof.pairs} interleaved "
        f"pairs; {proof.note}"
    )


def waiting(records: Explorations, engine: Engine, known: KnownTemplate) -> list[str]:
    """What was proved of a template here and serves no call of it, because it waits for verification.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    kept = map(MemoEntry.from_dict, records.remembered(engine.name, engine.environment()))
    serving = {each.entry.key for each in known.verified}
    fingerprint = known.template.fingerprint & _UNSIGNED
    changed = "; what it rests on is another now, or its tables have grown or were analysed"
    return [
        f"not used until godb-fast explore has verified it again: {reason_of(entry)}"
        f"{'' if entry.reverify else changed}"
        for entry in kept
        if entry.key.fingerprint == fingerprint and entry.key not in serving
    ]


def split(served: Served, region: bytes) -> MemoEntry:
    """The entry without a region beside its own, where it was slow; at home it serves."""
    return replace(served.entry, apart=(*served.entry.apart, bucket_number(region)))


def failed(served: Served, why: str) -> MemoEntry:
    """The entry, waiting for verification."""
    proof = served.entry.evidence
    return replace(served.entry, reverify=True, evidence=replace(proof, note=f"{proof.note}; failed: {why}"))


def serve_anew(known: KnownTemplate, served: Served, entry: MemoEntry) -> None:
    """Put an entry in place of what it was made of."""
    now = replace(served, entry=entry, apart=_apart(entry))
    known.verified = tuple(now if each is served else each for each in known.verified)
