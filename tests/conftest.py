from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before PyTorch is loaded, here and in processes that tests start: on images this small its threads
# mostly wait for each other, and they wait by spinning, which takes the processor from the rest.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images, which are not part of the project."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NOISE2SELF_DATA", default))
    if not folder.is_dir():
        pytest.skip("no folder of real images: name one in NOISE2SELF_DATA")
    return folder
