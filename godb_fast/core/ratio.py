"""How a ratio of two times is written, wherever one is shown."""

from __future__ import annotations

import math

#: Below, two decimals would tell little or nothing.
_SMALL = 0.1
#: Nothing that is measured tells ratios below this apart.
_LEAST = 0.001
_LARGE = 1000.0


def ratio_text(ratio: float, digits: int = 2) -> str:
    """A ratio with ``digits`` decimals; with two significant ones where it is small: never ``0.00``.

    Examples
    --------
    >>> ratio_text(0.834), ratio_text(0.0043), ratio_text(0.0), ratio_text(1.0, 3)
    ('0.83', '0.0043', '< 0.001', '1.000')
    """
    if math.isnan(ratio):
        return "unknown"
    if math.isinf(ratio):
        return "∞" if ratio > 0 else "-∞"
    if ratio >= _LARGE:
        return f"{ratio:,.0f}"
    if ratio >= _SMALL or ratio < 0.0:
        return f"{ratio:.{digits}f}"
    return f"{ratio:.2g}" if ratio >= _LEAST else f"< {_LEAST:g}"
