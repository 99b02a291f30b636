"""Whether the noise of several images is the same, so that what is told of one serves all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from napari_noise2self.engine.noise.report import NoiseReport

# Deviations that differ by less are alike: of so much that is too much or too little, the score of
# a model suffers (benchmarks/suitability.py).
FACTOR = 1.5


def most_different(reports: Sequence[NoiseReport]) -> tuple[int, float] | None:
    """The image whose noise differs most from that of the first, at the same grey values.

    Parameters
    ----------
    reports : sequence of NoiseReport
        With the same number of channels.

    Returns
    -------
    number : int
        Which of them it is.
    factor : float
        How many times as strong its noise is.  Both are left out (None) where all
        are alike, as far as is known and can be compared.
    """
    factors = [_factor(reports[0], report) for report in reports]
    number = int(np.argmax(np.abs(np.log(factors))))
    factor = factors[number]
    return None if 1 / FACTOR < factor < FACTOR else (number, factor)


def _factor(first: NoiseReport, other: NoiseReport) -> float:
    """The factor of the channel in which it differs most, of their standard deviations."""
    found = [1.0]
    for channel, (one, two) in enumerate(zip(first.channels, other.channels, strict=True)):
        if one.line is None or two.line is None or not (one.known and two.known):
            continue
        low = max(one.line.darkest, two.line.darkest)
        high = min(one.line.brightest, two.line.brightest)
        if low >= high:
            continue
        signal = np.linspace(low, high, 9)
        before, now = (float(r.variance(signal, channel).mean()) for r in (first, other))
        if before > 0 and now > 0:
            found.append(math.sqrt(now / before))
    return max(found, key=lambda factor: abs(math.log(factor)))
