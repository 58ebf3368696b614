"""Models as files: read from bytes that were checked first, and served natively or by onnxruntime.

:mod:`card` says what a model is, :mod:`folder` loads and exports the pair of files, :mod:`graph` reads ONNX
(with :mod:`wire`, without the ``onnx`` package) and refuses what is not on its list (:mod:`tensors` its
constants, :mod:`sizes` what would grow), :mod:`decoding` refuses what fails in any other way, :mod:`forest`
flattens tree ensembles for the kernel of that name, :mod:`serving` predicts, :mod:`cache` remembers
predictions, :mod:`shipped` finds the user's model or the one that ships.
"""

from godb_fast.learning.models.cache import PredictionCache
from godb_fast.learning.models.card import KINDS, Card
from godb_fast.learning.models.folder import ModelFile, ModelFolder
from godb_fast.learning.models.serving import Model

__all__ = ["KINDS", "Card", "Model", "ModelFile", "ModelFolder", "PredictionCache"]
