"""A statement under a steering: the same tokens, with FROM and WHERE of the steered blocks put anew.

DuckDB takes join orders as explicit joins in parentheses, right input = build side; so does PostgreSQL under
``join_collapse_limit = 1``. Each conjunct stands at the lowest join where it may be evaluated; where two
sides are connected only by an equality that follows from others, that equality is printed; and an equality
that follows from what is printed below is left out. PostgreSQL has no syntax for semi and anti joins: they
become EXISTS, which is possible above all other joins only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from godb_fast.core import Block, JoinKind, JoinTree, QueryGraph, Segments, Steering, Template
from godb_fast.errors import InvalidInput
from godb_fast.sql.guards import holds
from godb_fast.sql.layout import Layout, Syntax
from godb_fast.sql.places import Writer

#: Segments kept per template, one entry a set of join trees.
MAX_RENDERED: Final = 64

_WORDS: Final = {JoinKind.INNER: "JOIN", JoinKind.SEMI: "SEMI JOIN", JoinKind.ANTI: "ANTI JOIN"}


def render(
    template: Template,
    literals: Sequence[str | Sequence[str]],
    steering: Steering,
    dialect: str | None = None,
) -> str:
    """Text of a statement under a steering's join trees or rewrites (settings and hints are the engine's).

    Rewrites are looked up among those that ``godb_fast.rewriting.rewrites`` found for the template before.

    Parameters
    ----------
    literals : sequence of str, or of sequences of str for lists
        Source text by slot, as ``Fingerprint.literals`` gives it; ``?`` has become ``$n`` there, because
        conditions may change places.

    Raises
    ------
    InvalidInput
        If the template passes through, a block cannot be steered, a tree does not fit its block, a rewrite is
        unknown or these literals break one of its guards, or the literals do not fit the slots.
    """
    if len(literals) != len(template.slots):
        raise InvalidInput(f"{len(literals)} literals for the {len(template.slots)} slots of the template")
    if steering.rewrites:
        pieces = _rewritten(template, literals, steering)
    else:
        pieces = segments(template, steering.join_trees, dialect or template.dialect)
    texts = [text if isinstance(text, str) else ", ".join(text) for text in literals]
    return "".join([piece if isinstance(piece, str) else texts[piece] for piece in pieces])


def _rewritten(template: Template, literals: Sequence[str | Sequence[str]], steering: Steering) -> Segments:
    """Segments of a rewrite whose guards hold."""
    if steering.join_trees:
        raise InvalidInput("a steering has join trees or rewrites, not both: a rewrite has other joins")
    syntax = template.syntax
    if not isinstance(syntax, Syntax):
        raise InvalidInput(f"the statement passes through as it is: {template.reason}")
    name = "+".join(steering.rewrites)
    if syntax.rewrites is None:
        raise InvalidInput(
            f"rewrite {name!r} is not known yet; first call rewriting.rewrites(template, schema)"
        )
    rewrite = syntax.rewrites.get(name)
    if rewrite is None:
        known = ", ".join(syntax.rewrites) or "none"
        raise InvalidInput(f"this template has no rewrite {name!r}; it has: {known}")
    for guard in rewrite.guards:
        if not holds(guard, literals):
            slots = ", ".join(map(str, guard.slots))
            raise InvalidInput(f"rewrite {name!r} needs the literals in slots {slots} to be {guard.kind}")
    return rewrite.segments


def segments(template: Template, trees: tuple[tuple[int, JoinTree], ...], dialect: str) -> Segments:
    """Segments of a statement under join trees, remembered per template."""
    syntax = template.syntax
    if not isinstance(syntax, Syntax):
        raise InvalidInput(f"the statement passes through as it is: {template.reason}")
    key = (trees, dialect)
    with syntax.lock:
        known = syntax.rendered.get(key)
        if known is not None:
            syntax.rendered.move_to_end(key)
            return known
    made = _Statement(template, syntax, dict(trees), dialect).segments()
    with syntax.lock:
        syntax.rendered[key] = made
        while len(syntax.rendered) > MAX_RENDERED:
            syntax.rendered.popitem(last=False)
    return made


class _Statement:
    """Prints one statement."""

    def __init__(self, template: Template, syntax: Syntax, trees: dict[int, JoinTree], dialect: str) -> None:
        self.syntax = syntax
        self.dialect = dialect
        self.writer = Writer(syntax.tokens)
        #: Steered blocks by their FROM token.
        self.starts: dict[int, tuple[Block, Layout, JoinTree]] = {}
        self.edits: dict[int, str] = {}
        for index, tree in trees.items():
            block = template.blocks[index] if 0 <= index < len(template.blocks) else None
            layout = syntax.layouts.get(index)
            if block is None or layout is None or block.graph is None:
                why = block.reason if block is not None else "there is no such block"
                raise InvalidInput(f"block {index} cannot be steered: {why}")
            self.starts[layout.origin] = (block, layout, tree)
            self.edits.update(layout.edits)

    def segments(self) -> Segments:
        self._tokens(0, len(self.syntax.tokens))
        return self.writer.segments()

    def _tokens(self, start: int, end: int) -> None:
        number = start
        while number < end:
            steered = self.starts.get(number)
            if steered is not None:
                self._body(*steered)
                number = steered[1].body_end
            else:
                self.writer.token(number, self.edits.get(number))
                number += 1

    def _body(self, block: Block, layout: Layout, tree: JoinTree) -> None:
        """FROM and WHERE of a steered block."""
        graph = block.graph
        assert graph is not None
        joins = JoinPlacement(graph, layout, tree)
        above: list[tuple[JoinKind, JoinTree, list[Segments]]] = []
        if self.dialect != "duckdb":
            while not isinstance(tree, int) and joins.kind(tree) in (JoinKind.SEMI, JoinKind.ANTI):
                above.append((joins.kind(tree), tree[1], joins.on(tree)))
                tree = tree[0]
        self.writer.add("FROM")
        self._tree(layout, joins, tree)
        conditions = 0
        printed = set()
        for number, span, wrapped in layout.where:
            if number is not None:
                printed.add(number)
                if number not in layout.stays:
                    continue
            self._joined(conditions)
            if wrapped:
                self.writer.add("(")
            self._tokens(*span)
            if wrapped:
                self.writer.add(")")
            conditions += 1
        for number in sorted(layout.stays - printed):
            self._joined(conditions)
            self._segments(layout.conditions[number])
            conditions += 1
        # PostgreSQL joins what stands first in WHERE first.
        for kind, right, condition in reversed(above):
            self._joined(conditions)
            self.writer.add("EXISTS (SELECT 1 FROM" if kind is JoinKind.SEMI else "NOT EXISTS (SELECT 1 FROM")
            self._tree(layout, joins, right)
            for place, part in enumerate(condition):
                self._joined(place)
                self._segments(part)
            self.writer.add(")")
            conditions += 1

    def _joined(self, before: int) -> None:
        self.writer.add("AND" if before else "WHERE")

    def _segments(self, pieces: Segments) -> None:
        self.writer.add_segments(pieces)

    def _tree(self, layout: Layout, joins: JoinPlacement, tree: JoinTree) -> None:
        """A join tree; an explicit stack, because trees may be hundreds of joins deep."""
        stack: list[JoinTree | str | list[Segments]] = [tree]
        while stack:
            item = stack.pop()
            if isinstance(item, int):
                self._leaf(layout, item, bool(joins.sheltered >> item & 1))
            elif isinstance(item, str):
                self.writer.add(item)
            elif isinstance(item, list):
                for place, condition in enumerate(item):
                    self.writer.add("AND" if place else "ON")
                    self._segments(condition)
            else:
                left, right = item
                word, on = self._word(joins, item)
                stack.append(on)
                if isinstance(right, int):
                    stack.append(right)
                else:
                    stack.extend((")", right, "("))
                stack.extend((word, left))

    def _word(self, joins: JoinPlacement, tree: tuple[JoinTree, JoinTree]) -> tuple[str, list[Segments]]:
        kind, on = joins.kind(tree), joins.on(tree)
        if kind is JoinKind.LEFT:
            return ("RIGHT JOIN" if joins.mirrored(tree) else "LEFT JOIN"), on or [("TRUE",)]
        if kind in (JoinKind.SEMI, JoinKind.ANTI):
            if self.dialect != "duckdb":
                raise InvalidInput("PostgreSQL has no syntax for a semi join below another join")
            return _WORDS[kind], on or [("TRUE",)]
        return (_WORDS[kind], on) if on else ("CROSS JOIN", [])

    def _leaf(self, layout: Layout, relation: int, sheltered: bool) -> None:
        leaf = layout.leaves[relation]
        early = layout.leaf_filters.get(relation, ())
        if sheltered and not early:
            early = layout.sheltered_filters.get(relation, ())
        if early:
            self.writer.add("(")
            self.writer.add("SELECT * FROM")
        self._tokens(*leaf.span)
        if leaf.renamed:
            self.writer.add(f"AS {leaf.alias}")
        elif leaf.columns:
            self.writer.add(f"AS {leaf.alias}({', '.join(leaf.columns)})")
        if early:
            for place, number in enumerate(early):
                self._joined(place)
                self._segments(layout.conditions[number])
            self.writer.add(")")
            self.writer.add(f"AS {leaf.alias}")


class JoinPlacement:
    """Which operator each join of a tree is, and which conditions it evaluates.

    Raises
    ------
    InvalidInput
        If the tree does not hold each relation once, or breaks an ordering constraint.
    """

    def __init__(self, graph: QueryGraph, layout: Layout, tree: JoinTree) -> None:
        self.graph = graph
        self.layout = layout
        self._found: dict[int, tuple[JoinKind, list[Segments], bool]] = {}
        #: Relations below the right, preserved input of a RIGHT JOIN.
        self.sheltered = 0
        self._held = {number: operator for operator in graph.operators for number in operator.predicates}
        self._place(tree)

    def kind(self, tree: tuple[JoinTree, JoinTree]) -> JoinKind:
        """Operator of a join."""
        return self._found[id(tree)][0]

    def on(self, tree: tuple[JoinTree, JoinTree]) -> list[Segments]:
        """Conditions of a join."""
        return self._found[id(tree)][1]

    def mirrored(self, tree: tuple[JoinTree, JoinTree]) -> bool:
        """Whether an outer join preserves its right input."""
        return self._found[id(tree)][2]

    def _place(self, tree: JoinTree) -> None:
        size = self.graph.size
        masks: list[int] = []
        stack: list[tuple[JoinTree, bool]] = [(tree, False)]
        seen = 0
        while stack:
            node, done = stack.pop()
            if isinstance(node, int):
                if not 0 <= node < size or seen >> node & 1:
                    raise InvalidInput(f"relation {node} is repeated in the join tree, or not in the block")
                seen |= 1 << node
                masks.append(1 << node)
            elif done:
                right, left = masks.pop(), masks.pop()
                self._found[id(node)] = found = self._join(left, right)
                if found[2]:
                    self.sheltered |= right
                masks.append(left | right)
            else:
                stack.extend(((node, True), (node[1], False), (node[0], False)))
        if seen != (1 << size) - 1:
            raise InvalidInput(f"the join tree lacks {self.graph.names(~seen & (1 << size) - 1)}")

    def _join(self, left: int, right: int) -> tuple[JoinKind, list[Segments], bool]:
        both = left | right
        new = [
            operator
            for operator in self.graph.operators
            if (needed := operator.left | operator.right)
            and not needed & ~both
            and needed & ~left
            and needed & ~right
        ]
        outer = [operator for operator in new if operator.kind is not JoinKind.INNER]
        if outer:
            (operator, *more) = outer
            forward = not operator.left & ~left and not operator.right & ~right
            backward = not operator.left & ~right and not operator.right & ~left
            allowed = forward or (backward and operator.kind is JoinKind.LEFT)
            if more or len(new) > 1 or not allowed or self._crossing(left, right):
                raise InvalidInput(f"the join tree breaks the constraint {operator}")
            on = [self.graph.predicates[number].sql for number in operator.predicates]
            return operator.kind, on, not forward
        for operator in new:
            if not (
                (not operator.left & ~left and not operator.right & ~right)
                or (not operator.left & ~right and not operator.right & ~left)
            ):
                raise InvalidInput(f"the join tree breaks the constraint {operator}")
        numbers = self._crossing(left, right)
        numbers += [number for operator in new for number in operator.predicates]
        return JoinKind.INNER, self._equalities(left, right, numbers), False

    def _crossing(self, left: int, right: int) -> list[int]:
        """Free predicates that can be evaluated here and not below."""
        return [
            number
            for number, predicate in enumerate(self.graph.predicates)
            if number not in self._held
            and not predicate.relations & ~(left | right)
            and predicate.relations & ~left
            and predicate.relations & ~right
        ]

    def _equalities(self, left: int, right: int, numbers: list[int]) -> list[Segments]:
        """One equality per class that has members on both sides, and everything else that is new.

        Within a side all members of a class are equal already, by induction; so one equality between the
        sides implies all others, written or not.
        """
        by_class: dict[int, Segments] = {}
        rest: list[Segments] = []
        for number in sorted(numbers):
            predicate = self.graph.predicates[number]
            if predicate.equivalence < 0:
                rest.append(predicate.sql)
            else:
                by_class.setdefault(predicate.equivalence, predicate.sql)
        starts, members = self.graph.class_start.tolist(), self.graph.class_member.tolist()
        for index in range(len(starts) - 1):
            if index in by_class:
                continue
            entries = range(starts[index], starts[index + 1])
            ours = [entry for entry in entries if left >> members[entry] & 1]
            theirs = [entry for entry in entries if right >> members[entry] & 1]
            if ours and theirs:
                columns = self.layout.columns
                by_class[index] = (f"{columns[ours[0]]} = {columns[theirs[0]]}",)
        return [*by_class.values(), *rest]
