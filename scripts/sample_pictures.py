"""Draw the simulated samples, noisy above and true below, for the docs."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from napari_noise2self.stacks import samples

SIDE = 190


def tile(sample: samples.Sample) -> np.ndarray:
    """One plane of a sample as colours: the upper half noisy, the lower half the truth."""
    stack = sample.noisy
    halves = []
    for data in (np.asarray(stack.data), sample.truth):
        planes = data if "C" in stack.axes else data[None]
        planes = planes.reshape(planes.shape[0], -1, *data.shape[-2:])
        planes = planes[:, planes.shape[1] // 2] if "Z" in stack.axes else planes[:, 0]
        halves.append(planes[:, :SIDE, :SIDE].astype(float))
    colours = [
        [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        for code in stack.channel_colors or ("#ffffff",)
    ]
    picture = np.zeros((SIDE, SIDE, 3))
    for channel, colour in enumerate(colours):
        noisy, truth = (half[channel] for half in halves)
        low, high = np.percentile(noisy, (0.5, 99.8))
        both = np.concatenate([noisy[: SIDE // 2], truth[SIDE // 2 :]])
        picture += np.clip((both - low) / (high - low), 0, 1)[..., None] * colour
    return np.uint8(255 * np.clip(picture, 0, 1))


def main() -> None:
    """Write the picture into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    makers = ("cells", "filaments", "mitochondria", "nuclei", "tissue", "vesicles")
    tiles = [tile(getattr(samples, name)()) for name in makers]
    gap = 255 * np.ones((SIDE, 4, 3), np.uint8)
    rows = [np.hstack([tiles[i], gap, tiles[i + 1], gap, tiles[i + 2]]) for i in (0, 3)]
    between = 255 * np.ones((4, rows[0].shape[1], 3), np.uint8)
    Image.fromarray(np.vstack([rows[0], between, rows[1]])).save(folder / "samples.png")


if __name__ == "__main__":
    main()
