"""Denoise microscopy images without clean ones, by Noise2Self.

The public names are imported on first use, so that importing the package
costs no PyTorch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_noise2self.engine.calibration.calibrate import calibrate
    from napari_noise2self.engine.comparison import compare
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.errors import Noise2SelfError
    from napari_noise2self.engine.invariance import j_invariant
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.engine.noise.estimate import NoiseReport, estimate_noise
    from napari_noise2self.engine.partition import Checkerboard, Grid, RandomPartition
    from napari_noise2self.engine.pipeline import denoise
    from napari_noise2self.engine.residual.examine import examine_residual
    from napari_noise2self.engine.scoring import psnr, scale_invariant_psnr, ssim

_HOMES = {
    "Checkerboard": "engine.partition",
    "Denoiser": "engine.model",
    "Grid": "engine.partition",
    "Noise2SelfError": "engine.errors",
    "NoiseReport": "engine.noise.estimate",
    "RandomPartition": "engine.partition",
    "TrainingConfig": "engine.config",
    "calibrate": "engine.calibration.calibrate",
    "compare": "engine.comparison",
    "denoise": "engine.pipeline",
    "estimate_noise": "engine.noise.estimate",
    "examine_residual": "engine.residual.examine",
    "j_invariant": "engine.invariance",
    "psnr": "engine.scoring",
    "scale_invariant_psnr": "engine.scoring",
    "ssim": "engine.scoring",
}

__all__ = [
    "Checkerboard",
    "Denoiser",
    "Grid",
    "Noise2SelfError",
    "NoiseReport",
    "RandomPartition",
    "TrainingConfig",
    "calibrate",
    "compare",
    "denoise",
    "estimate_noise",
    "examine_residual",
    "j_invariant",
    "psnr",
    "scale_invariant_psnr",
    "ssim",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__version__":
        return version("napari-noise2self")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
