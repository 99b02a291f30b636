"""What a long training gains from its own estimate with noise drawn anew, and what it risks.

    python benchmarks/cycles.py

For the six FMD fields, and photographs and simulated microscopy with noise that can be told:
the automatic length, and three times that as one cycle of the learning rate, as two of them with
hidden pixels only, and as it is, with pairs of the estimate in the second; the last again with
noise drawn of 0.7 and of 1.4 times its variance, as where it is told wrongly.  One seed; rows that
are in the result are not made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
from common import data_folder, kept_rows, print_table, write_result
from outputs import middle, noisy_versions, truths
from pairs import FMD, PAIRS, quality, read

import napari_noise2self as n2s
from napari_noise2self.engine import finisher, redrawing, schedule

TIMES = 3
SCENES = ["camera", "retina", "simulated cells", "emitters, 1.5 px", "disks on black"]
NOISE = "photons 5"

Judge = Callable[[np.ndarray], float]


def images() -> Iterator[tuple[str, np.ndarray, Judge]]:
    """Name, noisy image, and what a result is worth."""
    folder = data_folder()
    for name in FMD:
        truth = read(folder / PAIRS[name])
        yield name, read(folder / name), functools.partial(quality, name, truth)
    for name, image in truths():
        if name not in SCENES:
            continue
        truth = middle(image)
        for noise, noisy in noisy_versions(truth):
            if noise == NOISE:
                judge = functools.partial(n2s.psnr, truth, data_range=255)
                yield f"{name}, {noise}", noisy, judge


class NoPairs:
    """In the place of pairs where none are to be drawn."""

    def __bool__(self) -> bool:
        return False


def hidden_only(maker: finisher.Finisher, *_: object) -> Iterator[None]:
    """A new cycle learns from what the first one did."""
    return maker.sampler.pairing or NoPairs()
    yield


def of_variance(share: float) -> type[redrawing.Redrawing]:
    """Pairs with that share of the variance of the noise."""

    class Wrong(redrawing.Redrawing):
        def __init__(self, estimates, normalisation, noise, *rest) -> None:
            channels = tuple(
                dataclasses.replace(
                    channel,
                    line=dataclasses.replace(
                        channel.line,
                        slope=channel.line.slope * share,
                        intercept=channel.line.intercept * share,
                    ),
                )
                for channel in noise.channels
            )
            super().__init__(
                estimates, normalisation, dataclasses.replace(noise, channels=channels), *rest
            )

    return Wrong


VARIANTS = {
    "one cycle": mock.patch.object(schedule, "CYCLES", (0.0,)),
    "hidden only": mock.patch.object(finisher.Finisher, "redraw", hidden_only),
    "with pairs": contextlib.nullcontext(),
    "variance x 0.7": mock.patch.object(finisher, "Redrawing", of_variance(0.7)),
    "variance x 1.4": mock.patch.object(finisher, "Redrawing", of_variance(1.4)),
}


def measured(noisy: np.ndarray, judge: Judge) -> dict[str, float]:
    """What the output that is taken is worth after each kind of training."""
    usual = n2s.Denoiser().fit(noisy)
    row: dict[str, float] = {
        "raw": judge(noisy),
        "automatic": judge(usual.predict(noisy)),
    }
    for name, changed in VARIANTS.items():
        with changed:
            long = n2s.TrainingConfig(epochs=TIMES * usual.summary["epochs"])
            row[name] = judge(n2s.Denoiser(long).fit(noisy).predict(noisy))
    return row


def main() -> None:
    rows = kept_rows("cycles")
    done = {row["image"] for row in rows}
    for name, noisy, judge in images():
        if name in done:
            continue
        if not n2s.estimate_noise(noisy).known:
            print(f"{name}: the noise is not known, so that there is one cycle.")
            continue
        rows.append({"image": name, **measured(noisy, judge)})
        means = {key: float(np.mean([row[key] for row in rows])) for key in VARIANTS}
        print_table(rows[-1:])
        write_result("cycles", rows, times=TIMES, mean=means)
    print_table(rows)


if __name__ == "__main__":
    main()
