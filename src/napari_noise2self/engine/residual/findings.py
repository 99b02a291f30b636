"""What the numbers of a residual mean, in plain words and with the remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_noise2self.engine.noise.report import NoiseReport

if TYPE_CHECKING:
    from napari_noise2self.engine.residual.examine import ChannelResidual

# Image: energy above this many times that of the noise, by so many standard errors, in the
# bands of details and with the finest band as the measure where it has more than expected.
_MUCH = 1.2
_ERRORS = 3.5
_DETAIL_BANDS = (1, 2, 3)
# Noise of unforeseen correlation raises a band everywhere, up to this; more is image.
_MOST_BASELINE = 1.3
# Noise left in: share of its variance; and correlation that the residual lacks.
_MOST_KEPT = 0.1
_SHARE_OF_CORRELATION = 0.6
_LEAST_LOSS = 0.15
# A shift of brightness, in deviations of the noise.
_SHIFT = 0.2

Kind = Literal["image", "correlated noise", "noise", "brightness"]
_WIDTHS = {1: "1 to 2", 2: "2 to 4", 3: "4 to 8"}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a residual.

    Attributes
    ----------
    kind : "image", "correlated noise", "noise" or "brightness"
    channel : int
    sentence : str
        What is wrong.
    remedy : str
        What to do about it.
    """

    kind: Kind
    channel: int
    sentence: str
    remedy: str


def findings(
    channels: tuple[ChannelResidual, ...], noise: NoiseReport
) -> tuple[tuple[Finding, ...], str]:
    """Judge the residual of every channel.

    Parameters
    ----------
    channels : tuple of ChannelResidual
    noise : NoiseReport

    Returns
    -------
    findings : tuple of Finding
    summary : str
    """
    found = []
    for number, channel in enumerate(channels):
        name = f" of channel {number + 1}" if len(channels) > 1 else ""
        for judge in (_image, _noise, _brightness):
            finding = judge(channel, number, name, noise)
            if finding is not None:
                found.append(finding)
    if found:
        return tuple(found), "The residual is not noise alone."
    if all(math.isnan(c.ratios[0][0]) for c in channels):
        return (), "The image is too small, or too much of it is clipped, to examine the residual."
    if not all(c.level_known for c in channels):
        return (), (
            "No image was found in the residual. Whether noise stayed in the denoised image "
            "cannot be told, because the variance of the noise is not known well enough."
        )
    return (), "The residual looks like the noise, and like nothing else."


def excess(channel: ChannelResidual) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Energy of the residual over what noise can explain, places by bands.

    Parameters
    ----------
    channel : ChannelResidual

    Returns
    -------
    excess : ndarray of float64, shape (places, bands)
        Less 3.5 standard errors; above 1.2, image was taken away there.
    """
    ratios, errors = np.array(channel.ratios), np.array(channel.errors)
    level = np.maximum(ratios[:, :1], 1.0)
    # Where structure hides whether the noise is correlated, places are compared with the
    # flattest one alone.
    certain = all(a.noise_alone for a in map(channel.noise.correlation.__getitem__, "YX"))
    most = _MOST_BASELINE if certain else np.inf
    baseline = np.clip(ratios[0] / level[0], 1.0, most)
    return np.asarray((ratios - _ERRORS * errors) / level / baseline)


def _image(channel: ChannelResidual, number: int, name: str, noise: NoiseReport) -> Finding | None:
    sure = excess(channel)[:, list(_DETAIL_BANDS)]
    if not (sure > _MUCH).any():
        return None
    place, band = np.unravel_index(np.nanargmax(sure), sure.shape)
    width = _WIDTHS[_DETAIL_BANDS[band]]
    times = channel.ratios[place][_DETAIL_BANDS[band]]
    everywhere = bool((sure[0] > _MUCH).any())
    where = "everywhere" if everywhere else "where there is detail"
    alike = (
        f", and it resembles the denoised image (correlation {channel.likeness:.2f})"
        if channel.likeness > 0.2
        else ""
    )
    return Finding(
        "image",
        number,
        f"The residual{name} contains the image, {where}: details {width} pixels wide have "
        f"{times:.2g} times the energy of the noise{alike}.",
        "Too much was smoothed away: train longer, try the mixed output or another network, or "
        "a milder filter.",
    )


def _noise(channel: ChannelResidual, number: int, name: str, noise: NoiseReport) -> Finding | None:
    centre = channel.correlation.reach
    lost = []
    for letter, index in (("Y", (centre + 1, centre)), ("X", (centre, centre + 1))):
        axis = channel.noise.correlation[letter]
        rho, error = channel.correlation.rho[index], channel.correlation.error[index]
        if not axis.correlated or math.isnan(rho):
            continue
        if rho + 3 * error < min(_SHARE_OF_CORRELATION * axis.rho[0], axis.rho[0] - _LEAST_LOSS):
            lost.append(f"{rho:.2f} instead of {axis.rho[0]:.2f} along {letter.lower()}")
    kept = channel.kept if channel.level_known else math.nan
    correlated = any(a.correlated for a in channel.noise.correlation.values())
    if lost or (correlated and kept > _MOST_KEPT):
        parts = [f"Correlated noise{name} is still in the denoised image."]
        if kept > _MOST_KEPT:
            parts.append(f"At least {kept:.0%} of the noise's variance stayed where it is flat.")
        if lost:
            parts.append(
                f"The residual is whiter than the noise: neighbouring pixels correlate by "
                f"{' and '.join(lost)}."
            )
        extent = "×".join(map(str, noise.extent))
        return Finding(
            "correlated noise",
            number,
            " ".join(parts),
            f"The partition did not make it independent: denoise with a hidden block of {extent}, "
            f"or leave the partition on automatic.",
        )
    if kept > _MOST_KEPT:
        return Finding(
            "noise",
            number,
            f"At least {kept:.0%} of the noise's variance{name} is still in the denoised image, "
            f"where it is flat.",
            "Train longer, or take the J-invariant output.",
        )
    return None


def _brightness(
    channel: ChannelResidual, number: int, name: str, noise: NoiseReport
) -> Finding | None:
    deviation = math.sqrt(channel.noise.mean_variance) if channel.noise.line else math.nan
    if not abs(channel.mean) > _SHIFT * deviation:
        return None
    word = "darker" if channel.mean > 0 else "brighter"
    return Finding(
        "brightness",
        number,
        f"The denoised image{name} is on average {abs(channel.mean):.3g} grey values {word} than "
        f"the noisy one.",
        "Brightness cannot be compared before and after: normalise neither image, or both alike.",
    )
