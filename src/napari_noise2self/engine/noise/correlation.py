"""Whether the noise of neighbouring pixels is correlated, told from one image.

The statistic is the correlation of second differences (see
`statistics`) in the flattest patches, bin by bin of patches with like
means.  Structure correlates too.  What noise does and structure does not:

- The differences of noise are nearly normally distributed within a patch;
  those of edges, lines and spots are sparse and have a large kurtosis.
- Patches of noise are as much alike as chance makes them: the mean square of n
  differences with the autocorrelation r varies by the share
  ``(2 + kurtosis) sum(r^2) / n`` squared; texture varies more.
- The correlation of noise is the same at every grey value; that of structure
  depends on how much structure there is beside the noise.

Only what passes all three is called correlated noise.  Dense structure as fine
as the point-spread function passes them, too; `spectrum` tells it by the floor
of white noise beneath it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.noise.statistics import Floats, Patches

# Weaker correlation does little harm: the electronics of laser scanners leave up to
# about 0.12 along rows in images that are best treated as white.
NEGLIGIBLE = 0.18
# Lags with at least this correlation are hidden together with the target.
WORTH_HIDING = 0.1
# Limits of noise alone, for: the kurtosis above normal; the scatter among patches, in that
# of noise (more where the other axis has shown that noise dominates); the difference between
# the quartiles of the bins, relative to their median; the share of the patches that can be less
# than half as correlated.
_MOST_EXCESS = 1.5
_MOST_SCATTER = 1.5
_MOST_SCATTER_BESIDE = 2.5
_MOST_SPREAD = 0.15
_MOST_WHITE = 0.03
_FEWEST_QUIET = 0.4
# Patches per bin, the share of them that counts as flat, and the fewest of those.
BIN = 64
_FLAT_SHARE = 0.4
FEWEST = 12
_MOST_BINS = 32


@dataclass(frozen=True)
class AxisCorrelation:
    """The autocorrelation of the noise along one axis.

    Attributes
    ----------
    rho : tuple of float
        Correlation at lags 1, 2, ... pixels; empty where it could not be measured.
    error : tuple of float
        Their standard errors.
    correlated : bool
        Whether a correlation was found that is significant, strong enough to
        matter, and not explained by structure.
    extent : int
        Odd width of the block that covers the correlated pixels; 1 if it is
        not correlated.
    noise_alone : bool
        Whether patches were found that show noise alone.  If not, `rho` speaks
        of structure as well, and nothing was concluded from it.
    """

    rho: tuple[float, ...] = ()
    error: tuple[float, ...] = ()
    correlated: bool = False
    extent: int = 1
    noise_alone: bool = False


def flat_bins(
    patches: Patches, most_clipped: float, size: int = BIN, fewest: int = FEWEST
) -> list[NDArray[np.intp]]:
    """The flattest patches of every bin of patches with like means.

    Parameters
    ----------
    patches : Patches
    most_clipped : float
        Patches with a larger share of clipped pixels are left out.
    size : int
        Patches per bin, more where there are very many.
    fewest : int
        Flat patches that a bin has at least.
    """
    energy = np.minimum(patches.products[0][0], patches.products[1][0])
    usable = np.flatnonzero((energy > 0) & (patches.low + patches.high <= most_clipped))
    if usable.size < FEWEST:
        return []
    order = usable[np.argsort(patches.mean[usable], kind="stable")]
    count = min(max(round(usable.size / size), 1), _MOST_BINS)
    bins = []
    for group in np.array_split(order, count):
        keep = max(round(_FLAT_SHARE * group.size), min(fewest, group.size))
        bins.append(group[np.argsort(patches.unevenness[group], kind="stable")[:keep]])
    return bins


def _lower_variance(deviations: Floats) -> float:
    """The variance of normal deviates from their lower half.

    Structure adds energy to some patches, and must not hide the floor that
    the others share.
    """
    low, middle = np.percentile(deviations, [10, 50])
    return float(((middle - low) / 1.2816) ** 2)


@dataclass(frozen=True)
class _Bin:
    """What the flat patches of one bin say.

    `single` is the correlation in each of them.  `excess` is the kurtosis of the
    differences above that of normal deviates; `deviations` are those of the
    logarithms of the patches' energies from their median, in units of what noise
    would give.
    """

    rho: Floats
    error: Floats
    single: Floats
    excess: float
    deviations: Floats

    @classmethod
    def of(cls, patches: Patches, axis: int, index: NDArray[np.intp]) -> _Bin:
        products = patches.products[axis][:, index]
        energy = products[0]
        total = float(energy.sum())
        rho = products[1:].sum(axis=1) / total
        single = products[1:] / np.maximum(energy, 1e-300)
        own = patches.own[axis][:, index].sum(axis=1) / total
        # The ratio of two sums: how far each patch is from it.
        residual = products[1:] - rho[:, None] * energy
        error = np.sqrt((residual**2).sum(axis=1)) / total
        dependence = (1 + 2 * float(np.sum(rho**2))) * (1 + 2 * float(np.sum(own**2)))
        expected = 2 * dependence / patches.side**2
        fourth = float(patches.fourth[axis][index].sum() / (energy**2).sum())
        excess = fourth * (1 + expected) - 3
        # Noise of few photons has a kurtosis, and its energy varies more.
        expected *= 1 + max(excess, 0.0) / 2
        logarithms = np.log(np.maximum(energy, 1e-300))
        deviations = (logarithms - np.median(logarithms)) / math.sqrt(expected)
        return cls(rho, error, single, excess, deviations)


@dataclass(frozen=True)
class Evidence:
    """What all bins together say about one axis.

    Attributes
    ----------
    rho, error : ndarray
        The medians of the bins that show noise alone, and their standard errors.
    scatter : float
        How much more than noise the patches vary.
    quiet : float
        Share of the bins that can show noise alone.
    found : bool
        Whether the correlation is strong, significant and common to the bins.
    structure : bool
        Whether it is strong, but some patches show white noise.
    """

    rho: Floats
    error: Floats
    scatter: float
    quiet: float
    found: bool
    structure: bool

    @classmethod
    def of(cls, patches: Patches, axis: int, bins: Sequence[NDArray[np.intp]]) -> Evidence:
        """Weigh the bins of one axis."""
        measured = [_Bin.of(patches, axis, index) for index in bins]
        quiet = [
            m for m in measured if m.excess <= _MOST_EXCESS and _lower_variance(m.deviations) <= 4
        ]
        share = len(quiet) / len(measured)
        pooled = np.concatenate([m.deviations for m in quiet or measured])
        used = quiet if share >= _FEWEST_QUIET else measured
        rho = np.stack([m.rho for m in used])
        errors = np.stack([m.error for m in used])
        first, centre, third = np.quantile(rho, [0.25, 0.5, 0.75], axis=0)
        alone = np.sqrt((errors**2).sum(axis=0)) / len(used)
        spread = 1.4826 * np.median(np.abs(rho - centre), axis=0) / math.sqrt(len(used))
        # The median of normal deviates is 1.25 times as uncertain as their mean.
        error = 1.25 * np.maximum(alone, spread)

        size = np.abs(centre)
        strong = (size >= NEGLIGIBLE) & (size - 2.5 * error >= 2 / 3 * NEGLIGIBLE)
        common = np.where(centre > 0, first, -third) >= 2 / 3 * NEGLIGIBLE
        chance = 1.35 * np.median(errors, axis=0)  # between the quartiles of normal deviates
        common &= third - first <= _MOST_SPREAD * size + chance
        # Noise is as much correlated in the dark as where there is structure.
        single = np.concatenate([m.single for m in measured], axis=1)
        by_chance = math.sqrt(1 + 2 * float(np.sum(centre**2))) / patches.side
        white = np.abs(single) < (size / 2 - by_chance)[:, None]
        everywhere = white.mean(axis=1) <= _MOST_WHITE
        return cls(
            centre,
            error,
            _lower_variance(pooled),
            share,
            found=bool((strong & common & everywhere)[:2].any()),
            structure=bool(strong[0] and not everywhere[0]),
        )

    def noise_alone(self, most_scatter: float = _MOST_SCATTER) -> bool:
        """Whether enough bins show noise alone."""
        return self.quiet >= _FEWEST_QUIET and self.scatter <= most_scatter

    def verdict(self, beside: Evidence | None = None) -> AxisCorrelation:
        """The conclusion, given the evidence of another axis."""
        correlated = self.found and self.noise_alone()
        if beside is not None and beside.structure:
            correlated = False
        elif beside is not None and beside.found and beside.noise_alone():
            correlated |= self.found and self.noise_alone(_MOST_SCATTER_BESIDE)
        reach = 0
        if correlated:
            size = np.abs(self.rho)
            hidden = (size >= WORTH_HIDING) & (size > 3 * self.error)
            hidden[: int(np.argmax(size >= NEGLIGIBLE)) + 1] = True
            reach = hidden.size if hidden.all() else int(np.argmin(hidden))
        return AxisCorrelation(
            tuple(self.rho.tolist()),
            tuple(self.error.tolist()),
            correlated,
            2 * reach + 1,
            self.noise_alone(),
        )


def measure_correlation(
    patches: Patches, bins: Sequence[NDArray[np.intp]]
) -> tuple[AxisCorrelation, AxisCorrelation]:
    """The correlation of the noise along y and along x."""
    if not bins:
        return AxisCorrelation(), AxisCorrelation()
    y, x = (Evidence.of(patches, axis, bins) for axis in (0, 1))
    return y.verdict(x), x.verdict(y)
