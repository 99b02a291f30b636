"""What is taken as an image: anything that can be indexed like a NumPy array."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import (
    InputError,
    Noise2SelfError,
    OutOfMemoryError,
    first_line,
)


def is_dask(image: Any) -> bool:
    """Whether an array is computed by dask."""
    return type(image).__module__.startswith("dask.")


def as_array(image: Any) -> Any:
    """What can be indexed lazily as it is; anything else as a numpy array."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(image, torch.Tensor):
        return image.detach().cpu().numpy()
    if hasattr(image, "shape") and hasattr(image, "dtype") and hasattr(image, "__getitem__"):
        return image
    return np.asarray(image)


def read_part(image: Any, index: tuple[int | slice, ...]) -> NDArray[Any]:
    """A part of an array that may lie in a file, or on another machine.

    Raises
    ------
    InputError
        Whatever went wrong there.
    OutOfMemoryError
    """
    try:
        return np.asarray(image[index])
    except Noise2SelfError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            "The memory was not enough to read a part of the image: close other programs."
        ) from error
    except Exception as error:
        raise InputError(
            f"The image could not be read ({first_line(error)}): check "
            f"that its file is still there, and whole."
        ) from error
