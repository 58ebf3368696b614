"""onnxruntime as a server of one model: one thread, buffers bound once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from godb_fast.errors import ModelRefused
from godb_fast.learning.models.folder import ModelFile

Floats = NDArray[np.float64]
Reals = NDArray[np.float32]

#: Warnings of onnxruntime's own log are not the user's.
_ERRORS_ONLY: Final = 3
#: Numbers of which BLAS makes a product in the thread that asks.
_PIECE: Final = 8192


def open_session(data: bytes, key: str) -> Any:
    """An onnxruntime session on bytes that were checked: one thread, no spinning.

    Raises
    ------
    ModelRefused
        If onnxruntime cannot be imported, or does not take the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelRefused(
            f"model {key} needs onnxruntime, which cannot be imported: {error}", "server"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime has a dozen classes of its own.
        raise ModelRefused(f"onnxruntime refuses model {key}: {error}", "server") from error


class OnnxServer:
    """Runs a session on buffers of its own. Serves one thread at a time.

    Input and output are bound once per number of rows: a call copies the rows in, runs, and copies out.
    """

    def __init__(self, session: Any, file: ModelFile, most_rows: int) -> None:
        card = file.card
        self.name = "onnxruntime"
        self._session = session
        self._card = card
        self._most = most_rows
        shape = file.graph.output(card.output).shape
        width = shape[1] if len(shape) == 2 else 1
        if width is None:
            raise ModelRefused(f"model {card.key} does not say how many columns it gives", "card")
        self._inputs = np.zeros((most_rows, len(card.columns)), np.float32)
        self._outputs = np.zeros((most_rows, width), np.float32)
        self._flat = len(shape) == 1
        #: By number of rows: what is bound, where its rows go, the same in flat pieces, where its scores are.
        self._bound: dict[int, tuple[Any, Reals, list[Reals], Reals]] = {}

    def scores(self, rows: Floats, out: Floats) -> int:
        """Write one score per row; how many values were NaN."""
        if len(rows) > self._most:
            return sum(
                self.scores(rows[first : first + self._most], out[first : first + self._most])
                for first in range(0, len(rows), self._most)
            )
        if not len(rows):
            return 0
        bound = self._bound.get(len(rows))
        if bound is None:
            bound = self._bound[len(rows)] = self._bind(len(rows))
        binding, inputs, pieces, scores = bound
        inputs[:] = rows
        # A sum of squares is NaN where a value is (at worst it is infinite else), and NaN is not itself.
        squares = 0.0
        for piece in pieces:
            squares += float(piece.dot(piece))
        absent = 0 if squares == squares else int(np.isnan(inputs).sum())
        self._session.run_with_iobinding(binding)
        out[:] = scores
        return absent

    def _bind(self, count: int) -> tuple[Any, Reals, list[Reals], Reals]:
        binding = self._session.io_binding()
        card, inputs, outputs = self._card, self._inputs, self._outputs
        binding.bind_input(
            card.input, "cpu", 0, np.float32, [count, inputs.shape[1]], inputs.__array_interface__["data"][0]
        )
        shape = [count] if self._flat else [count, outputs.shape[1]]
        binding.bind_output(card.output, "cpu", 0, np.float32, shape, outputs.__array_interface__["data"][0])
        # Of two columns (of a classifier) the last one is meant.
        flat = inputs[:count].reshape(-1)
        pieces = [flat[first : first + _PIECE] for first in range(0, len(flat), _PIECE)]
        return binding, inputs[:count], pieces, outputs[:count, -1]
