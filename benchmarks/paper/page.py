"""Write docs/explanation/paper.md from the committed results, and draw its last figures.

Run it as `python benchmarks/paper/page.py`.
"""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from published import CLASSICAL, TABLE
from shared import BLUE, GREEN, GREY, IMAGES, ORANGE, PAPER, PINK, RESULTS, ROOT, SKY, draw
from tables import NETWORKS, summary

PAGE = ROOT / "docs" / "explanation" / "paper.md"
TITLES = {
    "hanzi": "Hànzì, split by character",
    "hanzi-tile": "Hànzì, split by tile, as the authors did",
    "natural": "Natural RGB with the noise of ImageNet (in the place of ImageNet)",
    "cells": "Simulated cells, sCMOS camera (in the place of CellNet)",
    "gaussian": "Natural RGB with normal noise of 50 (not in the paper)",
}
ROW_TITLES = {
    "raw": "noisy, not rescaled",
    "nlm": "NLM, defaults of scikit-image",
    "bm3d": "BM3D, estimated σ",
    "nlm calibrated": "NLM, calibrated here",
    "best filter calibrated": "best filter, calibrated here",
}


# ------------------------------------------------------------------- small parts
def read(path: str) -> dict[str, Any] | None:
    """A committed result; None where it is not there."""
    file = RESULTS / f"{path}.json"
    return json.loads(file.read_text()) if file.exists() else None


def link(path: str) -> str:
    """A link to a result."""
    return f"[{path.rpartition('/')[2]}.json](../../benchmarks/results/{path}.json)"


def table(rows: Sequence[Mapping[str, Any]], numbers: bool = True) -> str:
    """A Markdown table of cells that are text already."""
    columns = list(rows[0])
    align = ["---", *("--:" if numbers else "---" for _ in columns[1:])]
    lines = [columns, align, *([str(row[c]) for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wrapped(section: str) -> str:
    """The prose in lines of one length; tables, headings and pictures as they are."""
    parts = []
    for part in section.strip().split("\n\n"):
        lines = part.split("\n")
        if lines[0][:1] not in "|#!":
            # Each item of a list is filled by itself.
            items: list[str] = []
            for line in lines:
                if line.startswith("- ") or not items:
                    items.append(line)
                else:
                    items[-1] += " " + line.strip()
            lines = [
                textwrap.fill(
                    item,
                    110,
                    subsequent_indent="  " if item.startswith("- ") else "",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                for item in items
            ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def db(value: float | None) -> str:
    """A PSNR, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def measured(record: Mapping[str, Any]) -> str:
    """On what, when, and how busy it was."""
    used = record["machine"]
    busy = record.get("load")
    shared = f", load {busy:g} at the end" if busy is not None and busy > used["cores"] else ""
    return f"{used['processor']}, {used['cores']} cores, {used['date']}{shared}"


def missing(command: str) -> str:
    """What stands where a result is not there."""
    return f"Not measured yet: `python benchmarks/paper/{command}`."


# ---------------------------------------------------------------------- sections
def introduction() -> str:
    return """# The paper on one page

[Batson & Royer, *Noise2Self: Blind Denoising by Self-Supervision*, ICML
2019](https://arxiv.org/abs/1901.11365)
is what this project stands on. Here is every figure and table of it that is about images, made
again with the project's
own engine, the published numbers beside the new ones, and why they differ where they do. What
the paper does not
have follows at the end. The page is written by `python benchmarks/paper/page.py` from the
committed results;
`python benchmarks/paper/everything.py --quick` makes those results again.

**Why numbers differ.** These reasons come back below:

- **Rescaling.** The paper brings every output to the mean and the variance of the truth before
  it takes PSNR. Its published
  code fits the slope by least squares instead, which is never worse and up to 2 dB kinder to
  outputs that are hardly like the truth. Both are
  given: the paper's text in the column *ours*, its code in the column *fitted*. Noisy images are
  not rescaled.
- **Optimiser.** Optimiser, learning rate and schedule of the networks were never published.
- **Which output.** A network can be applied to the untouched image (single pass) or hide each
  pixel that it predicts (J-invariant).
  The paper does not say which its table shows.
- **The test image.** `skimage.data.camera()` is another photograph since scikit-image 0.18.
- **The data.** The authors' list of characters, their crops of ImageNet and the parameters of
  CellNet's camera are not public.
- **Size.** The quick size trains on a thousandth to a hundredth of what the paper trained on."""


def donut() -> str:
    head = "## Calibration: the donut"
    record = read("paper/donut")
    if record is None:
        return f"{head}\n\n{missing('donut.py')}"
    rows = [
        {
            "radius": row["radius"],
            "donut: loss": f"{row['loss']:.5f}",
            "PSNR": db(row["psnr"]),
            "loss − true error": f"{row['loss_minus_mse']:.5f}",
            "plain median: loss": f"{row['plain_loss']:.5f}",
            "PSNR ": db(row["plain_psnr"]),
        }
        for row in record["rows"]
    ]
    gaps = [row["loss_minus_mse"] for row in record["rows"]]
    return f"""{head}

A median with a hole at its centre can be calibrated without the truth: its loss and its true
error have their minimum at
the same radius, {record["best_radius"]} by the loss and {record["best_radius_by_truth"]} by the
truth. The loss of the
plain median only rises, its minimum ({record["best_radius_plain_loss"]}) means nothing. Loss and
error are
{min(gaps):.5f} to {max(gaps):.5f} apart; the variance of the noise, after clipping, is
{record["noise_variance_true"]:.5f}.

![Loss and true error of the donut median](../images/paper-donut.png)

{table(rows)}

The paper found {record["published_psnr"]} dB for the donut and {record["published_mixed_psnr"]}
dB
mixed with the image; here it is {db(record["donut_psnr"])} and {db(record["mixed_psnr"])} dB, on
the new photograph.
({link("paper/donut")}; {record["seconds"]} s; {measured(record)})"""


def classical() -> str:
    head = "## Classical filters (Table 1)"
    record = read("paper/classical")
    if record is None:
        return f"{head}\n\n{missing('classical.py')}"
    rows = []
    for line in sorted(record["rows"], key=lambda row: row["published"] is None):
        paper = [str(value) for value in line["published"] or ("", "", "", "")]
        rows.append(
            {
                "filter": line["filter"],
                "loss": f"{line['loss']:.4f}",
                "paper": paper[0],
                "J-invariant": db(line["j-invariant"]),
                "paper ": paper[1],
                "mixed": db(line["mixed"]),
                "paper  ": paper[2],
                "defaults": db(line["default"]),
                "paper   ": paper[3],
                "plain": db(line["single-pass"]),
            }
        )
    better = [
        line
        for line in record["rows"]
        if line["default"] is not None and max(line["mixed"], line["single-pass"]) > line["default"]
    ]
    compared = [line for line in record["rows"] if line["default"] is not None]
    names = ", ".join(CLASSICAL)
    return f"""{head}

Camera, normal noise of 0.1; {names} with the parameters of the smallest loss, and what
scikit-image's filter of that name gives with
its defaults. In {len(better)} of {len(compared)} lines the calibrated filter, mixed or plain, is
better than the defaults.

{table(rows)}

The wavelets of this project are averaged over shifts; scikit-image's own, which the paper used,
come out within 0.3 dB of the paper although the photograph is another one. Non-local means and
the
median lose 1 to 2.5 dB to the published numbers on the new photograph.
Defaults of scikit-image have changed since, too. *Plain* is the filter as it is with the
calibrated
parameters, which the paper does not give: for filters that do not keep the pixel's own noise it
is
the better output.
({link("paper/classical")}; {record["seconds"]} s; {measured(record)})"""


def gaussian_process() -> str:
    head = "## What hiding costs: Gaussian processes"
    record = read("paper/gaussian_process")
    if record is None:
        return f"{head}\n\n{missing('gaussian_process.py')}"
    rows = [
        {
            "σ": row["sigma"],
            "ℓ": row["length"],
            "optimum": f"{row['bayes']:.4f}",
            "J-invariant optimum": f"{row['j_invariant']:.4f}",
            "mixed": f"{row['mixed']:.4f}",
            "drawn: optimum": f"{row['drawn_bayes']:.4f}",
            "J-invariant": f"{row['drawn_j_invariant']:.4f}",
            "mixed ": f"{row['drawn_mixed']:.4f}",
        }
        for row in record["rows"]
    ]
    worst = max(abs(row["mixed"] / row["bayes"] - 1) for row in record["rows"])
    return f"""{head}

Images from a Gaussian process of length scale ℓ on a 33×33 torus. The best denoiser that does
not see the pixel it predicts
costs much where neighbours say little (small ℓ) and hardly anything where they say much. Mixed
with the pixel by the known variance
it *is* the optimum: the errors agree within {worst:.0e}. Errors are exact; beside them those of
{record["drawn_images"]} drawn images.

![Errors over length scales](../images/paper-gaussian-process.png)

{table(rows)}

({link("paper/gaussian_process")}; {record["seconds"]} s; {measured(record)})"""


def value(lines: Sequence[Mapping[str, str]], row: str, recipe: str = "") -> float | None:
    """The mean of a row, if it was made."""
    for line in lines:
        if (line["row"], line["recipe"]) == (row, recipe) and line["ours"][:1].isdigit():
            return float(line["ours"].split(" ")[0])
    return None


def order(lines: Sequence[Mapping[str, str]], recipe: str) -> str:
    """Whether noisy < NLM < BM3D < N2S holds, as printed in the paper."""
    words = []
    for network in NETWORKS:
        chain = [("raw", ""), ("nlm", ""), ("bm3d", ""), (f"{network} N2S", recipe)]
        values = [value(lines, *key) for key in chain]
        known = [v for v in values if v is not None]
        if len(known) < len(chain):
            continue
        holds = all(a < b for a, b in itertools.pairwise(known))
        words.append(
            f"Noisy < NLM < BM3D < N2S {'holds' if holds else 'does not hold'} for the {network}."
        )
    return " ".join(words)


def away(difference: float) -> str:
    """A difference in words."""
    return f"{abs(difference):.2f} dB {'above' if difference >= 0 else 'below'}"


def recipes(lines: Sequence[Mapping[str, str]]) -> str:
    """How far the project's recipe is ahead of the paper's, and what both miss of N2T."""
    words = []
    for network in NETWORKS:
        own, paper = (value(lines, f"{network} N2S", recipe) for recipe in ("own", "paper"))
        if own is None or paper is None:
            continue
        sentence = f"With the own recipe {network} N2S is {away(own - paper)} that of the paper"
        best = [value(lines, f"{network} N2T", recipe) for recipe in ("own", "paper")]
        if best[0] is not None and best[1] is not None:
            sentence += (
                f", and {away(own - best[0])} N2T, where the paper's is {away(paper - best[1])} it"
            )
        words.append(f"{sentence}.")
    return " ".join(words)


def networks() -> str:
    parts = [
        """## Networks (Table 2)

UNet and DnCNN trained against themselves (N2S), a second noisy image (N2N), the truth (N2T), and
by Stein's unbiased risk estimate
(SURE), beside classical filters. *Own* is this project's recipe, *paper* the preset that
follows the paper; PSNR in dB, mean and standard deviation over seeds.

![One image of each set, clean and noisy](../images/paper-data.png)

- **Hànzì**: as published, but for the characters: 13 029 of the standards GB 2312 and Big5,
  drawn by chance, in WenQuanYi Micro Hei.
- **Natural RGB** in the place of ImageNet: crops of five photographs that scikit-image ships,
  trained on three and tested on two.
  They are larger and smoother than crops of ImageNet, so all denoisers do better.
- **Simulated cells** in the place of CellNet: 20 photons at white, gain of each pixel 1 ± 0.05,
  Cauchy read noise of 0.75 photons, clipped
  at black and white. The light was chosen for the raw PSNR of CellNet; its cells are smoother.
- **Normal noise** on the photographs is not in the paper: SURE assumes that."""
    ]
    for size in ("full", "quick"):
        record = read(f"paper/tables_{size}")
        if record is None:
            parts.append(
                "### Full size\n\nThe published size has not been run: it takes a GPU "
                "(`python benchmarks/paper/tables.py --full`). What follows is the quick size."
                if size == "full"
                else missing("tables.py --quick")
            )
            continue
        rows = record["rows"]
        parts.append(
            f"### {size.capitalize()} size\n\n"
            + (
                "The published numbers of images for Hànzì. "
                if size == "full"
                else "Hànzì: 1000 images to train on instead of 70 356, no character in both "
                "parts. The others: 96 crops. Minutes on two cores, so that every network is "
                "far from done. "
            )
            + f"({link(f'paper/tables_{size}')}; {measured(record)})"
        )
        for name in TITLES:
            lines = summary(rows, name)
            if not lines:
                continue
            shown = [
                {
                    "": ROW_TITLES.get(line["row"], line["row"]) + with_recipe(line["recipe"]),
                    "paper": line["paper"],
                    "ours": line["ours"],
                    "J-invariant": line["J-invariant"],
                    "fitted": line["fitted"],
                    "steps": line["steps"],
                    "seconds": line["seconds"],
                }
                for line in lines
            ]
            told = f"{order(lines, 'own')} {recipes(lines)}".strip()
            parts.append(f"**{TITLES[name]}**\n\n{table(shown)}\n\n{told}".rstrip())
            parts.extend(failures(rows, name))
    bm3d = bm3d_hanzi()
    if bm3d:
        parts.append(bm3d)
    return "\n\n".join(parts)


def with_recipe(recipe: str) -> str:
    return f", {recipe}" if recipe else ""


def failures(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Why rows of a set could not be made."""
    told = {row["failure"]: row for row in rows if row["data"] == name and "failure" in row}
    return [f"{row['row']}, {row['recipe']}: {why}" for why, row in told.items()]


def bm3d_hanzi() -> str:
    """What BM3D, which nobody trains, tells about the metric."""
    record = read("paper/tables_quick")
    rows = {} if record is None else {(r["data"], r["row"]): r for r in record["rows"]}
    found = rows.get(("hanzi", "bm3d"))
    if found is None:
        return ""
    return (
        f"BM3D on Hànzì, which depends on nothing unpublished but its strength, has "
        f"{db(found['matched'])} dB here rescaled as the text says and {db(found['fitted'])} dB "
        f"fitted as the code does; {TABLE['hanzi']['bm3d'][0]} dB are published. So the published "
        f"table is likely the fitted one, and the column *fitted* is what to compare with it."
    )


def inference() -> str:
    head = "## Which output to take"
    record = read("paper/inference")
    if record is None:
        return f"{head}\n\n{missing('inference.py')}"
    rows = [
        {
            "partition, replacement": f"{row['partition']}, {row['replacement']}",
            "single pass": db(row["single-pass"]),
            "J-invariant": db(row["j-invariant"]),
            "mixed": db(row["mixed"]),
            "score × 1000": f"{1000 * row['score']:.2f}",
        }
        for row in record["rows"]
    ]
    seeds, most = record["rows"][0]["seeds"], max(row["spread"] for row in record["rows"])
    best = max(record["rows"], key=lambda row: row["single-pass"])
    paper = next(
        r for r in record["rows"] if (r["partition"], r["replacement"]) == ("random 25", "uniform")
    )
    spreads = f", whose standard deviation is at most {most:.2f}" if seeds > 1 else ""
    return f"""{head}

A UNet with this project's recipe on 160×160 pixels of the camera, noise of 0.1 (noisy:
{db(record["raw"])} dB); mean of
{seeds} {"seeds" if seeds > 1 else "seed"}{spreads}.

{table(rows)}

Replacements that look like the image (mean and median of neighbours) make a network whose single
pass is good: it meets what it was
trained on. After zeros or random grey values the untouched image is new to it. The paper's own
choice, a random partition with
uniform replacement, has {db(paper["single-pass"])} dB in a single pass and {db(paper["mixed"])}
mixed; {best["partition"]} with
{best["replacement"]} has {db(best["single-pass"])} in a single pass.
({link("paper/inference")}; {record["seconds"]} s; {measured(record)})"""


def j_size() -> str:
    head = "## The size of J"
    record = read("paper/j_size")
    if record is None:
        return f"{head}\n\n{missing('j_size.py')}"
    rows = [
        {
            "partition": row["partition"],
            "hidden": f"{row['hidden']:.1%}",
            "single pass": db(row["single-pass"]),
            "J-invariant": db(row["j-invariant"]),
            "mixed": db(row["mixed"]),
            "score × 1000": f"{1000 * row['score']:.2f}",
            "spread": db(row["spread"]),
        }
        for row in record["rows"]
    ]
    filters = [
        {"plain / J-invariant": row["partition"]}
        | {
            name: f"{db(found['single-pass'])} / {db(found['j-invariant'])}"
            for name, found in row["filters"].items()
        }
        for row in record["rows"]
        if row["filters"]
    ]
    grids = [row for row in record["rows"] if row["partition"].startswith("grid")]
    best = max(record["rows"], key=lambda row: row["single-pass"])
    blind = max(record["rows"], key=lambda row: row["j-invariant"])

    def gain(name: str, output: str) -> float:
        first, *_, last = (row["filters"][name][output] for row in grids)
        return last - first

    def spread_of(chosen: list[dict[str, Any]], output: str) -> float:
        return float(np.ptp([row[output] for row in chosen]))

    return f"""{head}

The more pixels are hidden together, the more targets a step has (less variance), and the less is
left to predict
them from (more bias). The paper describes this trade-off; here it is in numbers, with the same
160×160 pixels and the same number of steps
for every partition.

![PSNR against the share of hidden pixels](../images/paper-j-size.png)

{table(rows)}

From grid 2 to grid 8 the single pass changes by {spread_of(grids, "single-pass"):.2f} dB, the
J-invariant output by {spread_of(grids, "j-invariant"):.2f} dB. Random partitions lose where much
is
hidden, because neighbours are hidden together. The best single pass is that of
{best["partition"]},
the best J-invariant output that of {blind["partition"]}. *Score* is taken on other pixels for
every
partition, so it ranks settings within a line and not lines.

{table(filters)}

Filters have nothing to learn, so only the bias counts: the J-invariant outputs of non-local means
gain {gain("nlm", "j-invariant"):.2f} dB from the narrowest grid to the widest, and total
variation
{gain("tv", "j-invariant"):.2f}, while the plain filter with the parameters that were found
changes by
{abs(gain("nlm", "single-pass")):.2f} and {abs(gain("tv", "single-pass")):.2f}: a narrow grid
finds the same
parameters at a fraction of the passes. The loss of wavelets on this small image is flat between
a tenth of the noise and all of it, so that the plain filter can come out weak; the mixed output,
which
`found.best(noisy)` takes then, does not mind. Median and Gaussian are donuts and see everything
but their own
pixel, whatever the partition.
({link("paper/j_size")}; {record["seconds"]} s; {measured(record)})"""


def single_shot() -> str:
    head = "## One image"
    record = read("paper/single_shot")
    if record is None:
        return f"{head}\n\n{missing('single_shot.py --quick')}"
    rows = [
        {
            "network": row["network"],
            "single pass": db(row["single-pass"]),
            "J-invariant": db(row["j-invariant"]),
            "steps": row["steps"],
            "seconds": f"{row['seconds']:.0f}",
        }
        for row in record["rows"]
    ]
    passes = record["passes"]
    short = (
        ""
        if passes >= 500
        else " The reference notebook trains for 500 passes: this is the quick size."
    )
    return f"""{head}

The camera with noise of 0.1 ({db(record["raw"])} dB) and nothing else to learn from; the DnCNNs
for {passes} passes over the image, the UNet with
the project's defaults.{short}

![What the networks make of it](../images/paper-single-shot.png)

{table(rows)}

({link("paper/single_shot")}; {measured(record)})"""


# ------------------------------------------------------------------------ beyond
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
    ahead = sum(row["default"] > max(row["bm3d"], row["nlm"], row["tv"]) for row in others)
    return f"""### Real microscopes

Frame 1 of six fields of the FMD data set, PSNR at range 255; N2N is trained against frame 2
where there is one, N2T against the mean of
50 frames; the best Gaussian was chosen with the truth.

{table(rows)}

On average {db(mean["raw"])} → {db(mean["default"])} dB in {mean["seconds"]:.1f} s, and
{db(mean["n2t"])} dB with the truth as target: what N2S misses is
{mean["n2t"] - mean["default"]:.2f} dB at the same length. On the {len(others)} other real pairs
(TIRF with an sCMOS camera, confocal, wide field) the
defaults are ahead of BM3D, non-local means and total variation in {ahead}.
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
        return ""
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


SECTIONS = (
    introduction,
    donut,
    classical,
    gaussian_process,
    networks,
    inference,
    j_size,
    single_shot,
    beyond,
)

if __name__ == "__main__":
    PAGE.write_text("\n\n".join(wrapped(section()) for section in SECTIONS) + "\n")
    print(PAGE.relative_to(ROOT), "from", len(list(PAPER.glob("*.json"))), "results")
