"""What is taken as an image: anything that can be indexed like a NumPy array."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


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
