"""Templates by fingerprint."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from godb_fast.core import Template
from godb_fast.sql.fingerprint import Fingerprint

Key = tuple[int, int]


class TemplateCache:
    """Least recently used templates, bounded, for one schema epoch. Thread-safe.

    A hit compares the text, so that two texts with one hash never share a template.
    """

    def __init__(self, capacity: int = 5_000) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[Key, tuple[bytes, Template]] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, found: Fingerprint) -> Template | None:
        """The template of a fingerprint, or None."""
        key = (found.hash, found.casing)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry[0] != found.key:
                self.misses += 1
                return None
            self._entries.move_to_end(key)
            self.hits += 1
            return entry[1]

    def put(self, found: Fingerprint, template: Template) -> None:
        """Remember a template; on a collision the newer one stays."""
        with self._lock:
            self._entries[found.hash, found.casing] = (found.key, template)
            self._entries.move_to_end((found.hash, found.casing))
            while len(self._entries) > self.capacity:
                self._entries.popitem(last=False)

    def get_or_parse(self, found: Fingerprint, parse: Callable[[Fingerprint], Template]) -> Template:
        """The known template, or a newly parsed one. Two threads may parse the same text once each."""
        known = self.get(found)
        if known is None:
            known = parse(found)
            self.put(found, known)
        return known

    def clear(self) -> None:
        """Forget everything, as after a change of the schema."""
        with self._lock:
            self._entries.clear()
