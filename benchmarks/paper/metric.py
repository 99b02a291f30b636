"""How outputs are compared with the truth: as the paper says, and as its code does."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

RESCALINGS = ("as it is", "matched", "fitted")


def rescaled(
    truth: NDArray[np.floating], image: NDArray[np.floating], how: str
) -> NDArray[np.float64]:
    """An output, all channels alike, at the brightness of the truth.

    Parameters
    ----------
    truth, image : ndarray, same shape
        One image, with its channels.
    how : {"as it is", "matched", "fitted"}
        "matched" has the mean and the variance of the truth, as the text of the paper says;
        "fitted" has the mean of the truth and the slope with the smallest error, as its code
        does.  A fit is never worse, and flatters what is hardly like the truth.
    """
    image = np.asarray(image, np.float64)
    if how == "as it is":
        return image
    truth = np.asarray(truth, np.float64)
    centred, goal = image - image.mean(), truth - truth.mean()
    power = float(np.mean(centred**2))
    if power == 0:
        return np.full(image.shape, truth.mean())
    if how == "matched":
        slope = float(np.sqrt(np.mean(goal**2) / power))
    else:
        slope = float(np.mean(centred * goal)) / power
    return slope * centred + truth.mean()


def quality(
    truths: Iterable[NDArray[np.floating]],
    images: Iterable[NDArray[np.floating]],
    peak: float,
    how: str = "matched",
) -> float:
    """Mean PSNR over images, each rescaled by itself."""
    values = []
    for truth, image in zip(truths, images, strict=True):
        mse = float(np.mean((rescaled(truth, image, how) - truth) ** 2))
        values.append(10 * np.log10(peak**2 / mse))
    return float(np.mean(values))
