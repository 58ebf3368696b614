"""Compiled kernels, and their sources beside them. Only ``godb_fast.backend`` imports from here.

In a checkout the sources lie in ``src_ext/``; a wheel carries them in this folder.
"""

from pathlib import Path

_here = Path(__file__).resolve().parent
_checkout = _here.parent.parent / "src_ext"

#: The folder with the kernels' Python sources.
SOURCE_FOLDER = _checkout if (_checkout / "enumeration.py").is_file() else _here
