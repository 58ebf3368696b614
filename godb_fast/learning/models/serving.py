"""A model that answers: natively where it is a forest, else by onnxruntime."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from godb_fast.errors import InvalidInput, ModelRefused
from godb_fast.learning.models.cache import PredictionCache
from godb_fast.learning.models.card import Card
from godb_fast.learning.models.decoding import decoding
from godb_fast.learning.models.folder import ModelFile, ModelFolder
from godb_fast.learning.models.forest import Forest, ForestServer, NotNative, flatten
from godb_fast.learning.models.onnx_server import OnnxServer, open_session
from godb_fast.learning.models.sizes import check_graph

log = logging.getLogger("godb_fast")

Floats = NDArray[np.float64]

_FLOAT64: Final = np.dtype(np.float64)

#: Candidates and pipelines of one decision seldom are more; more rows take several calls.
MOST_ROWS: Final = 128
SERVERS: Final = ("auto", "native", "onnxruntime")
#: Numbers of rows that a model is tried with: of one alone, a shape that is wrong can look right.
_TRIED: Final = (1, 3)


class Model:
    """A checked model, ready to predict. Thread-safe: each call borrows scratch memory.

    Parameters
    ----------
    file : ModelFile
    server : str
        ``native`` is the kernel ``forest``, the faster way; ``auto`` means native where the model is a forest
        that the kernel knows, else onnxruntime.
    backend : str or None
        Of the kernel.

    Raises
    ------
    ModelRefused
        If what it calls trees are none, no server takes it, or only onnxruntime could, and is not there; or
        if what it makes of a few rows is no finite number each.

    Attributes
    ----------
    server : str
        Who serves: ``native (cython)``, say, or ``onnxruntime``.
    """

    def __init__(self, file: ModelFile, *, server: str = "auto", backend: str | None = None) -> None:
        if server not in SERVERS:
            raise InvalidInput(f"server is {server!r}; it is one of {', '.join(SERVERS)}")
        self.card = file.card
        self.key = file.card.key
        self._columns = len(file.card.columns)
        self._refuses = file.card.missing == "refused"
        with decoding(self.key):
            self._make = self._maker(file, server, backend)
            first = self._make()
            _try(file.card, first)
        self.server: str = first.name
        self._pool: list[Any] = [first]

    def _maker(self, file: ModelFile, server: str, backend: str | None) -> Callable[[], Any]:
        check_graph(file.graph, MOST_ROWS)
        forest: Forest | None = None
        try:
            # Trees are checked whoever serves them.
            forest = flatten(file.graph)
        except NotNative as why:
            if server == "native":
                raise ModelRefused(f"model {self.key} cannot be served natively: {why}", "server") from why
            log.info("model %s is served by onnxruntime: %s", self.key, why)
        if forest is not None and server != "onnxruntime":
            return lambda: ForestServer(forest, MOST_ROWS, backend)
        session = open_session(file.data, self.key)
        return lambda: OnnxServer(session, file, MOST_ROWS)

    @classmethod
    def newest(
        cls,
        folder: str | os.PathLike[str],
        name: str,
        *,
        refused: list[ModelRefused] | None = None,
        **how: Any,
    ) -> Model | None:
        """The newest version under a folder that can be used; None if there is none.

        A version that is refused is logged, and the one before serves.
        """
        return ModelFolder(folder).newest(name, lambda file: cls(file, **how), refused)

    def predict(self, rows: ArrayLike, out: Floats | None = None) -> Floats:
        """One number per row, all rows in one call.

        Parameters
        ----------
        rows : float array, shape (n, F)
            In the order of the card's columns.
        out : float64 array, shape (n,), optional

        Raises
        ------
        InvalidInput
            If the shape is another, or a value is NaN and the model takes none.
        """
        # One type object stands for float64: comparing with the class would take as long as a forest.
        if type(rows) is not np.ndarray or rows.dtype is not _FLOAT64 or not rows.flags.c_contiguous:
            rows = np.ascontiguousarray(rows, np.float64)
        shape = rows.shape
        if len(shape) != 2 or shape[1] != self._columns:
            raise InvalidInput(f"model {self.key} takes rows of {self._columns} columns, not shape {shape}")
        if out is None:
            out = np.empty(shape[0])
        elif out.shape != shape[:1] or out.dtype is not _FLOAT64 or not out.flags.c_contiguous:
            raise InvalidInput(
                f"out has shape {out.shape} and type {out.dtype}, not ({shape[0]},) of float64"
            )
        try:
            server = self._pool.pop()
        except IndexError:
            server = self._make()
        try:
            absent = server.scores(rows, out)
        finally:
            self._pool.append(server)
        if absent and self._refuses:
            broken = np.flatnonzero(np.isnan(rows).any(axis=0))
            names = ", ".join(self.card.columns[at] for at in broken)
            raise InvalidInput(f"model {self.key} takes no NaN; there are {absent} in {names}")
        return out

    def predict_known(self, plans: Sequence[int], rows: Floats, cache: PredictionCache) -> Floats:
        """As :meth:`predict`, where a plan whose hash is in the cache costs no inference.

        Parameters
        ----------
        plans : sequence of int, length n
            Hash of what each row describes.
        """
        key = self.key
        found = cache.find(plans, key)
        unknown = [at for at, value in enumerate(found) if value is None]
        if len(rows) != len(found):
            raise InvalidInput(f"{len(found)} plans, but {len(rows)} rows")
        if unknown:
            every = len(unknown) == len(found)
            predicted = self.predict(rows if every else rows[unknown]).tolist()
            for at, value in zip(unknown, predicted, strict=True):
                found[at] = value
                cache.put(plans[at], key, value)
        return np.array(found, np.float64)


def _try(card: Card, server: Any) -> None:
    """Have a server score a few rows.

    They are zeros, or as near to zero as training saw: somewhere a model has to make sense.

    Raises
    ------
    ModelRefused
        If it gives no finite number for each; else what the server raises.
    """
    near = [min(max(0.0, card.least.get(name, 0.0)), card.most.get(name, math.inf)) for name in card.columns]
    for count in _TRIED:
        out = np.full(count, np.nan)
        server.scores(np.array([near] * count, np.float64), out)
        if not np.isfinite(out).all():
            raise ModelRefused(
                f"model {card.key} gives {out.tolist()} for {count} rows that are safe", "malformed"
            )
