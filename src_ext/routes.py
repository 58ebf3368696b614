"""From a statement's text to a choice in one call, for templates that were planned before.

In a program that runs a statement between two plannings, the processor's caches hold nothing of ours, and a
line of Python costs a microsecond: what is short in lines is fast. A :class:`Route` serves the usual query
(one block, no parameters of a driver, the engine's own plan known for its region of selectivities). All else
takes the longer way in ``planning.proposal``, which gives the same answers.

This topic has the Cython and the Python form.
"""

from __future__ import annotations

from array import array

import cython
import numpy
from cython.cimports.godb_fast._kernels.lexer import Fingerprint, Lexer
from cython.cimports.godb_fast._kernels.replanning import Replanner
from cython.cimports.godb_fast._kernels.skeletons import Skeletons

if cython.compiled:
    # Of C: no int is made of what nobody may ever read.
    from cython.cimports.cpython.time import perf_counter_ns
    from cython.cimports.libc.string import memcpy
if not cython.compiled:
    from time import perf_counter_ns

    # Decisions are frozen, and made here field by field.
    PyObject_GenericSetAttr = object.__setattr__


#: The kind of a list's slot, and the flag of a text with parameters, as in the lexer.
LIST = cython.declare(cython.int, 5)
PARAMETERS = cython.declare(cython.int, 2)
#: Texts known by their bytes between the literals.
SKELETONS = cython.declare(cython.Py_ssize_t, 5_000)


@cython.final
@cython.cclass
class Route:
    """A template's way from literals to a choice. Shared by all threads.

    Parameters
    ----------
    owner : object
        Handed back with what was planned.
    slots : int
        Literals of the template.
    lend : callable
        Returns a list with the :class:`~replanning.Replanner` of the template's only block; of each of its
        blocks that has a graph, where only regions are asked for.
    pool : list
        Where that list goes when it is free again, and is taken from.
    bind : callable
        Literals → values by slot, for filters that cannot be judged by the texts alone.
    rule : float64 array, shape (4,)
        See ``assessment.choose``.
    """

    def __init__(self, owner, slots, lend, pool, bind, rule):
        self.owner = owner
        self.slots = slots
        self.lend = lend
        self.pool = pool
        self.bind = bind
        self.rule = rule
        self.own = {}

    def learn(self, bucket, own):
        """The engine's own plan in a region: PLAN_NODE array, shape (2n - 1,)."""
        self.own[bucket] = own

    @cython.cfunc
    def _begun(self, found: Fingerprint, begun: cython.longlong) -> Planned:
        """What a route is to come to; None: the longer way is to be taken."""
        if len(found._texts()) != self.slots:
            return None
        return _planned(found, self, begun)

    @cython.cfunc
    def _plan(self, found: Fingerprint, begun: cython.longlong) -> Planned:
        """None where the longer way has to be taken."""
        planned: Planned = self._begun(found, begun)
        natives: list
        replanner: Replanner
        if planned is None:
            return None
        natives = self.pool.pop() if self.pool else self.lend()
        replanner = natives[0]
        planned.read = perf_counter_ns()
        planned.bucket = replanner.estimate(found._texts(), planned, None)
        planned.estimated = perf_counter_ns()
        own = self.own.get(planned.bucket)
        if own is None:
            self.pool.append(natives)
            return None
        if cython.compiled:
            planned.outcome = replanner.choose(own, self.rule)
        else:
            # NumPy's scalars warn where C is silent: of infinite rows.
            with numpy.errstate(all="ignore"):
                planned.outcome = replanner.choose(own, self.rule)
        planned.chosen = planned.outcome[1]
        if planned.chosen >= 0:
            planned.plan = replanner.plan(planned.chosen)
        self.pool.append(natives)
        planned.searched = perf_counter_ns()
        return planned


@cython.final
@cython.cclass
class Proved:
    """What exploration proved of a template, where literals alone decide what is sent. Shared by all threads.

    Parameters
    ----------
    owner : object
        Whose it is.
    route : Route or None
        Tells the region of a text's literals; None where regions do not matter.
    entries : list of (bytes, object, object, frozenset of bytes, int, tuple or None)
        The region that it was proved in (empty: everywhere), the steering, what is handed back, regions in
        which it does not serve, the steps, per relation, within which it does, and the pieces of
        :class:`Words` that are sent; None for the text as it is.
    """

    def __init__(self, owner, route, entries):
        self.owner = owner
        self.route = route
        self.entries = [
            (*entry[:5], None if entry[5] is None else Words(tuple(entry[5]))) for entry in entries
        ]

    @cython.cfunc
    def _find(self, sql: str, found: Fingerprint, begun: cython.longlong) -> Planned:
        """What serves a text: the nearest; None if nothing does, or comments are to be kept."""
        planned: Planned
        natives: list
        replanner: Replanner
        apart: frozenset
        words: Words
        entry: tuple
        there: bytes
        here: bytes
        most: cython.longlong
        near: cython.longlong
        sum_: cython.longlong
        step: cython.longlong
        at: cython.Py_ssize_t
        best: cython.longlong = -1
        if self.route is None:
            planned = _planned(found, None, begun)
            planned.bucket = b""
        else:
            planned = _planned(found, self.route, begun)
            natives = self.route.pool.pop() if self.route.pool else self.route.lend()
            planned.bucket = None
            for native in natives:
                if native is None:
                    continue
                replanner = native
                region = replanner.region(found, planned, self.route.slots)
                if region is None:
                    self.route.pool.append(natives)
                    return None
                planned.bucket = region if planned.bucket is None else planned.bucket + region
            self.route.pool.append(natives)
            if planned.bucket is None:
                planned.bucket = b""
        here = planned.bucket
        served = None
        for entry in self.entries:
            apart = entry[3]
            if len(apart) != 0 and here in apart:
                continue
            there = entry[0]
            most = sum_ = 0
            if len(there) != 0:
                if len(there) != len(here):
                    continue
                for at in range(len(there)):
                    step = there[at]
                    step -= here[at]
                    if step < 0:
                        step = -step
                    sum_ += step
                    if step > most:
                        most = step
                near = entry[4]
                if most > near:
                    continue
            if best < 0 or sum_ < best:
                best = sum_
                served = entry
        if served is None:
            return None
        planned.text = sql
        if served[5] is not None:
            if not (97 <= (ord(sql[0]) | 32) <= 122) and sql.lstrip().startswith(("--", "/*")):
                return None
            words = served[5]
            planned.text = words._filled(found)
        planned.served = served
        planned.searched = perf_counter_ns()
        return planned


@cython.final
@cython.cclass
class Words:
    """What is sent: pieces of text, and slots for the texts of literals. Immutable; shared by all threads.

    Parameters
    ----------
    pieces : tuple of (str or int)
    """

    def __init__(self, pieces):
        raw: list = []
        steps: list = []
        self.pieces = pieces
        self.plain = all(type(piece) is int or piece.isascii() for piece in pieces)
        for piece in pieces:
            if type(piece) is int:
                steps.extend((-1, piece))
            else:
                raw.append(piece.encode("utf-8"))
                steps.extend((len(raw[len(raw) - 1]), -1))
        self.raw = b"".join(raw)
        self.steps = array("i", steps).tobytes()
        self.count = len(pieces)
        if cython.compiled:
            self.raw_at = self.raw
            self.steps_at = cython.cast(cython.p_int, cython.cast(cython.p_char, self.steps))

    @cython.cfunc
    def _filled(self, found: Fingerprint) -> str:
        """With the literals of a text in their slots."""
        texts: list = []
        tops: cython.int[64]
        slots: cython.p_int
        out: cython.p_uchar
        size: cython.Py_ssize_t = len(self.raw)
        at: cython.Py_ssize_t
        n: cython.Py_ssize_t
        first: cython.Py_ssize_t
        last: cython.Py_ssize_t
        step: cython.Py_ssize_t
        data: cython.p_uchar
        # Parameters without names are told apart by numbers of our own.
        plain: cython.bint = self.plain and (found.flags & PARAMETERS) == 0
        if (
            cython.compiled
            and plain
            and PyUnicode_IS_ASCII(found.sql)  # noqa: F821
            and found._tops(tops, 64) >= 0  # noqa: F821
        ):
            # As bytes, in one piece of memory: in a list of literals, commas and spaces take the place of
            # what stood between its elements.
            data = cython.cast(cython.p_uchar, PyUnicode_DATA(found.sql))  # noqa: F821
            slots = cython.cast(cython.p_int, cython.cast(cython.p_char, found.packed))
            for step in range(self.count):
                if self.steps_at[2 * step] < 0:
                    last = tops[self.steps_at[2 * step + 1]]  # noqa: F821
                    first = last
                    if (slots[3 * last + 2] & 255) == LIST:
                        first = last - (slots[3 * last + 2] >> 8)
                        last -= 1
                        size += 2 * (last - first)
                    for at in range(first, last + 1):
                        size += slots[3 * at + 1] - slots[3 * at]
            made: str = PyUnicode_New(size, 127)  # noqa: F821
            out = cython.cast(cython.p_uchar, PyUnicode_DATA(made))  # noqa: F821
            n = 0
            for step in range(self.count):
                size = self.steps_at[2 * step]
                if size >= 0:
                    memcpy(out, self.raw_at + n, size)
                    out += size
                    n += size
                    continue
                last = tops[self.steps_at[2 * step + 1]]  # noqa: F821
                first = last
                if (slots[3 * last + 2] & 255) == LIST:
                    first = last - (slots[3 * last + 2] >> 8)
                    last -= 1
                for at in range(first, last + 1):
                    if at > first:
                        out[0] = 44
                        out[1] = 32
                        out += 2
                    size = slots[3 * at + 1] - slots[3 * at]
                    memcpy(out, data + slots[3 * at], size)
                    out += size
            return made
        literals: tuple = found._texts()
        for piece in self.pieces:
            if type(piece) is not str:
                piece = literals[piece]
                if type(piece) is not str:
                    piece = ", ".join(piece)
            texts.append(piece)
        return "".join(texts)


@cython.cfunc
def _planned(found: Fingerprint, route, begun: cython.longlong) -> Planned:
    """What a route is to come to."""
    planned: Planned = Planned.__new__(Planned)
    planned.begun = begun
    planned.found = found
    planned.route = route
    planned.values = None
    planned.served = None
    planned.plan = None
    planned.outcome = None
    planned.chosen = -1
    return planned


@cython.final
@cython.cclass
class Planned:
    """What a route came to.

    Attributes
    ----------
    found : lexer.Fingerprint
    route : Route
    bucket : bytes
        Region of selectivities, as of ``filters.Filters``.
    outcome : tuple of (int, int, float)
        What ``assessment.choose`` says.
    chosen : int
        Number of the chosen plan, -1 for the engine's own.
    plan : PLAN_NODE array or None
        The chosen plan.
    served : tuple or None
        The entry of :class:`Proved` that serves.
    text : str
        What is sent where one serves.
    """

    @property
    def literals(self):
        """Source texts by slot."""
        return self.found._texts()

    @property
    def owner(self):
        """Whose route it was; None where no route was needed."""
        route: Route = self.route
        return None if route is None else route.owner

    @property
    def timings_us(self):
        """Microseconds of each step; of what was proved, of all steps together: to tell them apart would
        cost more than they do."""
        if self.served is not None:
            return {"recall": (self.searched - self.begun) / 1e3}
        return {
            "fingerprint": (self.read - self.begun) / 1e3,
            "estimates": (self.estimated - self.read) / 1e3,
            "search": (self.searched - self.estimated) / 1e3,
        }

    def bound(self, literals=None):
        """Values by slot, for filters that cannot be judged by the texts alone."""
        route: Route = self.route
        if self.values is None:
            self.values = route.bind(self.found._texts(), None)
        return self.values

    def __call__(self, field):
        """Fields of the decision, once somebody reads one: see :class:`Routes`."""
        routes: Routes = self.routes
        return routes.make(self, field)


@cython.final
@cython.cclass
class Kept:
    """A decision as it is kept under its text.

    Attributes
    ----------
    decision : object
    """

    def prepared(self):
        """The decision with what its execution needs, made once somebody executes it."""
        planned: Planned = self.planned
        routes: Routes = planned.routes
        made = routes.prepared(self.decision, None, self.owner, planned.bucket, planned.found._texts())
        if planned.served is not None:
            made.served = planned.served[2]
        return made


@cython.final
@cython.cclass
class Routes:
    """Finds the decision of a text.

    Parameters
    ----------
    lexer : lexer.Lexer
        Of the dialect.
    templates : dict
        (hash, casing) → (key of the fingerprint, an object whose ``route`` is a Route or None, and whose
        ``proved`` is a Proved or None). The caller fills it. Keys are compared, so that a collision of hashes
        never mixes two queries.
    exact : dict
        Text → what was made for it. Filled here, too, with :class:`Kept`.
    most : int
        Entries of ``exact``; beyond them nothing is found here until the caller has made room.
    decision : type
        Made without its ``__init__``, of ``fingerprint``, ``sql``, ``steering`` and ``_make``, and ``action``
        where it steers.
    prepared : callable
        Called with the decision, None, the owner, the bucket and the literals. What was proved is put into
        its ``served``.
    steering : object
        Of the decision: nothing is steered.
    make : callable
        Called with a Planned and the name of a field, once somebody reads one.

    Attributes
    ----------
    decided : int
        Decisions made here.
    """

    def __init__(self, lexer: Lexer, templates, exact, most, decision, prepared, steering, make):
        self.lexer = lexer
        self.skeletons = Skeletons(lexer, SKELETONS)
        self.templates = templates
        self.exact = exact
        self.most = most
        self.decision = decision
        self.prepared = prepared
        self.steering = steering
        self.make = make
        self.decided = 0

    def answer(self, sql):
        """The decision on a text where :meth:`find` makes one; else None."""
        found = self._find(sql)
        if type(found) is not Kept:
            return None
        kept: Kept = found
        return kept.decision

    def learn(self, found):
        """Know texts like this one again, of a template that was just met."""
        if type(found) is Fingerprint:
            self.skeletons._learn(found, found.key)

    def find(self, sql):
        """What is kept of a text's route, if nothing is to be steered, or of what was proved of it.

        Else the :class:`Planned` that steers; the Fingerprint of a text without a route; None if it cannot
        be read.
        """
        return self._find(sql)

    @cython.cfunc
    def _find(self, sql):
        begun: cython.longlong = perf_counter_ns()
        route: Route
        planned: Planned
        entry: tuple
        proved: Proved
        found: Fingerprint
        again: cython.bint = True
        if type(sql) is not str or len(self.exact) >= self.most:
            return None
        try:
            found = self.skeletons._find(sql)
            if found is None:
                again = False
                found = self.lexer._run(sql, False)
        except UnicodeEncodeError:
            return None
        if found.error:
            return None
        entry = self.templates.get((found.hash, found.casing))
        if entry is None or entry[0] != found.key:
            return found
        if not again:
            self.skeletons._learn(found, entry[0])
        owner = entry[1]
        proved = owner.proved
        if proved is not None:
            planned = proved._find(sql, found, begun)
            if planned is not None:
                return self._made(sql, owner, planned)
            return found
        route = owner.route
        if route is None:
            return found
        planned = route._plan(found, begun)
        if planned is None:
            return found
        if planned.chosen >= 0:
            return planned
        return self._made(sql, owner, planned)

    @cython.cfunc
    def _made(self, sql, owner, planned: Planned) -> Kept:
        """The decision, made as far as it is always read, kept under its text."""
        kind: type = self.decision
        kept: Kept = Kept.__new__(Kept)
        decision = kind.__new__(kind)
        PyObject_GenericSetAttr(decision, "fingerprint", planned.found.hash)
        if planned.served is not None:
            PyObject_GenericSetAttr(decision, "sql", planned.text)
            PyObject_GenericSetAttr(decision, "steering", planned.served[1])
            PyObject_GenericSetAttr(decision, "action", "steer")
        else:
            PyObject_GenericSetAttr(decision, "sql", sql)
            PyObject_GenericSetAttr(decision, "steering", self.steering)
        PyObject_GenericSetAttr(decision, "_make", planned)
        planned.routes = self
        kept.decision = decision
        kept.planned = planned
        kept.owner = owner
        self.exact[sql] = kept
        self.decided += 1
        return kept
