"""The numbers that Batson & Royer (ICML 2019) published."""

from __future__ import annotations

# Table 1, on `skimage.data.camera()` as it was before scikit-image 0.18, noise of 0.1: loss,
# then PSNR of the J-invariant filter, of its mixture with the image, and at default parameters.
CLASSICAL = {
    "median": (0.0107, 27.5, 28.2, 27.1),
    "wavelet": (0.0113, 26.0, 26.9, 24.6),
    "nlm": (0.0098, 30.4, 30.8, 28.9),
}

# Table 2: PSNR in dB and, for networks, its spread over runs where it was published.  Every
# output but the raw one was brought to the mean and variance of the truth.
TABLE: dict[str, dict[str, tuple[float, float | None]]] = {
    "hanzi": {
        "raw": (6.5, None),
        "nlm": (8.4, None),
        "bm3d": (11.8, None),
        "unet N2S": (13.8, 0.3),
        "unet N2N": (13.3, 0.5),
        "unet N2T": (13.1, 0.7),
        "dncnn N2S": (13.4, 0.3),
        "dncnn N2N": (13.6, 0.2),
        "dncnn N2T": (13.9, 0.6),
    },
    "natural": {
        "raw": (9.4, None),
        "nlm": (15.7, None),
        "bm3d": (17.8, None),
        "unet N2S": (18.6, None),
        "unet N2N": (17.8, None),
        "unet N2T": (21.1, None),
        "dncnn N2S": (18.7, None),
        "dncnn N2N": (18.8, None),
        "dncnn N2T": (22.0, None),
    },
    "cells": {
        "raw": (15.1, None),
        "nlm": (29.0, None),
        "bm3d": (31.4, None),
        "unet N2S": (32.8, 0.2),
        "unet N2N": (34.4, 0.1),
        "unet N2T": (34.5, 0.1),
        "dncnn N2S": (33.7, 0.2),
        "dncnn N2N": (34.4, 0.1),
        "dncnn N2T": (34.4, 0.4),
    },
}


def cell(data: str, row: str) -> str:
    """A published value as it is printed; empty where there is none."""
    value, spread = TABLE.get(data, {}).get(row, (None, None))
    if value is None:
        return ""
    return f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"
