"""Row estimates, corrected by what executions of the same and of similar sub-plans showed.

Everything is about one number per sub-plan: the *log ratio* ln(observed / estimated). The ratio of a
sub-plan S of a query is put together from four sources, each shrunk towards the one before by how much
evidence it has (a weighted mean in which the former source counts as ``kappa`` observations):

1. *smaller sub-plans* of the same query: S less u, plus S less v, less S less both. So what was learned of a
   part reaches every sub-plan that holds it, and plans are compared under estimates that err alike;
2. the *parent shape* (the same tables and join edges, whatever the predicates), net of the single relations;
3. the *same shape*, nearest neighbours: a kernel over the log-selectivities of the single-relation filters
   and over the share of literals in common; a broad kernel first, a narrow one on top of it;
4. the *same literals*: what was observed then.

A corrected sub-plan beside an optimistic unseen one looks dear, and the search would run into the unseen. So
sub-plans without evidence get half of the surprise that unsupported ones of that size showed in the mean:
half, because plans that run are those that looked cheap, and surprise more than others would.
:attr:`Corrected.guarded` also charges some standard deviations, unless the default plan uses the sub-plan.
That margin shrinks with the executions of the whole query's shape, so that its own feedback explores, while
a query that was never seen leaves the default plan only for what is well supported.

Old evidence fades exponentially; a repeated sub-plan whose rows moved fourfold ages its shape at once;
another epoch of the database forgets everything.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.core.forking import renews_locks
from godb_fast.errors import InvalidInput
from godb_fast.feedback.evidence import Evidence
from godb_fast.feedback.observed import Observed
from godb_fast.feedback.shapes import MAX_WIDTH, Floats, Ints, QueryShape, Words, mixed, stable_hash

_FORMAT: Final = 2
#: Kept by earlier versions: they are begun anew.
_FORMER: Final = (1,)
#: Observations of others that are taken in while those that ask for corrections wait.
_AT_ONCE: Final = 100
#: A ratio beyond e^±40 is a broken count, not an estimate's error.
_MOST: Final = 40.0
_SIZES: Final = 64
#: Executions of a shape beyond this count the same.
_MANY: Final = 1 << 20
#: Surprises of a size that are counted before all that were count half.
_MOST_SURPRISES: Final = 200.0
#: The sum of their squares is less: no logarithm of rows is beyond a thousand.
_MOST_SQUARES: Final = 1e9
#: No database has executed so many statements.
_LAST: Final = 10**12


@dataclass(frozen=True)
class Tuning:
    """How evidence is weighed; the defaults were chosen on ``benchmarks.cardinality``.

    Parameters
    ----------
    parent, shape, narrow, exact : float
        How many observations the former source counts as, see the module.
    bandwidth : float
        Difference of log-selectivities at which a neighbour's weight falls to 1/e.
    mismatch : float
        What a filter without a literal in common costs, in the same unit.
    broad : float
        Weight of a neighbour under the broad kernel, which is eight times as wide.
    half_life : float
        Observed executions after which evidence counts half.
    deviations : float
        Standard deviations in the margin of unsupported sub-plans.
    trust : float
        Executions of a query's shape after which that margin is half.
    mean : float
        Share of the mean surprise by which unsupported sub-plans are corrected.
    """

    parent: float = 1.0
    shape: float = 1.0
    narrow: float = 0.3
    exact: float = 0.01
    bandwidth: float = 0.7
    mismatch: float = 3.0
    broad: float = 0.3
    half_life: float = 20_000.0
    deviations: float = 2.0
    trust: float = 2.0
    mean: float = 0.5


@dataclass(frozen=True, eq=False)
class SubplanQuery:
    """One query: a shape and its parameters.

    Parameters
    ----------
    shape : QueryShape
    log_selectivity : float64 array, shape (n,)
        ln of the share of rows that each relation's filters keep, as estimated; 0 without filters.
    tokens : uint64 array, shape (n,)
        One bit (of 64) per literal of the relation's filters.
    literals : uint64 array, shape (n,)
        A hash of all literals of the relation's filters; 0 without any.
    """

    shape: QueryShape
    log_selectivity: Floats
    tokens: Words
    literals: Words
    key: tuple[int, bytes] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (id(self.shape), self.literals.tobytes()))

    @classmethod
    def of(
        cls,
        shape: QueryShape,
        log_selectivity: ArrayLike,
        literals: Sequence[Collection[str]],
        filters: Sequence[str],
    ) -> SubplanQuery:
        """A query whose relations' filters have these shapes and hold these literals (as texts).

        Raises
        ------
        InvalidInput
            If a log-selectivity is NaN, or a length does not fit.
        """
        selectivity = np.clip(np.asarray(log_selectivity, np.float64), -_MOST, _MOST)
        if selectivity.shape != (shape.relations,) or len(literals) != shape.relations:
            raise InvalidInput(f"parameters of {len(literals)} relations, but {shape.relations} are joined")
        if np.isnan(selectivity).any():
            raise InvalidInput("log_selectivity holds NaN; every filter needs an estimate")
        tokens = np.zeros(shape.relations, np.uint64)
        hashes = np.zeros(shape.relations, np.uint64)
        for relation, (texts, filter_) in enumerate(zip(literals, filters, strict=True)):
            word = 0
            for text in texts:
                word |= 1 << (stable_hash(f"{filter_}\0{text}") & 63)
            tokens[relation] = word
            if texts:
                hashes[relation] = stable_hash("\0".join([filter_, *texts]))
        return cls(shape, selectivity, tokens, hashes)


class Corrected(NamedTuple):
    """Corrected estimates, in the order in which the sets were given to :meth:`QueryShape.of`.

    ``log_rows`` is the best guess, ``support`` (0 to 1) how much evidence of its own each set has, and
    ``guarded`` what a search should use.
    """

    log_rows: Floats
    support: Floats
    guarded: Floats


class _Remembered(NamedTuple):
    estimates: Floats
    stamp: tuple[int, ...]
    corrected: Corrected
    #: What follows from evidence alone: surprise is what is beyond that.
    told: Floats


class Corrections:
    """Learns from observed rows and corrects estimates. Safe to share between threads.

    Parameters
    ----------
    tuning : Tuning
    max_shapes, per_shape : int
        Bounds of the memory: shapes (with and without predicates each), observations of each.
    """

    def __init__(self, tuning: Tuning | None = None, *, max_shapes: int = 4096, per_shape: int = 48) -> None:
        self.tuning = tuning or Tuning()
        self.evidence = Evidence(max_shapes, per_shape)
        self.parents = Evidence(max_shapes, per_shape)
        self.epoch: str | None = None
        self.clock = 0
        self._surprise = np.zeros((_SIZES, 3))
        self._executions: OrderedDict[int, int] = OrderedDict()
        self._rows: OrderedDict[int, tuple[QueryShape, tuple[int, int], Ints, Ints]] = OrderedDict()
        self._known: OrderedDict[tuple[int, bytes, tuple[int, ...]], _Remembered] = OrderedDict()
        self._lock = threading.Lock()
        renews_locks(self)

    # -- asking --------------------------------------------------------------------------------------------

    def correct(self, query: SubplanQuery, log_rows: Floats, default: tuple[int, ...] = ()) -> Corrected:
        """Corrected ln rows of every sub-plan.

        Parameters
        ----------
        query : SubplanQuery
        log_rows : float64 array, shape (S,)
            ln of the estimated rows, in the order in which the sets were given.
        default : tuple of int
            Masks that the default plan joins.
        """
        with self._lock:
            return self._correct(query, log_rows, default).corrected

    def executions(self, shape: QueryShape) -> int:
        """How many executions of a whole query's shape were observed."""
        return self._executions.get(int(shape.keys[-1]), 0)

    def _correct(self, query: SubplanQuery, log_rows: Floats, default: tuple[int, ...]) -> _Remembered:
        rows, parents = self._located(query.shape)
        stamp = (
            self.evidence.generation,
            self.parents.generation,
            int(self.evidence.version[rows].sum()),
            int(self.parents.version[parents].sum()),
        )
        key = (*query.key, default)
        found = self._known.get(key)
        if found is not None and found.stamp == stamp and np.array_equal(found.estimates, log_rows):
            return found
        estimates = np.array(log_rows, np.float64)
        if estimates.shape != query.shape.masks.shape or np.isnan(estimates).any():
            raise InvalidInput(
                f"log_rows of shape {estimates.shape} for {len(query.shape.masks)} sub-plans, none may be NaN"
            )
        corrected, told = self._compute(query, _unfloored(query.shape, estimates), rows, parents, default)
        found = self._known[key] = _Remembered(estimates, stamp, corrected, told)
        self._known.move_to_end(key)
        if len(self._known) > 512:
            self._known.popitem(last=False)
        return found

    def _located(self, shape: QueryShape) -> tuple[Ints, Ints]:
        """Rows of the evidence of each set, -1 (the last row, which a stamp may count) for none."""
        generation = (self.evidence.generation, self.parents.generation)
        found = self._rows.get(id(shape))
        if found is not None and found[1] == generation:
            return found[2], found[3]
        narrow = shape.sizes <= MAX_WIDTH
        rows = np.where(narrow, self.evidence.find(shape.keys), -1)
        parents = np.where(narrow & (shape.sizes > 1), self.parents.find(shape.parents), -1)
        # The shape is kept, so that its id is not given away.
        self._rows[id(shape)] = (shape, generation, rows, parents)
        self._rows.move_to_end(id(shape))
        if len(self._rows) > 512:
            old = self._rows.popitem(last=False)[0]
            for key in [key for key in self._known if key[0] == old]:
                del self._known[key]
        return rows, parents

    def _compute(
        self, query: SubplanQuery, estimates: Floats, rows: Ints, parents: Ints, default: tuple[int, ...]
    ) -> tuple[Corrected, Floats]:
        shape, tuning = query.shape, self.tuning
        count, total = shape.relations, len(shape.masks)
        # The ratio of a set is slope × (that extrapolated from smaller sets) + net × (sum of its relations'
        # ratios) + constant.
        slope, net, constant = np.ones(total), np.zeros(total), np.zeros(total)
        support = np.zeros(total)
        at = np.flatnonzero(parents >= 0)
        if at.size:
            broad, narrow, _ = self._weigh(self.parents, parents[at], query, shape.parent_order[at])
            support[at] = broad[0] / (tuning.parent + broad[0])
            for (weight, moment), kappa in ((broad, tuning.parent), (narrow, tuning.parent)):
                share = kappa / (kappa + weight)
                slope[at] *= share
                net[at] = net[at] * share + weight / (kappa + weight)
                constant[at] = constant[at] * share + moment / (kappa + weight)
        at = np.flatnonzero(rows >= 0)
        if at.size:
            literals = _literal_keys(query, shape.order[at])
            broad, narrow, exact = self._weigh(
                self.evidence, rows[at], query, shape.order[at], literals, estimates[at]
            )
            support[at] = np.maximum(support[at], broad[0] / (tuning.shape + broad[0]))
            support[at] = np.maximum(support[at], exact[0] / (tuning.exact + exact[0]))
            steps = ((broad, tuning.shape), (narrow, tuning.narrow), (exact, tuning.exact))
            for (weight, moment), kappa in steps:
                share = kappa / (kappa + weight)
                slope[at] *= share
                net[at] *= share
                constant[at] = constant[at] * share + moment / (kappa + weight)
        ratios = np.zeros(total + 1)
        ratios[:count] = constant[:count]
        # An estimate of less than a row is the estimator's own doubt: corrections start from it as it is.
        constant += net * (shape.inside @ ratios[:count])
        for level in shape.levels:
            start = ((ratios[level.first] + ratios[level.second] - ratios[level.both]) * level.weight).sum(1)
            ratios[level.sets] = slope[level.sets] * start + constant[level.sets]
        told = estimates + ratios[:total]
        told[:count] = np.maximum(told[:count], 0.0)
        # No join holds more rows than the cross product, nor a plan less than one row anywhere.
        most = shape.inside @ told[:count]
        np.minimum(told, most, out=told)
        np.maximum(told, 0.0, out=told)
        mean, margins = self._charges(shape, default)
        unknown = 1.0 - support
        corrected = np.minimum(told + unknown * mean, most)
        guarded = corrected + unknown * margins
        back = np.empty(total, np.int64)
        back[shape.given] = np.arange(total)
        result = Corrected(corrected[back], support[back], guarded[back])
        for array in result:
            array.setflags(write=False)
        return result, told[back]

    def _weigh(
        self,
        evidence: Evidence,
        rows: Ints,
        query: SubplanQuery,
        order: Ints,
        literals: Words | None = None,
        estimates: Floats | None = None,
    ) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Sums of weights, and of weights × ratios, under the broad, the narrow and the exact kernel."""
        tuning = self.tuning
        width = int((order < query.shape.relations).sum(axis=1).max())
        order = order[:, :width]
        selectivity = np.append(query.log_selectivity, 0.0).astype(np.float32)[order][:, None, :]
        tokens = np.append(query.tokens, np.uint64(0))[order][:, None, :]
        away = (evidence.selectivity[rows, :, :width] - selectivity) / np.float32(tuning.bandwidth)
        np.square(away, out=away)
        np.minimum(away, 4.0, out=away)
        stored = evidence.tokens[rows, :, :width]
        union = np.bitwise_count(stored | tokens)
        shared = np.bitwise_count(stored & tokens) / np.maximum(union, 1).astype(np.float32)
        distance = away.sum(axis=2) + tuning.mismatch * ((union > 0) - shared).sum(axis=2)
        fresh = np.exp2((evidence.seen[rows] - self.clock) / tuning.half_life)
        ratio = evidence.ratio[rows]
        sums = []
        for weight in (tuning.broad * np.exp(distance / -8.0) * fresh, np.exp(-distance) * fresh):
            sums.append((weight.sum(axis=1), (weight * ratio).sum(axis=1)))
        if literals is None or estimates is None:
            return sums[0], sums[1], (np.zeros(0), np.zeros(0))
        # The same question has the same answer, whatever was estimated when it was asked (before ANALYZE, or
        # beside relations whose conditions imply another one).
        weight = fresh * (evidence.literal[rows] == literals[:, None])
        answer = evidence.log_rows[rows] - estimates[:, None]
        answer = np.where(np.isnan(answer), ratio, np.clip(answer, -_MOST, _MOST))
        return sums[0], sums[1], (weight.sum(axis=1), (weight * answer).sum(axis=1))

    def _charges(self, shape: QueryShape, default: tuple[int, ...]) -> tuple[Floats, Floats]:
        """By how much unsupported sub-plans are taken to be underestimated, and the margin beyond that."""
        tuning = self.tuning
        seen = self.executions(shape)
        doubt = tuning.trust / (tuning.trust + seen)
        number, total, squares = self._surprise.T
        mean = total / (5.0 + number)
        # Until something is known, unsupported joins may be underestimated by e, give or take e².
        expected = (5.0 + total) / (5.0 + number)
        deviation = np.sqrt(np.maximum((25.0 + squares) / (5.0 + number) - expected * expected, 0.0))
        sizes = np.minimum(shape.sizes, _SIZES - 1)
        means: Floats = (tuning.mean * np.maximum(mean, 0.0))[sizes]
        margins: Floats = (tuning.deviations * doubt * deviation)[sizes]
        means[: shape.relations] = margins[: shape.relations] = 0.0
        # All plans hold all relations.
        margins[-1] = 0.0
        if not seen:
            for mask in default:
                at = shape.position.get(mask)
                if at is not None:
                    margins[at] = 0.0
        return means, margins

    # -- learning ------------------------------------------------------------------------------------------

    def observe(
        self, query: SubplanQuery, log_rows: Floats, masks: Sequence[int], rows: Sequence[float]
    ) -> int:
        """Learn from the rows that one execution showed of some sub-plans; how many were used.

        Parameters
        ----------
        query : SubplanQuery
        log_rows : float64 array, shape (S,)
            The estimates (not corrected ones), in the order in which the sets were given.
        masks : sequence of int
        rows : sequence of float
            Complete counts (see :mod:`godb_fast.feedback.collector`); what is negative, not finite, or of a
            set that the shape does not have is left out.
        """
        shape = query.shape
        with self._lock:
            before = self._correct(query, log_rows, ())
            estimates = _unfloored(shape, np.asarray(log_rows, np.float64))
            guess = before.told[shape.given] - estimates
            support = before.corrected.support[shape.given]
            seen: dict[int, float] = {}
            answers: dict[int, float] = {}
            for mask, value in zip(masks, rows, strict=True):
                at = shape.position.get(int(mask))
                if at is not None and np.isfinite(value) and value >= 0:
                    answers[at] = float(np.log(max(value, 1.0)))
                    seen[at] = min(max(answers[at] - float(estimates[at]), -_MOST), _MOST)
            if not seen:
                return 0
            self.clock += 1
            self._count(int(shape.keys[-1]))
            for at, ratio in seen.items():
                size = int(shape.sizes[at])
                if size > 1 and support[at] < 0.3:
                    self._surprised(min(size, _SIZES - 1), ratio - float(guess[at]))
                if size <= MAX_WIDTH:
                    self._learn(query, at, answers[at], guess, seen)
            return len(seen)

    def _learn(
        self, query: SubplanQuery, at: int, answer: float, guess: Floats, seen: dict[int, float]
    ) -> None:
        shape, now, ratio = query.shape, float(self.clock), seen[at]
        members = np.flatnonzero(shape.inside[at]).tolist()
        literal = int(_literal_keys(query, shape.order[at : at + 1])[0])
        order = shape.order[at][: len(members)]
        key = int(shape.keys[at])
        former = self.evidence.add(
            key, ratio, now, literal, query.log_selectivity[order], query.tokens[order], answer
        )
        if former is not None and abs(former - answer) > np.log(4.0):
            # The same question has another answer: the data have changed.
            self.evidence.age(key, self.tuning.half_life, now)
        if len(members) > 1:
            order = shape.parent_order[at][: len(members)]
            # Singles come first, in the order of the relations.
            net = ratio - sum(seen.get(relation, float(guess[relation])) for relation in members)
            # Literals of unlike filters are unlike.
            literal = int(_literal_keys(query, shape.parent_order[at : at + 1])[0] ^ np.uint64(key))
            self.parents.add(
                int(shape.parents[at]), net, now, literal, query.log_selectivity[order], query.tokens[order]
            )

    def _count(self, key: int, number: int = 1) -> None:
        self._executions[key] = min(self._executions.get(key, 0) + number, _MANY)
        self._executions.move_to_end(key)
        if len(self._executions) > self.evidence.max_shapes:
            self._executions.popitem(last=False)

    def _surprised(self, size: int, by: float) -> None:
        entry = self._surprise[size]
        entry += (1.0, by, by * by)
        if entry[0] > _MOST_SURPRISES:
            entry *= 0.5

    def enter(self, epoch: str) -> bool:
        """Say which epoch of the database is observed from now on; whether everything was forgotten."""
        with self._lock:
            changed = self.epoch is not None and self.epoch != epoch
            self.epoch = epoch
            if changed:
                self._forget()
            return changed

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        self.evidence.clear()
        self.parents.clear()
        self._surprise[:] = 0.0
        self._executions.clear()
        self._known.clear()

    # -- keeping -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the store: hashes, ratios, no literals."""
        with self._lock:
            # Copies: whoever asks for corrections waits for these alone.
            evidence, parents = self.evidence.observed(), self.parents.observed()
            state = {
                "format": _FORMAT,
                "epoch": self.epoch,
                "clock": self.clock,
                "surprise": self._surprise.tolist(),
                "executions": [list(entry) for entry in self._executions.items()],
            }
        return {**state, "evidence": evidence.to_dict(), "parents": parents.to_dict()}

    def take_in(self, before: dict[str, Any] | None, theirs: dict[str, Any]) -> int:
        """Learn what another process learned; of how many observations that was news.

        Nothing is taken from another epoch.

        Parameters
        ----------
        before : dict or None
            The state (of :meth:`to_dict`) that both began with; None if they began with nothing.
        theirs : dict
            What the other one made of it.

        Raises
        ------
        InvalidInput
            If theirs is of another format, or damaged.
        """
        # Read whole before anything is taken: damaged states teach nothing.
        other = Corrections.from_dict(theirs)
        first = Corrections() if before is None else Corrections.from_dict(before)
        taken = 0
        for evidence, seen, known in (
            (self.evidence, other.evidence, first.evidence),
            (self.parents, other.parents, first.parents),
        ):
            news = seen.observed().news(known.observed())
            for start in range(0, len(news), _AT_ONCE):
                with self._lock:
                    if other.epoch != self.epoch:
                        return taken
                    # First: what was seen far ahead of the clock would weigh beyond all numbers.
                    self.clock = max(self.clock, other.clock)
                    taken += evidence.take_in(news.only(slice(start, start + _AT_ONCE)))
        with self._lock:
            if other.epoch != self.epoch:
                return taken
            for key, number in other._executions.items():
                more = number - first._executions.get(key, 0)
                if more > 0:
                    self._count(key, more)
            if np.array_equal(self._surprise, first._surprise):
                self._surprise[:] = other._surprise
            self.clock = max(self.clock, other.clock)
        return taken

    @classmethod
    def from_dict(cls, data: dict[str, Any], tuning: Tuning | None = None, **bounds: int) -> Corrections:
        """What :meth:`to_dict` gave; nothing, if an earlier version kept it.

        Raises
        ------
        InvalidInput
            If it is of another format, or damaged.
        """
        if not isinstance(data, dict):
            raise InvalidInput(f"corrections are damaged ({type(data).__name__} is no state); forget them")
        if data.get("format") in _FORMER:
            return cls(tuning, **bounds)
        if data.get("format") != _FORMAT:
            raise InvalidInput(
                f"corrections of format {data.get('format')!r}; this godb_fast reads {_FORMAT}: forget them"
            )
        found = cls(tuning, **bounds)
        try:
            found.epoch = data["epoch"]
            found.clock = int(data["clock"])
            found._surprise = np.array(data["surprise"], np.float64)
            found._executions.update((int(key), int(number)) for key, number in data["executions"])
            evidence, parents = (Observed.from_dict(data[name]) for name in ("evidence", "parents"))
            found.evidence.load(evidence)
            found.parents.load(parents)
            if not found._is_possible(max(float(each.seen.max(initial=0.0)) for each in (evidence, parents))):
                raise ValueError("numbers that no execution has shown")
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise InvalidInput(f"corrections are damaged ({error}); forget them") from error
        return found

    def _is_possible(self, newest: float) -> bool:
        """Whether executions, the newest of which was then, can have taught this.

        Of other numbers, corrections would be none.
        """
        if not (self.epoch is None or isinstance(self.epoch, str)) or not 0 <= self.clock <= _LAST:
            return False
        if not all(0 <= number <= _MANY for number in self._executions.values()):
            return False
        if self._surprise.shape != (_SIZES, 3):
            return False
        number, total, squares = self._surprise.T
        if not ((number >= 0.0) & (number <= _MOST_SURPRISES)).all():
            return False
        if not ((squares >= 0.0) & (squares <= _MOST_SQUARES)).all():
            return False
        # Cauchy and Schwarz, but for rounding.
        if not (np.abs(total) <= np.sqrt(number * squares) * (1.0 + 1e-6) + 1e-3).all():
            return False
        # A process that took in others' evidence may have been a little behind their clock.
        return newest <= self.clock + _MANY


def _unfloored(shape: QueryShape, log_rows: Floats) -> Floats:
    """Estimates in the order of the shape; those that stand at the floor of one row, as what lies below.

    Estimators do not say less than a row, so that there the largest joins lose what their parts are estimated
    by: corrections of the parts, added up, would then be too much by that. What the estimator would have said
    follows from smaller sub-plans, as corrections do.
    """
    estimates = log_rows[shape.given]
    floored = (estimates == 0.0) & (shape.sizes > 1)
    if not floored.any():
        return estimates
    found = np.append(estimates, 0.0)
    for level in shape.levels:
        at = np.flatnonzero(floored[level.sets])
        if at.size:
            first, second, both = level.first[at], level.second[at], level.both[at]
            below = ((found[first] + found[second] - found[both]) * level.weight[at]).sum(1)
            found[level.sets.start + at] = np.minimum(below, 0.0)
    return found[:-1]


def _literal_keys(query: SubplanQuery, order: Ints) -> Words:
    """A hash of the literals of each set's relations, in canonical order."""
    literals = np.append(query.literals, np.uint64(0))[order]
    places: NDArray[np.uint64] = np.arange(1, order.shape[1] + 1, dtype=np.uint64)
    filled = order < query.shape.relations
    words: Words = np.where(filled, mixed(literals + mixed(places)), np.uint64(0)).sum(
        axis=1, dtype=np.uint64
    )
    return words
