"""The optimal denoiser of a Gaussian process, and the optimal J-invariant one: what hiding costs.

    python benchmarks/paper/gaussian_process.py

Images of 33×33 pixels on a torus, drawn from a Gaussian process with the kernel
exp(-d² / 2ℓ²), with normal noise of variance σ².  Everything is exact: with λ the eigenvalues of
the covariance of the image,

- Bayes, the best denoiser that sees all pixels, has the error mean(λ σ² / (λ + σ²));
- the best one that does not see the pixel it predicts has 1 / mean(1 / (λ + σ²)) - σ²;
- mixed with the pixel it is λ f(x) + (1 - λ) x, with the λ of the theory of mixing.

The mixture is Bayes's denoiser, so its error is not computed by the theory alone: the three are
also applied to drawn images, the mixture by the project's own formula.  Writes
results/paper/gaussian_process.json and draws docs/images/paper-gaussian-process.png.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from shared import BLUE, GREEN, GREY, IMAGES, ORANGE, draw, keep, print_table, where

from napari_noise2self.engine.mixing import share_of_prediction

SIDE = 33
# Deviation of the noise and length scale of the table.
CASES = [(0.5, 1.0), (0.5, 2.0), (0.5, 3.0), (1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]
# Bayes, J-invariant and mixed error of an independent computation of the same.
ORACLE = {
    (0.5, 1.0): (0.1286, 0.2650, 0.1286),
    (0.5, 2.0): (0.0460, 0.0563, 0.0460),
    (1.0, 2.0): (0.1298, 0.1492, 0.1298),
    (1.0, 3.0): (0.0717, 0.0772, 0.0717),
}
DRAWN = 2000


def spectrum(length: float, side: int = SIDE) -> NDArray[np.float64]:
    """Eigenvalues of the covariance, at the frequencies of `numpy.fft.fft2`."""
    line = np.minimum(np.arange(side), side - np.arange(side))
    kernel = np.exp(-(line[:, None] ** 2 + line**2) / (2 * length**2))
    # Wrapped around a torus the kernel is not quite positive.
    return np.clip(np.fft.fft2(kernel).real, 0, None)


def bayes_error(eigenvalues: NDArray[np.float64], sigma: float) -> float:
    """Error of the best denoiser."""
    return float(np.mean(eigenvalues * sigma**2 / (eigenvalues + sigma**2)))


def blind_error(eigenvalues: NDArray[np.float64], sigma: float) -> float:
    """Error of the best denoiser that does not see the pixel it predicts."""
    return float(1 / np.mean(1 / (eigenvalues + sigma**2)) - sigma**2)


def mixed_error(blind: float, sigma: float) -> float:
    """Error of the best mixture of the pixel and a prediction with an independent error."""
    share = float(share_of_prediction(sigma**2, blind + sigma**2))
    return share**2 * blind + (1 - share) ** 2 * sigma**2


def drawn(length: float, sigma: float, count: int = DRAWN) -> dict[str, NDArray[np.float64]]:
    """Images, their noisy versions, and what the three denoisers make of them."""
    rng = np.random.default_rng(0)
    eigenvalues = spectrum(length)

    def filtered(x: NDArray[np.float64], gain: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.fft.ifft2(np.fft.fft2(x) * gain).real

    truth = filtered(rng.standard_normal((count, SIDE, SIDE)), np.sqrt(eigenvalues))
    noisy = truth + sigma * rng.standard_normal(truth.shape)
    # Of the precision matrix of the noisy image: leaving the pixel out divides by its diagonal.
    precision = 1 / (eigenvalues + sigma**2)
    blind = noisy - filtered(noisy, precision) / precision.mean()
    share = share_of_prediction(sigma**2, np.mean((blind - noisy) ** 2))
    return {
        "truth": truth,
        "noisy": noisy,
        "Bayes": filtered(noisy, eigenvalues * precision),
        "J-invariant": blind,
        "mixed": share * blind + (1 - share) * noisy,
    }


def row(sigma: float, length: float) -> dict[str, float]:
    """Exact and drawn errors of one case."""
    eigenvalues = spectrum(length)
    blind = blind_error(eigenvalues, sigma)
    images = drawn(length, sigma)
    measured = {
        name: float(np.mean((images[name] - images["truth"]) ** 2))
        for name in ("Bayes", "J-invariant", "mixed")
    }
    return {
        "sigma": sigma,
        "length": length,
        "bayes": bayes_error(eigenvalues, sigma),
        "j_invariant": blind,
        "mixed": mixed_error(blind, sigma),
        **{f"drawn_{name.lower().replace('-', '_')}": value for name, value in measured.items()},
    }


def picture(curves: list[dict[str, float]]) -> None:
    """Errors over length scales, and one image of each."""
    plt = draw()
    figure = plt.figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.35))
    axes = left.subplots()
    sigma = 0.5
    lengths = [c["length"] for c in curves]
    axes.plot(lengths, [c["j_invariant"] for c in curves], color=BLUE, label="J-invariant optimum")
    axes.plot(lengths, [c["bayes"] for c in curves], color=GREEN, label="optimum (Bayes)")
    axes.plot(
        lengths, [c["mixed"] for c in curves], ":", lw=3, color=ORANGE, label="J-invariant, mixed"
    )
    axes.axhline(sigma**2, color=GREY, lw=0.8)
    axes.text(lengths[-1], sigma**2 * 1.06, "noise", color=GREY, ha="right")
    axes.set(xlabel="length scale of the image (pixels)", ylabel="mean squared error", yscale="log")
    axes.set_title(f"33×33 torus, σ = {sigma}", fontsize=10)
    axes.legend(fontsize=9)
    shown = (0.5, 1.0, 2.0, 4.0)
    grid = right.subplots(len(shown), 5)
    for line, length in zip(grid, shown, strict=True):
        images = drawn(length, sigma, 1)
        for axis, (name, image) in zip(line, images.items(), strict=True):
            axis.imshow(image[0], cmap="gray", vmin=-2.5, vmax=2.5)
            axis.set(xticks=[], yticks=[])
            if length == shown[0]:
                axis.set_title(name, fontsize=9)
        line[0].set_ylabel(f"ℓ = {length:g}", fontsize=9)
    figure.savefig(IMAGES / "paper-gaussian-process.png", dpi=110)


if __name__ == "__main__":
    began = time.perf_counter()
    rows = [row(sigma, length) for sigma, length in CASES]
    printed = []
    for line in rows:
        oracle = ORACLE.get((line["sigma"], line["length"]))
        told = " / ".join(f"{value:.4f}" for value in oracle) if oracle else ""
        printed.append({**{k: f"{v:.4f}" for k, v in line.items()}, "oracle": told})
    print_table(printed)
    curves = [
        {
            "length": float(length),
            "bayes": bayes_error(spectrum(length), 0.5),
            "j_invariant": blind_error(spectrum(length), 0.5),
            "mixed": mixed_error(blind_error(spectrum(length), 0.5), 0.5),
        }
        for length in np.round(np.geomspace(0.3, 4, 40), 4)
    ]
    seconds = round(time.perf_counter() - began, 1)
    print(f"{seconds} s on {where()}")
    keep("gaussian_process", rows, curves=curves, drawn_images=DRAWN, seconds=seconds)
    picture(curves)
