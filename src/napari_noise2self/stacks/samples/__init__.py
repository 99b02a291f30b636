"""Simulated microscopy with a known truth, for demonstrations and tests.

Everything is drawn as expected photoelectrons per pixel, blurred as a
microscope blurs, and then recorded by a detector (`detectors`) whose noise is
the matter.
"""

from napari_noise2self.stacks.samples.cells import cells
from napari_noise2self.stacks.samples.detectors import PIXEL, Sample
from napari_noise2self.stacks.samples.filaments import filaments
from napari_noise2self.stacks.samples.mitochondria import mitochondria
from napari_noise2self.stacks.samples.nuclei import nuclei, tissue
from napari_noise2self.stacks.samples.vesicles import vesicles

__all__ = [
    "PIXEL",
    "Sample",
    "cells",
    "filaments",
    "mitochondria",
    "nuclei",
    "tissue",
    "vesicles",
]
