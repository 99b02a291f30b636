"""How far the work is, and what came out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_noise2self.widgets.controls import selectable
from napari_noise2self.widgets.session import Outcome, Progress, Session, State
from napari_noise2self.widgets.words import NBSP, escaped

if TYPE_CHECKING:
    from napari_noise2self.widgets.plot import LossPlot
    from napari_noise2self.widgets.theme import Colours

_PHASES = {
    State.PREPARING: "Preparing",
    State.TRAINING: "Training",
    State.PAUSED: "Paused",
    State.STOPPING: "Stopping",
    State.PREDICTING: "Denoising",
}
# Steps of the bar, fine enough to move smoothly.
_STEPS = 1000


def duration(seconds: float) -> str:
    """A duration as a person says it, such as "1 min 20 s"."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole}{NBSP}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def describe(progress: Progress) -> str:
    """Epoch, loss and time left, as far as they are known."""
    parts = []
    if not math.isnan(progress.epoch):
        parts.append(f"epoch {progress.epoch:.2f} of {progress.epochs:.2f}")
    if not math.isnan(progress.loss):
        parts.append(f"loss {progress.loss:.4g}")
    if not math.isnan(progress.seconds_left):
        parts.append(f"{duration(progress.seconds_left)} left")
    return " · ".join(parts)


def shortened(name: str, most: int = 40) -> str:
    """A name without its middle, where it would widen a dock."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 :]}"


def clipped_sentence(clipped: int, dtype: str) -> str:
    """What the type of a file did not hold; empty if that is nothing."""
    if not clipped:
        return ""
    what = "1 pixel was" if clipped == 1 else f"{clipped:,} pixels were"
    return f"{what} clipped to the range of {dtype}: float32 would keep them."


def gain_sentence(quality: dict[str, Any]) -> str:
    """What the score says of the gain over the noisy image; empty if nothing."""
    gain, least = quality.get("gain"), quality.get("gain_at_least")
    if gain is not None and least is not None:
        return f"Estimated gain: {gain:.1f}{NBSP}dB, at least {least:.1f}{NBSP}dB."
    if least is not None and least > 0:
        return f"Estimated gain: at least {least:.1f}{NBSP}dB."
    return ""


def mixed_sentence(info: dict[str, Any]) -> str:
    """The gain of a mixed output, where that is shown and its gain is known; else empty."""
    gain = (info.get("quality") or {}).get("mixed_gain")
    if info.get("output") != "mixed" or gain is None:
        return ""
    return f"Of the mixed output, which the layer shows: {gain:.1f}{NBSP}dB."


def target_sentence(info: dict[str, Any]) -> str:
    """What was learned from, if not from the layer itself, and how well; else empty."""
    kind = {"n2n": "a second noisy image", "n2t": "a clean image"}.get(info.get("objective", ""))
    if kind is None:
        return ""
    loss = (info.get("target") or {}).get("loss")
    sentence = f"Learned from {kind}."
    if loss is None or not math.isfinite(loss):
        return sentence
    holds = ", with the noise of that image" if info["objective"] == "n2n" else ""
    return (
        f"{sentence} Mean squared difference from it on held-out pixels: <b>{loss:.4g}</b> "
        f"squared grey values{holds}."
    )


def summarise(outcome: Outcome) -> str:
    """What the user should know about a result, as rich text."""
    info: dict[str, Any] = outcome.info
    # No name of a layer here: a long one would widen the dock.
    lines = [f"Done in <b>{duration(info['seconds'])}</b>."]
    lines += [line for line in (target_sentence(info),) if line]
    if info.get("file") and info.get("complete"):
        lines.append(f"Written to {escaped(shortened(Path(info['file']).name))}.")
        lines += [line for line in (clipped_sentence(info["clipped"], info["dtype"]),) if line]
    score = info.get("score")
    if score is not None and math.isfinite(score):
        quality = info.get("quality") or {}
        error = quality.get("error")
        spread = "" if error is None else f"{NBSP}±{NBSP}{error:.2g}"
        lines.append(f"Self-supervised score: <b>{score:.4g}</b>{spread} squared grey values.")
        mixed = mixed_sentence(info)
        lines += [line for line in (gain_sentence(quality), mixed) if line]
        note = (
            "Score and gain speak of the J-invariant prediction on held-out pixels. The score "
            "holds the noise, too: lower is better, among runs with the same grid and hidden block."
        )
        output = info.get("output")
        if output != "j-invariant" and not mixed:
            shown = f"{output} output"
            if output and "," in output:  # one for each channel
                shown = f"outputs {output} of its channels"
            note += f" The layer shows the {shown}, which they do not measure."
        lines.append(note)
    return "<br>".join(lines)


class ProgressView(QWidget):
    """A progress bar and a line of text; the plot joins once there is something to plot."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.setAccessibleName("Progress of the present phase")
        self.detail = QLabel()
        self.detail.setObjectName("detail")
        self.detail.setWordWrap(True)
        self.detail.setAccessibleName("Epoch, loss and time left")
        self.plot: LossPlot | None = None
        self._colours: Colours | None = None
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.addWidget(self.bar)
        self._rows.addWidget(self.detail)

    def show_session(self, session: Session) -> None:
        """Show the state and the progress."""
        progress = session.progress
        if self.plot is not None:
            # A run that failed at once has left nothing to plot.
            self.plot.setVisible(session.state.running or bool(session.points))
        self.bar.setVisible(progress is not None)
        self.detail.setVisible(progress is not None)
        if progress is None:
            return
        phase = _PHASES.get(session.state, "")
        if math.isnan(progress.fraction):
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, _STEPS)
            self.bar.setValue(int(progress.fraction * _STEPS))
        self.bar.setFormat(f"{phase} %p %")
        self.detail.setText(describe(progress) or f"{phase}…")

    def show_curves(self, session: Session) -> None:
        """Plot what was learned so far."""
        if self.plot is None:
            if not session.points:
                return
            # Importing the plotting library takes longer than opening the dock.
            from napari_noise2self.widgets.plot import LossPlot

            self.plot = LossPlot()
            self._rows.addWidget(self.plot)
            if self._colours is not None:
                self.plot.show_colours(self._colours)
        self.plot.show_curves(session.loss, session.score)

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self._colours = colours
        if self.plot is not None:
            self.plot.show_colours(colours)


class WorkView(QWidget):
    """A progress bar, and what is being done."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.setAccessibleName("Progress")
        self.detail = selectable("doing", "What is being done", plain=True)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.bar)
        rows.addWidget(self.detail)

    def show_work(self, doing: str, fraction: float, seconds_left: float = math.nan) -> None:
        """Show how far the work is.

        Parameters
        ----------
        doing : str
            What is done; where that is nothing, nothing is shown.
        fraction, seconds_left : float
            NaN where they are not known.
        """
        self.setVisible(bool(doing))
        self.bar.setRange(0, _STEPS if math.isfinite(fraction) else 0)
        if math.isfinite(fraction):
            self.bar.setValue(int(fraction * _STEPS))
        left = f" · {duration(seconds_left)} left" if math.isfinite(seconds_left) else ""
        self.detail.setText(doing + left)


class OutcomeView(QWidget):
    """How the last run ended, and the offer to save its model.

    Attributes
    ----------
    save_requested : Signal()
    """

    save_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text = selectable("outcome", "Result of the last run")
        self.save = QPushButton("Save &model…")
        self.save.setObjectName("save")
        self.save.setAccessibleName("Save model")
        self.save.setToolTip(
            "<qt>Keep what was learned in a file, to denoise other images of the same kind "
            "without training again.</qt>"
        )
        self.save.clicked.connect(self.save_requested)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.save)

    def show_session(self, session: Session) -> None:
        """Show the message and the outcome."""
        parts = []
        if session.message:
            parts.append(escaped(session.message))
        if session.outcome is not None:
            parts.append(summarise(session.outcome))
        self.text.setText("<br>".join(parts))
        self.text.setVisible(bool(parts))
        self.save.setVisible(session.outcome is not None)
