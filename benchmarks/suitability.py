"""What it costs to apply a model to an image it does not suit, and whether that is warned of.

    python benchmarks/suitability.py

A model is trained on each of nine real images, shorter than by default, and applied to all of
them.  The cost is the difference in PSNR, scale-invariant, to the model that was trained on the
image itself; `suitability` says beforehand, in sentences, what speaks against it.
"""

from __future__ import annotations

import time

import numpy as np
from common import data_folder, print_table, write_result

import napari_noise2self as n2s
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.suits import suitability

MIRO, FMD = "miro_tirf_scmos", "fmd"
FIELDS = {
    **{
        field: (f"{MIRO}/{field}.tif", f"{MIRO}/{field.rpartition('_')[0]}_gt.tif")
        for field in ("c1_10ms", "c1_20ms", "c1_100ms", "mitochondria_10ms", "mitochondria_100ms")
    },
    **{
        field: (f"{FMD}/{field}_raw1.png", f"{FMD}/{field}_gt.png")
        for field in ("Confocal_MICE", "TwoPhoton_BPAE_G", "WideField_BPAE_R", "Confocal_BPAE_G")
    },
}
EPOCHS = 6


def main() -> None:
    """Train, apply each model to each image, and compare with the warnings."""
    folder = data_folder()
    stacks = {name: read(folder / noisy) for name, (noisy, _) in FIELDS.items()}
    truths = {name: np.asarray(read(folder / clean).data) for name, (_, clean) in FIELDS.items()}
    settings = n2s.TrainingConfig(epochs=EPOCHS, seed=1)
    decibels, sentences, seconds = {}, {}, []
    for model, stack in stacks.items():
        denoiser = n2s.Denoiser(settings).fit(np.asarray(stack.data))
        for image, other in stacks.items():
            began = time.monotonic()
            sentences[model, image] = suitability(denoiser, other)
            seconds.append(time.monotonic() - began)
            result = denoiser.predict(np.asarray(other.data))
            decibels[model, image] = n2s.scale_invariant_psnr(truths[image], result)
    rows = [
        {
            "model": model,
            "image": image,
            "cost": round(decibels[image, image] - decibels[model, image], 2),
            "warnings": len(sentences[model, image]),
            "sentences": sentences[model, image],
        }
        for model in stacks
        for image in stacks
    ]
    others = [row for row in rows if row["model"] != row["image"]]
    table = []
    for what, chosen in (
        ("warned of", [row["cost"] for row in others if row["warnings"]]),
        ("not warned of", [row["cost"] for row in others if not row["warnings"]]),
    ):
        low, middle, high = (round(float(q), 2) for q in np.percentile(chosen, (25, 50, 75)))
        table.append(
            {
                "pairs": what,
                "count": len(chosen),
                "median cost, dB": middle,
                "quartiles": f"{low} to {high}",
                "worst": max(chosen),
            }
        )
    print_table(table)
    own = sum(row["warnings"] for row in rows if row["model"] == row["image"])
    print(f"Warnings of a model for its own image: {own}.")
    write_result(
        "suitability",
        rows,
        summary=table,
        epochs=EPOCHS,
        seconds_of_a_check=round(float(np.median(seconds)), 3),
    )


if __name__ == "__main__":
    main()
