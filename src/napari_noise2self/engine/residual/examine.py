"""What a denoiser took away: noise alone, or image as well, and what it left.

The residual, noisy less denoised, is compared with the noise band by band (see
`bands`): with more energy than the noise where there is detail, it
contains the image; with less where it is flat, noise stayed in the result; and
less correlated than the noise, correlated noise did.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.bad_pixels import find_bad
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.noise.map import REACH, Autocorrelation, autocorrelation, nothing
from napari_noise2self.engine.noise.report import ChannelNoise, NoiseReport, plain
from napari_noise2self.engine.noise.sample import Sample
from napari_noise2self.engine.preparation import check_image
from napari_noise2self.engine.residual.bands import (
    BANDS,
    GROUPS,
    Blocks,
    expected_middle,
    expected_shares,
)
from napari_noise2self.engine.residual.findings import Finding, findings
from napari_noise2self.engine.residual.map import MOST_PIXELS, ResidualMap, local_maps

# Below this share of the mean variance, the noise is too little known to divide by.
_LEAST_VARIANCE = 0.05
# Correlation beside structure that laser scanners leave along rows, see `noise.correlation`.
_HARMLESS = 0.12


@dataclass(frozen=True)
class ChannelResidual:
    """The residual of one channel, compared with the noise.

    Attributes
    ----------
    mean : float
        In grey values: above 0, the denoised image is darker than the noisy one.
    variance_ratio : float
        Variance of the residual over that of the noise, where the image is flat.
    level_known : bool
        Whether the variance of the noise is known.  If not, it is taken to be
        that of the finest detail of the residual, and only ratios between
        bands mean something.
    ratios, errors : tuple of tuple of float
        Energy over that of the noise, and its standard error, for each place
        (the flattest 40 % of the denoised image, the next 30 %, 20 %, 7 %, and
        the 3 % with the most detail) and each of `BANDS`; NaN where unknown.
    kept : float
        Least share of the variance of the noise that is still in the denoised
        image where it is flat.  A filter that keeps the share H of the noise's
        amplitude leaves (1 - H)^2 of its energy in the residual; within a band
        H is taken to be one number, and where it varies, more was kept.
    likeness : float
        Correlation of residual and denoised image, of what is 1 to 4 pixels
        wide, in the 30 % with the most detail.
    correlation : Autocorrelation
        Of the residual, where the denoised image is flat.
    noise : ChannelNoise
        What it is compared with.
    """

    mean: float
    variance_ratio: float
    level_known: bool
    ratios: tuple[tuple[float, ...], ...]
    errors: tuple[tuple[float, ...], ...]
    kept: float
    likeness: float
    correlation: Autocorrelation
    noise: ChannelNoise


@dataclass(frozen=True)
class ResidualReport:
    """What is left in the residual.

    Attributes
    ----------
    axes : str
        The axes of the image.
    channels : tuple of ChannelResidual
    findings : tuple of Finding
        What is wrong, in plain words, with the remedy; empty if nothing is.
    summary : str
        One sentence for all of it.
    map : ResidualMap or None
        Where, in one frame; None if a frame is too large to be read.
    """

    axes: str
    channels: tuple[ChannelResidual, ...]
    findings: tuple[Finding, ...]
    summary: str
    map: ResidualMap | None

    @property
    def sentences(self) -> tuple[str, ...]:
        """The summary, and for each finding what is wrong and what to do."""
        return (self.summary, *(f"{f.sentence} {f.remedy}" for f in self.findings))

    def to_json(self) -> dict[str, Any]:
        """The report without maps, as numbers, strings, lists and mappings; NaN becomes None."""
        channels = []
        for channel in self.channels:
            numbers = {
                name: getattr(channel, name)
                for name in (
                    "mean",
                    "variance_ratio",
                    "level_known",
                    "ratios",
                    "errors",
                    "kept",
                    "likeness",
                )
            }
            centre = channel.correlation.reach
            y, x = (
                channel.correlation.rho[centre:, centre],
                channel.correlation.rho[centre, centre:],
            )
            channels.append({**numbers, "correlation": {"Y": y[1:].tolist(), "X": x[1:].tolist()}})
        found: dict[str, Any] = plain(
            {
                "axes": self.axes,
                "summary": self.summary,
                "findings": [asdict(finding) for finding in self.findings],
                "bands": BANDS,
                "places": GROUPS,
                "channels": channels,
            }
        )
        return found


def examine_residual(
    noisy: Any,
    denoised: Any,
    axes: str | None = None,
    noise: NoiseReport | None = None,
    *,
    frame: int | None = None,
) -> ResidualReport:
    """Examine what a denoiser took away from an image, and what it left.

    Numbers come from a few million pixels spread over large images, the same
    ones that `estimate_noise` reads; the map from one frame.

    Parameters
    ----------
    noisy, denoised : array of one shape
        NumPy, dask, or whatever has a shape and a dtype and can be indexed.
    axes : str, optional
        One letter per axis, as in "TCZYX".  None: the last two are YX and
        leading ones count frames.
    noise : NoiseReport, optional
        Of `noisy`; estimated if it is not given.
    frame : int, optional
        The frame to map, where Z counts frames; by default the one in the middle.

    Returns
    -------
    report : ResidualReport

    Raises
    ------
    InputError
        If the shapes differ, or the noisy image cannot be denoised at all.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = 100 + np.add.outer(np.arange(256.0), np.arange(256.0))
    >>> examine_residual(truth + rng.normal(0, 10, truth.shape), truth).findings
    ()
    """
    noisy, denoised = as_array(noisy), as_array(denoised)
    if tuple(noisy.shape) != tuple(denoised.shape):
        raise InputError(
            f"The noisy image has the shape {tuple(noisy.shape)}, the denoised one "
            f"{tuple(denoised.shape)}: they must be the same pixels before and after."
        )
    layout = Layout.of(noisy.shape, axes)
    check_image(noisy, layout)
    check_image(denoised, layout)
    if noise is None:
        noise = estimate_noise(noisy, layout.axes)
    samples = Sample.of(noisy, layout), Sample.of(denoised, layout)
    channels = tuple(
        _channel(
            [run[number] for run in samples[0].runs], [run[number] for run in samples[1].runs], c
        )
        for number, c in enumerate(noise.channels)
    )
    found, summary = findings(channels, noise)
    return ResidualReport(
        layout.axes, channels, found, summary, _map(noisy, denoised, layout, channels, frame)
    )


@dataclass(frozen=True)
class _Standard:
    """A residual in units of the noise, the image likewise, and the pixels that count."""

    residual: NDArray[np.float32]
    image: NDArray[np.float32]
    good: NDArray[np.bool_]
    mean: float

    @classmethod
    def of(cls, noisy: NDArray[Any], denoised: NDArray[Any], noise: ChannelNoise) -> _Standard:
        """Of planes (n, y, x)."""
        values, result = (np.asarray(a, np.float64) for a in (noisy, denoised))
        missing, hot = find_bad(noisy[None])
        finite = np.isfinite(result)
        good = ~(missing | hot)[0] & finite
        result = np.where(finite, result, result[finite].mean() if finite.any() else 0.0)
        residual = np.where(good, values - result, 0.0)
        if noise.line is None:
            deviation = np.ones(1)
        else:
            least = _LEAST_VARIANCE * noise.mean_variance
            variance = noise.line.variance(result)
            good &= variance >= least
            deviation = np.sqrt(np.maximum(variance, least))
        return cls(
            (residual / deviation * good).astype(np.float32),
            (result / deviation).astype(np.float32),
            good,
            float(residual[good].mean()) if good.any() else math.nan,
        )


def _correlations(noise: ChannelNoise) -> list[tuple[float, ...]]:
    """The correlation of the noise along y and x, as far as it is that of noise."""
    lags: list[tuple[float, ...]] = []
    for letter in "YX":
        axis = noise.correlation[letter]
        if axis.correlated or axis.noise_alone:
            sure = [r if abs(r) > 2 * e else 0.0 for r, e in zip(axis.rho, axis.error, strict=True)]
            lags.append(tuple(sure[:REACH]))
        else:
            lags.append(tuple(min(max(r, 0.0), _HARMLESS) for r in axis.rho[:1]))
    return lags


def _channel(
    noisy: list[NDArray[Any]], denoised: list[NDArray[Any]], noise: ChannelNoise
) -> ChannelResidual:
    standard = [_Standard.of(a, b, noise) for a, b in zip(noisy, denoised, strict=True)]
    parts = [b for s in standard if (b := Blocks.of(s.residual, s.image, s.good)) is not None]
    blocks = Blocks.joined(parts) if parts else None
    groups = [] if blocks is None else blocks.groups()
    nan = math.nan
    mean = (
        float(np.nanmean([s.mean for s in standard]))
        if any(s.good.any() for s in standard)
        else nan
    )
    if blocks is None or not all(group.size for group in groups):
        unknown = ((nan,) * len(BANDS),) * len(GROUPS)
        return ChannelResidual(mean, nan, False, unknown, unknown, nan, nan, nothing(), noise)
    shares = np.maximum(expected_shares(_correlations(noise)), 1e-6)
    level_known = noise.line is not None and noise.known
    fine = [blocks.mean(blocks.fine, group)[0] for group in groups]
    flat = blocks.mean(blocks.total, groups[0])[0]
    unit = 1.0 if noise.line is not None else max(fine[0], 1e-300)
    ratios, errors = [], []
    for group in groups:
        pairs = [blocks.mean(energy, group) for energy in blocks.energy]
        ratios.append(tuple(m / s / unit for (m, _), s in zip(pairs, shares, strict=True)))
        errors.append(tuple(e / s / unit for (_, e), s in zip(pairs, shares, strict=True)))
    weights = shares / shares.sum()
    left = np.maximum(1 - np.sqrt(np.array(ratios[0])), 0.0)
    product, first, second = blocks.match[:, np.concatenate(groups[2:])].sum(axis=1)
    planes = np.concatenate([s.residual for s in standard])
    return ChannelResidual(
        mean=mean,
        variance_ratio=flat if noise.line is not None else nan,
        level_known=level_known,
        ratios=tuple(ratios),
        errors=tuple(errors),
        kept=float(np.sum(weights * left**2)) if noise.line is not None else nan,
        likeness=float(product / math.sqrt(first * second)) if first * second > 0 else 0.0,
        correlation=autocorrelation(planes, flat_by=np.concatenate([s.image for s in standard])),
        noise=noise,
    )


def _map(
    noisy: Any,
    denoised: Any,
    layout: Layout,
    channels: tuple[ChannelResidual, ...],
    frame: int | None,
) -> ResidualMap | None:
    if math.prod(layout.spatial_shape) > MOST_PIXELS:
        return None
    frame = layout.frames // 2 if frame is None else frame
    pictures = layout.read(noisy, frame), layout.read(denoised, frame)
    maps = []
    for number, channel in enumerate(channels):
        standard = _Standard.of(pictures[0][number, None], pictures[1][number, None], channel.noise)
        share = max(expected_middle(_correlations(channel.noise)), 1e-6)
        values = standard.residual[0]
        if channel.noise.line is None:
            values = values / max(float(values.std()), 1e-30)
        maps.append(local_maps(values, share))
    variance, structure, correlation = np.stack(maps, axis=1)
    return ResidualMap(frame, variance, structure, correlation)
