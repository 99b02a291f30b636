from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def few_threads() -> None:
    """Two threads for PyTorch where a test has loaded it: CI machines have no more."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 2:
        torch.set_num_threads(2)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images, which are not part of the project."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NOISE2SELF_DATA", default))
    if not folder.is_dir():
        pytest.skip("no folder of real images: name one in NOISE2SELF_DATA")
    return folder
