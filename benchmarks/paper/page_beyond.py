"""The part of the page of the paper that is beyond the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from page_parts import db, link, measured, missing, read, table
from shared import BLUE, GREEN, GREY, IMAGES, ORANGE, PINK, SKY, draw


def beyond() -> str:
    parts = ["## Beyond the paper"]
    parts += [part for part in (fmd(), correlated(), volumes(), speed(), scores()) if part]
    return "\n\n".join(parts)


def fmd() -> str:
    record = read("fmd")
    if record is None:
        return ""
    fields = [row for row in record["rows"] if row["image"].startswith("fmd/")]
    others = [row for row in record["rows"] if row not in fields]
    rows = [
        {
            "field": row["image"].removeprefix("fmd/").removesuffix("_raw1.png"),
            "noisy": db(row["raw"]),
            "N2S, defaults": db(row["default"]),
            "six times as long": db(row["long"]),
            "N2N": db(row.get("n2n")),
            "N2T": db(row.get("n2t")),
            "N2T, six times": db(row.get("n2t_long")),
            "BM3D": db(row.get("bm3d")),
            "NLM": db(row.get("nlm")),
            "best Gaussian": db(row.get("gaussian_oracle")),
            "seconds": f"{row['seconds']:.1f}",
        }
        for row in fields
    ]
    mean = record["mean_of_fmd"]
    filters = {"BM3D": "bm3d", "NLM": "nlm", "TV": "tv", "best Gaussian": "gaussian_oracle"}
    more = [
        {
            "image": row["image"].partition(".")[0],
            "noisy": db(row["raw"]),
            "N2S, defaults": db(row["default"]),
            **{title: db(row[key]) for title, key in filters.items()},
        }
        for row in others
    ]
    behind = [
        f"{title} in {count}"
        for title, key in filters.items()
        if (count := sum(row["default"] < row[key] for row in record["rows"]))
    ]
    worst = min(row["default"] - row["gaussian_oracle"] for row in record["rows"])
    return f"""### Real microscopes

Frame 1 of six fields of the FMD data set, PSNR at range 255; N2N is trained against frame 2
where there is one, N2T against the mean of
50 frames; the best Gaussian was chosen with the truth.

{table(rows)}

On average {db(mean["raw"])} → {db(mean["default"])} dB in {mean["seconds"]:.1f} s, with six times
the epochs {db(mean["long"])} dB in {mean["long_seconds"]:.0f} s, and {db(mean["n2t"])} dB with
the truth as target: what N2S misses is {mean["n2t"] - mean["default"]:.2f} dB at the same length.
The other real pairs (TIRF with an sCMOS camera, confocal, wide field), scale-invariant PSNR:

{table(more)}

BM3D takes scikit-image's estimate of the noise, NLM and TV are calibrated here, and the Gaussian
has the width that is best by the truth, which nobody has. Of the {len(record["rows"])} images the
defaults are behind {", ".join(behind) or "none of these in any"}; behind that Gaussian by at most
{-min(worst, 0):.2f} dB.
({link("fmd")}; {measured(record)})"""


def correlated() -> str:
    record = read("fmd")
    if record is None:
        return ""
    names = ("fmd/WideField_BPAE_R_raw1.png", "hagen/mito-confocal_low.png")
    rows = [
        {
            "image": row["image"],
            "noisy": db(row["raw"]),
            "defaults": db(row["default"]),
            "output": row["output"],
            "BM3D": db(row.get("bm3d")),
            "best Gaussian": db(row.get("gaussian_oracle")),
        }
        for row in record["rows"]
        if row["image"] in names
    ]
    if not rows:
        return ""
    return f"""### Correlated noise

The theory of the paper asks for noise that is independent between pixels. Where neighbours share
it, the noise survives. Here the
correlation is found, and a block around each target is hidden ([the
recipe](recipe.md#correlated-noise)):

{table(rows)}"""


def volumes() -> str:
    record = read("paper/volume")
    if record is None:
        return f"### Volumes\n\n{missing('volume.py')}"
    rows = [
        {
            "simulated nuclei": row["light"],
            "noisy": db(row["raw"]),
            "best Gaussian": db(row["gaussian"]),
            "slice by slice": db(row["slices"]),
            "as a volume": db(row["volume"]),
            "seconds": f"{row['slices_seconds']:.0f} / {row['volume_seconds']:.0f}",
        }
        for row in record["rows"]
    ]
    shape = "×".join(str(n) for n in record["shape"])
    return f"""### Volumes

A stack of {shape} pixels, all slices with one 2-D network or as a volume with a 3-D one:

{table(rows)}

({link("paper/volume")}; {measured(record)})"""


def speed() -> str:
    record = read("time_to_quality")
    if record is None:
        return ""
    picture_of_speed(record["rows"])
    return f"""### Time to quality

PSNR against the seconds of a whole process, from its start to the file written. The paper's
networks train for
hours on a data set; on a single image seconds are enough.

![PSNR against seconds](../images/paper-time-to-quality.png)

({link("time_to_quality")}; {measured(record)})"""


def picture_of_speed(rows: Sequence[Mapping[str, Any]]) -> None:
    """PSNR against seconds, one panel for each image."""
    plt = draw()
    images = list(dict.fromkeys(row["image"] for row in rows))
    figure, panels = plt.subplots(
        1, len(images), figsize=(5.5 * len(images), 3.8), layout="constrained", squeeze=False
    )
    colours = {"nlm": ORANGE, "tv": PINK, "CAREamics N2V": GREY, "CAREamics N2V2": SKY}
    for axes, image in zip(panels[0], images, strict=True):
        here = [row for row in rows if row["image"] == image and row["psnr"] is not None]
        ours = sorted(
            (r for r in here if r["method"].startswith("ours")), key=lambda r: r["seconds"]
        )
        axes.plot(
            [r["seconds"] for r in ours],
            [r["psnr"] for r in ours],
            "o-",
            color=BLUE,
            label="this project, several lengths",
        )
        default = next(r for r in ours if r["method"] == "ours, default")
        axes.plot(default["seconds"], default["psnr"], "o", ms=14, mfc="none", color=BLUE)
        for row in here:
            if row["method"] in colours:
                axes.plot(
                    row["seconds"],
                    row["psnr"],
                    "s",
                    color=colours[row["method"]],
                    label=row["method"],
                )
        axes.set(xlabel="seconds of the whole process", ylabel="PSNR (dB)", xscale="log")
        axes.set_title(Path(image).name.removesuffix("_raw1.png"), fontsize=10)
        axes.set_xticks([3, 5, 10, 20, 50], ["3", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.legend(fontsize=8, loc="lower center")
    figure.savefig(IMAGES / "paper-time-to-quality.png", dpi=100)


def scores() -> str:
    record = read("scores")
    if record is None:
        return ""
    used = picture_of_scores(record["rows"])
    found = record["summary"]
    ranking = [row["rank_correlation"] for row in record["ranking"]]
    below = len(record["rows"]) - used
    return f"""### The score against the true error

What a held-out score promises: it is the true error plus the variance of the noise.
{found["runs"]} runs on simulated scenes whose truth is known, five partitions, two networks,
normal
and Poisson noise of three levels.

![The score against what it should be, and the estimated against the true
error](../images/paper-score.png)

Left: the score over what it should be, {found["mean_ratio"]:.3f} on average and within 2 %
(grey) in
{found["within_2_percent"]:.0%} of the runs. Right: less the *estimated* variance of the noise it
is the
estimated error. Where the true error is far below the noise, that is a small difference of large
numbers, and a variance that is off by a few percent moves it; {below} runs have no estimate above
zero and are not drawn. The 95 % interval that comes with the estimate says so: it holds the true
error in {found["coverage"]:.0%} of the {found["runs_with_interval"]} runs that have one. On
{len(ranking)} real images the rank correlation of score and PSNR over eight J-invariant
predictions
is {np.mean(ranking):.2f} on average.
([what the numbers say](scores.md); {link("scores")}; {measured(record)})"""


def picture_of_scores(rows: Sequence[Mapping[str, Any]]) -> int:
    """Score over what it should be, and estimated against true error; how many could be drawn."""
    plt = draw()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    kinds = {
        ("cells", "gaussian"): (BLUE, "o"),
        ("cells", "poisson"): (SKY, "s"),
        ("smooth", "gaussian"): (ORANGE, "o"),
        ("smooth", "poisson"): (GREEN, "s"),
    }
    drawn, ends = 0, []
    for (scene, noise), (colour, marker) in kinds.items():
        chosen = [row for row in rows if (row["scene"], row["noise"]) == (scene, noise)]
        style = {"color": colour, "alpha": 0.8, "label": f"{scene}, {noise}"}
        left.plot([r["mse"] for r in chosen], [r["ratio"] for r in chosen], marker, **style)
        told = [row for row in chosen if (row["estimated"] or 0) > 0]
        drawn += len(told)
        right.plot([r["mse"] for r in told], [r["estimated"] for r in told], marker, **style)
        ends += [value for row in told for value in (row["mse"], row["estimated"])]
    left.axhspan(0.98, 1.02, color=GREY, alpha=0.2, lw=0)
    left.axhline(1, color=GREY, lw=1)
    line = [min(ends), max(ends)]
    right.plot(line, line, color=GREY, lw=1, zorder=0)
    true = "true squared error of the J-invariant prediction (grey values²)"
    left.set(xscale="log", xlabel=true, ylabel="score / (true error + variance of the noise)")
    right.set(
        xscale="log", yscale="log", xlabel=true, ylabel="score − estimated variance of the noise"
    )
    left.legend(fontsize=8)
    figure.savefig(IMAGES / "paper-score.png", dpi=100)
    return drawn
