from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_noise2self import Denoiser, TrainingConfig

SIGMA = 20.0


def listen_to(generator, hear=lambda event: None):
    events = []
    while True:
        try:
            event = next(generator)
        except StopIteration as stop:
            return events, stop.value
        hear(event)
        events.append(event)


@pytest.fixture
def listen():
    """Collect every event of a generator, and what it returns."""
    return listen_to


def scene(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    """A smooth random scene in grey values around 200."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return 200 + 60 * smooth / smooth.std()


@pytest.fixture(scope="session")
def truth() -> NDArray[np.float64]:
    return scene((96, 112))


@pytest.fixture(scope="session")
def noisy(truth: NDArray[np.float64]) -> NDArray[np.float64]:
    return truth + np.random.default_rng(1).normal(0, SIGMA, truth.shape)


@pytest.fixture(scope="session")
def small_config() -> TrainingConfig:
    return TrainingConfig(channels=8, depth=2, crop_size=64, epochs=60, device="cpu")


@pytest.fixture(scope="session")
def trained(noisy: NDArray[np.float64], small_config: TrainingConfig) -> Denoiser:
    return Denoiser(small_config).fit(noisy)
