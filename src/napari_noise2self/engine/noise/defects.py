"""Where the hot and dead pixels of a frame are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.bad_pixels import find_bad
from napari_noise2self.engine.errors import InputError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.noise.sample import find_dead
from napari_noise2self.engine.preparation import check_image

_MOST_PIXELS = 2**26


def defects(
    image: Any, axes: str | None = None, *, frame: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the pixels of one frame that stand alone far above, or far below, all around them.

    Parameters
    ----------
    image : array
        NumPy, dask, or whatever has a shape and a dtype and can be indexed.
    axes : str, optional
        One letter per axis, as in "TCZYX".  None: the last two are YX and
        leading ones count frames.
    frame : int
        Number of the frame, where Z counts frames.

    Returns
    -------
    hot, dead : ndarray of int, shape (n, axes of the image)
        Indices into `image`.

    Raises
    ------
    InputError
        If the image cannot be denoised at all, or a frame has more than 2^26 pixels.
    """
    layout = Layout.of(image.shape, axes)
    check_image(image, layout)
    if math.prod(layout.frame_shape) > _MOST_PIXELS:
        raise InputError(
            f"A frame of the shape {layout.frame_shape} is too large to look for single pixels: "
            f"crop the image."
        )
    planes = layout.read(image, frame)
    missing, hot = find_bad(planes)
    dead = find_dead(planes, missing)
    # The array as if it had this one frame; then moved to where the frame is.
    index = layout.index(frame)
    sizes = [1 if isinstance(i, int) else n for i, n in zip(index, layout.shape, strict=True)]
    alone = Layout.of(sizes, layout.axes)
    start = [i if isinstance(i, int) else 0 for i in index]

    def positions(found: NDArray[np.bool_]) -> NDArray[np.intp]:
        whole = np.zeros(alone.shape, bool)
        alone.write(whole, 0, found)
        return np.argwhere(whole) + start

    return positions(hot), positions(dead)
