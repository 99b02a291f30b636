"""What is chosen in *Apply and export*: a model, images and files to be; and what follows."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from psygnal import Signal

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.widgets.dock import Links, unlink
from napari_noise2self.widgets.export_choices import (
    Choices,
    Work,
    is_folder,
    work_on_files,
    work_on_layers,
)
from napari_noise2self.widgets.export_judge import LateAnswer, stacks_of, survey, unread
from napari_noise2self.widgets.export_words import Model
from napari_noise2self.widgets.export_worker import judge
from napari_noise2self.widgets.layers import Source, file_of, images_in, name_axes

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.widgets.session import Outcome, Session


class Plan:
    """What is to be denoised, with what and into what; follows the viewer and its session.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    session : Session
        Of the viewer: what was trained is offered.
    idle : callable
        Says whether nothing is under way; only then models are judged.

    Attributes
    ----------
    changed : Signal()
        Anything below has changed.
    images_chosen : Signal()
        Other layers are chosen, or other files.
    choices : Choices
    models : list of Model
        Those that can be chosen.
    model : Model or None
        The chosen one.
    layers : list of Image
        The chosen ones.
    """

    changed = Signal()
    images_chosen = Signal()

    def __init__(self, viewer: napari.Viewer, session: Session, idle: Callable[[], bool]) -> None:
        self._viewer = weakref.ref(viewer)
        self._session = session
        self._idle = idle
        self.choices = Choices()
        self.models: list[Model] = []
        self.model: Model | None = None
        self.layers: list[Image] = []
        self._just_trained: Model | None = None
        self._work: Work | None = None
        self._judge = LateAnswer(judge, self._to_judge, unread)
        # What cannot be found is said when it is tried.
        self._survey = LateAnswer(survey, self._to_survey, lambda error: None)
        for answer in (self._judge, self._survey):
            answer.changed.connect(self.changed.emit)
        self._links: Links = []
        self._layer_links: Links = []
        for signal, slot in (
            (viewer.layers.selection.events.changed, self._follow_selection),
            (viewer.layers.events.removed, self._follow_selection),
            (session.events.outcome, self._follow_outcome),
        ):
            signal.connect(slot)
            self._links.append((signal, slot))
        self._follow_selection()
        self._follow_outcome(session.outcome)

    def close(self) -> None:
        """Let go of everything."""
        for links in (self._links, self._layer_links):
            unlink(links)
        for answer in (self._judge, self._survey):
            answer.close()
        self.models, self.layers = [], []
        self.model = self._just_trained = None
        self._work = None
        self.choices = Choices()

    # -- what the user can do ------------------------------------------------

    def choose(self, model: Model | None) -> None:
        """Choose one of the models."""
        self.model = model
        self._look_again()

    def add(self, model: Model) -> None:
        """Offer a model and choose it, in place of one from the same file."""
        # One that was not saved has no path, and is not the same as another one.
        others = [k for k in self.models if k.path is None or k.path != model.path]
        self.models = [*others, model]
        self.choose(model)

    def take_files(self, paths: Sequence[Path]) -> None:
        """Take these files, or what is in these folders; none: the selected layers."""
        self.choices.images = tuple(paths)
        self.choices.name = None
        if paths and self.choices.folder is None:
            # Beside them, in a folder of its own, so that nobody mixes them up.
            first = paths[0]
            self.choices.folder = None if is_folder(first) else first.parent
        self.images_chosen.emit()
        self._look_again()

    def name_target(self, path: Path) -> None:
        """Take the file to be, or the folder of many files."""
        if not path.is_absolute():
            # Where napari was started is no place for results.
            path = (self.choices.folder or Path.home()) / path
        if self.takes_folder:
            self.choices.folder = path
        else:
            self.choices.name_file(path)
        self._plan_again()
        self.changed.emit()

    def set(self, name: str, value: Any) -> None:
        """Take a choice, by its name in `Choices`."""
        setattr(self.choices, name, value)
        if name in ("format", "in_view"):
            self._plan_again()
        if name == "axes":
            self._look_again()
        self.changed.emit()

    def name_axes(self, text: str) -> None:
        """Say what the axes of the chosen layers are, or those of the files."""
        if self.choices.images:
            self.set("axes", text)
            return
        try:
            for layer in self.layers:
                name_axes(layer, text)
        except Noise2SelfError as error:
            show_error(str(error))
        self.changed.emit()

    # -- what follows ----------------------------------------------------------

    @property
    def doubts(self) -> list[str] | None:
        """What speaks against the model for the images; None as long as nobody has looked."""
        doubts: list[str] | None = self._judge.value
        return doubts

    @property
    def takes_folder(self) -> bool:
        """Whether there are many results, or may be."""
        if self.choices.images:
            return len(self.choices.images) > 1 or is_folder(self.choices.images[0])
        return len(self.layers) > 1

    def sources(self) -> list[Source]:
        """The chosen layers as they are now; of each, the frame in view if only that is wanted.

        Raises
        ------
        InputError
            If a layer cannot be denoised.
        """
        viewer = self._viewer()
        found = [Source.of(layer) for layer in self.layers]
        if not self.choices.in_view or viewer is None:
            return found
        return [
            source.frame(source.position(viewer.dims.point), self._layout(source))
            for source in found
        ]

    def work(self) -> Work:
        """What is to be exported.

        Raises
        ------
        InputError
            If that is nothing, or it is not known where to.
        """
        if self.choices.images:
            return work_on_files(self.choices)
        return work_on_layers(self.sources(), self.choices)

    def known_work(self) -> Work | None:
        """The same as it was when the choice was made; None if there is nothing to do.

        Many files are looked for in a thread: until they are found, None as well.
        """
        if self.many_files:
            found: Work | None = self._survey.value
            return found
        if self._work is None:
            with contextlib.suppress(Noise2SelfError, OSError):
                self._work = self.work()
        return self._work

    def look_at_disk(self) -> None:
        """Look again at what is there of the files to be; judge, unless that was done."""
        self._plan_again()
        self._judge.ask()
        self.changed.emit()

    def _layout(self, source: Source) -> Layout:
        """How the chosen model reads a layer."""
        config = TrainingConfig() if self.model is None else self.model.denoiser.config
        return config.layout(source.data.shape, source.axes)

    def _look_again(self) -> None:
        """The choice has changed: what was found out is out of date."""
        self._plan_again()
        self._judge.ask_again()
        self.changed.emit()

    def _plan_again(self) -> None:
        """The files to be, or what is there of them, may be others."""
        self._work = None
        self._survey.ask_again()

    @property
    def many_files(self) -> bool:
        """Whether there are so many files, or may be, that they are looked for in a thread."""
        return bool(self.choices.images) and self.takes_folder

    def _to_survey(self) -> tuple[Choices] | None:
        """What is to be found; of layers and of one file that is known at once."""
        return (replace(self.choices),) if self.many_files else None

    def _to_judge(self) -> tuple[Model, list[Callable[[], Stack]]] | None:
        """What is to be asked; nothing while something else is under way."""
        if self.model is None or not self._idle():
            return None
        stacks = stacks_of(self.choices.images, self.choices.axes, self.layers)
        return (self.model, stacks) if stacks else None

    # -- what the surroundings say --------------------------------------------

    def _follow_outcome(self, outcome: Outcome | None) -> None:
        """Offer what was just trained; take it, unless a file was chosen."""
        if outcome is None or not hasattr(outcome.denoiser, "trained"):
            return
        left = Path(outcome.info.get("file") or "")
        if not outcome.complete and left.suffix == ".partial" and not self.choices.images:
            # It can be gone on with.
            self.choices.name_file(left.with_suffix(""))
            self._plan_again()
        model = Model(f"just trained ({outcome.name})", outcome.denoiser)
        # The one before it, unless that was saved; what was made of it by fine-tuning stays.
        before = [known for known in self.models if known is self._just_trained and not known.path]
        self._just_trained = model
        self.models = [model] + [known for known in self.models if known not in before]
        if self.model is None or self.model in before:
            self.choose(model)
        else:
            self.changed.emit()

    def _follow_selection(self, _: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        images = images_in(viewer)
        # What was made here is selected when it is added, and is no new wish.
        chosen = [x for x in images if x in viewer.layers.selection and KEY not in x.metadata]
        chosen = chosen or [layer for layer in self.layers if layer in images]
        if not chosen and self._session.settings.layer in images:
            chosen = [self._session.settings.layer]
        if chosen == self.layers:
            return
        unlink(self._layer_links)
        self.layers = chosen
        self.choices.name = None
        for layer in chosen:
            for name in ("axis_labels", "data", "metadata", "name"):
                event = getattr(layer.events, name)
                event.connect(self._follow_layer)
                self._layer_links.append((event, self._follow_layer))
        file = file_of(chosen[0]) if chosen else None
        if self.choices.folder is None and file is not None:
            self.choices.folder = file.parent
        self.images_chosen.emit()
        self._look_again()

    def _follow_layer(self, _: Any = None) -> None:
        self._look_again()
