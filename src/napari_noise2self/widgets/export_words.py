"""A model, and what came of applying it, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.config import NETWORK_TITLES
from napari_noise2self.stacks.many import Held
from napari_noise2self.stacks.suits import trained_on
from napari_noise2self.widgets.progress_view import clipped_sentence, shortened
from napari_noise2self.widgets.words import without_options

if TYPE_CHECKING:
    from napari_noise2self.engine.config import TrainingConfig
    from napari_noise2self.engine.model import Denoiser
    from napari_noise2self.stacks.batch import Outcome
    from napari_noise2self.stacks.many import Input

# No more failures are told than these; the others are counted.
_MOST = 3


@dataclass(eq=False)
class Model:
    """A model that can be chosen.

    Attributes
    ----------
    name : str
    denoiser : Denoiser
    path : Path or None
        Its file; None if it was not saved.
    made : datetime or None
        When it was trained, or at least saved.
    """

    name: str
    denoiser: Denoiser
    path: Path | None = None
    made: datetime | None = field(init=False)

    def __post_init__(self) -> None:
        said = self.denoiser.summary.get("trained_at")
        self.made = datetime.fromisoformat(said).astimezone() if said else None
        if self.made is None and self.path is not None and self.path.exists():
            self.made = datetime.fromtimestamp(self.path.stat().st_mtime).astimezone()


def in_words(model: Model) -> str:
    """What a model was trained on and how, in sentences."""
    summary = model.denoiser.summary
    date = "" if model.made is None else f" on {model.made.day} {model.made:%B %Y}"
    tuned = summary.get("tuned_from")
    began = f"Fine-tuned from {shortened(tuned)}" if tuned else "Trained"
    length = [
        NETWORK_TITLES.get(summary.get("network", ""), summary.get("network", "")),
        _partition(summary.get("partition") or {}),
        _seen(model.denoiser.config),
        f"{summary['epochs']:.3g} epochs" if summary.get("epochs") else "",
    ]
    how = ", ".join(part for part in length if part)
    score = summary.get("score")
    scored = (
        f" Self-supervised score there: {score:.4g} squared grey values."
        if score is not None and math.isfinite(score)
        else ""
    )
    return f"{began}{date}. {' '.join(trained_on(model.denoiser))} {how}.{scored}"


def _seen(config: TrainingConfig) -> str:
    """What a network sees at once, where that is more or less than an image."""
    parts = []
    if config.context:
        slices = "slice" if config.context == 1 else "slices"
        parts.append(f"{config.context} neighbouring {slices} on either side")
    if config.channel_use != "together":
        parts.append(
            "one network for each channel"
            if config.channel_use == "apart"
            else "channels as images of their own"
        )
    return ", ".join(parts)


def _partition(about: Mapping[str, Any]) -> str:
    kind = about.get("kind")
    if kind == "grid":
        width, extent = (_per_axis(about.get(key)) for key in ("width", "extent"))
        return f"grid {width}" + (f" hiding {extent}" if extent != "1" else "")
    if kind == "random":
        return f"random partition of {about.get('subsets')}"
    return str(kind or "")


def _per_axis(numbers: Any) -> str:
    numbers = list(numbers) if isinstance(numbers, Sequence) else [numbers]
    return str(numbers[0]) if len(set(numbers)) == 1 else "×".join(map(str, numbers))


def name_of(source: Input) -> str:
    """What an image is called: a layer by its name, in which a slash leads to no folder."""
    return source.path if isinstance(source, Held) else source.name


def outcome_in_words(outcomes: Sequence[Outcome]) -> str:
    """What became of one image, or of many, in sentences."""
    if len(outcomes) == 1:
        return _one(outcomes[0])
    counts = {
        "written": sum(outcome.state == "done" for outcome in outcomes),
        "skipped": sum(outcome.state == "skipped" for outcome in outcomes),
        "stopped": sum(outcome.state == "stopped" for outcome in outcomes),
        "failed": sum(outcome.state == "failed" for outcome in outcomes),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    sentences = [f"{len(outcomes)} images: {said}."]
    clipped = sum(o.written.clipped for o in outcomes if o.written is not None)
    if clipped:
        what = "1 pixel was" if clipped == 1 else f"{clipped:,} pixels were"
        sentences.append(f"{what} clipped: float32 clips nothing.")
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed[:_MOST]:
        sentences.append(f"{name_of(outcome.job.source)}: {without_options(outcome.reason)}")
    if len(failed) > _MOST:
        sentences.append(f"And {len(failed) - _MOST} more failed.")
    return " ".join(sentences)


def _one(outcome: Outcome) -> str:
    name = shortened(outcome.job.target.name)
    if outcome.state == "stopped":
        done = "That was before the first part was whole: nothing is kept."
        if outcome.written is not None and outcome.written.path.exists():
            done = (
                f"What is done is kept in {shortened(outcome.written.path.name)}: Resume goes on."
            )
        return f"Stopped. {done}"
    if outcome.state != "done" or outcome.written is None:
        return without_options(outcome.reason)
    clipped = clipped_sentence(outcome.written.clipped, outcome.written.dtype)
    return f"Written to {name}. {clipped}".strip()
