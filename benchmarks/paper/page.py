"""Write docs/explanation/paper.md from the committed results, and draw its last figures.

Run it as `python benchmarks/paper/page.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from page_beyond import beyond
from page_parts import db, link, measured, missing, read, table, wrapped
from published import CLASSICAL, TABLE
from shared import PAPER, ROOT
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


def targets(lines: Sequence[Mapping[str, str]], data: str, recipe: str) -> str:
    """In which order N2S, N2N and N2T come, here and as printed in the paper."""
    words = []
    for network in NETWORKS:
        kinds = ("N2S", "N2N", "N2T")
        ours = {kind: value(lines, f"{network} {kind}", recipe) for kind in kinds}
        paper = {kind: TABLE.get(data, {}).get(f"{network} {kind}", (None,))[0] for kind in kinds}
        if None in ours.values() or None in paper.values():
            continue
        here, printed = (
            " < ".join(sorted(kinds, key=lambda kind, v=values: v[kind]))
            for values in (ours, paper)
        )
        same = "as printed" if here == printed else f"where {printed} is printed"
        words.append(f"Of the {network}, {here}, {same}.")
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
            told = (f"{order(lines, 'own')} {targets(lines, name, 'own')} {recipes(lines)}").strip()
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
    worse = [row["network"] for row in record["rows"] if row["single-pass"] < record["raw"]]
    warning = (
        f"\n\nBelow the noisy image: {', '.join(worse)}. So few steps of the paper's loop, "
        f"without anything that steadies it, do not settle a network of that depth."
        if worse
        else ""
    )
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

{table(rows)}{warning}

({link("paper/single_shot")}; {measured(record)})"""


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
