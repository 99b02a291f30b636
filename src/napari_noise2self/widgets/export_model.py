"""What *Apply and export* of one viewer knows, and the work that it has done in threads."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from psygnal import Signal

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.events import Control, Notice
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.provenance import KEY, of_denoiser
from napari_noise2self.widgets.activity import Activity
from napari_noise2self.widgets.application import Application
from napari_noise2self.widgets.dock import Links, unlink
from napari_noise2self.widgets.export_choices import (
    FORMATS,
    Choices,
    Work,
    is_folder,
    work_on_files,
    work_on_layers,
)
from napari_noise2self.widgets.export_judge import LateAnswer, stacks_of, survey, unread
from napari_noise2self.widgets.export_layers import open_file
from napari_noise2self.widgets.export_live import LiveResults
from napari_noise2self.widgets.export_words import Model, outcome_in_words
from napari_noise2self.widgets.export_worker import (
    Exported,
    Request,
    export,
    judge,
    load,
    tune,
)
from napari_noise2self.widgets.layers import Source, images_in, name_axes
from napari_noise2self.widgets.task import Task, sentence

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from napari_noise2self.stacks.batch import BatchEvent, Outcome
    from napari_noise2self.stacks.stack import Stack
    from napari_noise2self.widgets.controller import Controller
    from napari_noise2self.widgets.session import Outcome as Trained

# So many files are opened by one click.
MOST_OPENED = 10


class Stage(Enum):
    """What is going on; the only thing that decides what can be clicked."""

    IDLE = "idle"
    LOADING = "loading"
    TUNING = "tuning"
    APPLYING = "applying"
    EXPORTING = "exporting"
    STOPPING = "stopping"


class Exporter:
    """Applies models to layers and files of a viewer when it is asked to.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    controller : Controller
        Of the viewer: what it has trained is offered, its settings are shared.

    Attributes
    ----------
    changed : Signal()
        Anything below has changed but the progress.
    progressed : Signal()
        The progress has.
    stage : Stage
    message : str
        What the user should know: a result or an error.
    doing : str
        What is being done.
    fraction, seconds_left : float
        Of the work; NaN where it is not known.
    choices : Choices
    models : list of Model
        Those that can be chosen.
    model : Model or None
        The chosen one.
    layers : list of Image
        The chosen ones.
    written : list of Path
        The files that were written last.
    """

    changed = Signal()
    progressed = Signal()

    def __init__(self, viewer: napari.Viewer, controller: Controller) -> None:
        self._viewer = weakref.ref(viewer)
        self.controller = controller
        self.session = controller.session
        self.stage = Stage.IDLE
        self.message = self.doing = ""
        self.fraction = self.seconds_left = math.nan
        self.choices = Choices()
        self.models: list[Model] = []
        self.model: Model | None = None
        self.layers: list[Image] = []
        self.written: list[Path] = []
        self._control = Control()
        self._task: Task | None = None
        self._application: Application | None = None
        self._waiting: list[Source] = []
        # What they are denoised with, whatever is chosen or trained meanwhile.
        self._applied_model: Model | None = None
        self._just_trained: Model | None = None
        self._live = LiveResults()
        self._judge = LateAnswer(judge, self._to_judge, unread)
        # What cannot be found is said when it is tried.
        self._survey = LateAnswer(survey, self._to_survey, lambda error: None)
        for answer in (self._judge, self._survey):
            answer.changed.connect(self.changed.emit)
        self._outcomes: list[Outcome] = []
        self._work: Work | None = None
        self._activity = Activity(self._doing, self.changed, self.progressed)
        self._links: Links = []
        self._layer_links: Links = []
        for signal, slot in (
            (viewer.layers.selection.events.changed, self._follow_selection),
            (viewer.layers.events.removed, self._follow_selection),
            (self.session.events.outcome, self._follow_outcome),
            (self.session.events.state, self._follow_state),
        ):
            signal.connect(slot)
            self._links.append((signal, slot))
        controller.attach(id(self))
        self._follow_selection()
        self._follow_outcome(self.session.outcome)

    def close(self) -> None:
        """Drop what is under way and let go of everything; what is on the disk stays."""
        for links in (self._links, self._layer_links):
            unlink(links)
        self._drop()
        self._activity.close()
        self.models, self.layers = [], []
        self.model = self._just_trained = self._applied_model = None
        self._work = None
        self.choices = Choices()
        self.controller.detach(id(self))

    # -- what the user can do ------------------------------------------------

    def load(self, path: Path) -> None:
        """Read a model from a file and choose it."""
        if not self.idle:
            return
        self._begin(Stage.LOADING, f"Loading {path.name}")
        self._start(load, path, self.session.settings.device, on_result=self._take_model)

    def choose(self, model: Model | None) -> None:
        """Choose one of the models."""
        self.model = model
        self._look_again()

    def take_files(self, paths: Sequence[Path]) -> None:
        """Take these files, or what is in these folders; none: the selected layers."""
        self.choices.images = tuple(paths)
        self.choices.name = None
        if paths and self.choices.folder is None:
            # Beside them, in a folder of its own, so that nobody mixes them up.
            first = paths[0]
            self.choices.folder = None if is_folder(first) else first.parent
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

    def tune(self) -> None:
        """Train the chosen model a little more on the first of the layers."""
        if self.model is None or not self.layers or not self.idle:
            return
        try:
            stack = Source.of(self.layers[0]).stack()
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._begin(Stage.TUNING, f"Fine-tuning on {stack.name}")
        self._start(tune, self.model, stack, self._control, on_result=self._take_tuning)

    def apply(self) -> None:
        """Denoise the chosen layers, each into a new one."""
        if self.model is None or not self.idle:
            return
        try:
            self._waiting = self.sources()
            if not self._waiting:
                raise InputError("No image layer is selected: select one or more.")
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._applied_model = self.model
        self._begin(Stage.APPLYING, "Denoising")
        self._apply_next()

    def export(self, *, overwrite: bool = False, resume: bool = False) -> None:
        """Denoise the chosen images into files.

        Parameters
        ----------
        overwrite : bool
            Whether what is there may be replaced.
        resume : bool
            Whether to go on with what was begun, and keep what is done.
        """
        viewer = self._viewer()
        if viewer is None or not self.idle:
            return
        choices = self.choices
        try:
            work = self.work()
            positions = {
                job: self._live.prepare(viewer, job, source, choices.dtype)
                for job, source in zip(work.jobs, work.sources, strict=bool(work.sources))
            }
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._begin(Stage.EXPORTING, "Preparing")
        self.written, self._outcomes = [], []
        request = Request(
            model=self.model,
            jobs=work.jobs,
            growing=self._live.growing,
            positions=positions,
            axes=choices.axes,
            output=choices.output,
            dtype=choices.dtype,
            version=FORMATS[choices.format].version,
            overwrite=overwrite,
            resume=resume,
            device=self.session.settings.device,
        )
        self._start(export, request, self._control, on_result=self._take_export)

    def stop(self) -> None:
        """End what is under way and keep what is complete."""
        if self.idle or self.stage is Stage.STOPPING:
            return
        self.stage = Stage.STOPPING
        self._waiting = []
        self._control.stop()
        self.changed.emit()

    def save_model(self, path: Path) -> None:
        """Write the chosen model to a file."""
        if self.model is None:
            return
        try:
            self.model.denoiser.save(path)
        except (Noise2SelfError, OSError) as error:
            show_error(f"The model was not saved: {error}")
            return
        self.model.path, self.model.name = path, path.name
        show_info(f"The model was saved as {path.name}.")
        self.changed.emit()

    def open_written(self) -> None:
        """Open the files that were written, as layers."""
        viewer = self._viewer()
        if viewer is None:
            return
        try:
            for path in self.written[:MOST_OPENED]:
                open_file(viewer, path)
        except Exception as error:  # whatever it is, the dock must stay alive
            self._fail(error)

    # -- what is known -------------------------------------------------------

    @property
    def doubts(self) -> list[str] | None:
        """What speaks against the model for the images; None as long as nobody has looked."""
        doubts: list[str] | None = self._judge.value
        return doubts

    @property
    def idle(self) -> bool:
        """Whether something can be begun."""
        return self.stage is Stage.IDLE and not self.session.state.running

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

    def _layout(self, source: Source) -> Layout:
        """How the chosen model reads a layer."""
        config = TrainingConfig() if self.model is None else self.model.denoiser.config
        return config.layout(source.data.shape, source.axes)

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
        if self._many_files:
            found: Work | None = self._survey.value
            return found
        if self._work is None:
            with contextlib.suppress(Noise2SelfError, OSError):
                self._work = self.work()
        return self._work

    # -- the work ------------------------------------------------------------

    def _begin(self, stage: Stage, doing: str) -> None:
        self.message = ""
        self._control = Control()
        self.stage, self.doing = stage, doing
        self.fraction = self.seconds_left = math.nan

    def _start(self, work: Any, *arguments: Any, on_result: Callable[[Any], None]) -> None:
        self._task = Task(
            work, *arguments, on_result=on_result, on_error=self._fail, on_end=self._end
        )
        self.changed.emit()

    def _show_progress(self, doing: str, fraction: float, seconds_left: float) -> None:
        self.doing, self.fraction, self.seconds_left = doing, fraction, seconds_left
        self.progressed.emit()

    def _doing(self) -> tuple[str, float] | None:
        """What napari's activity dock says."""
        return (
            None if self.stage is Stage.IDLE else (f"Apply and export: {self.doing}", self.fraction)
        )

    def _take_model(self, model: Model) -> None:
        # One that was not saved has no path, and is not the same as another one.
        again = [k for k in self.models if model.path is not None and k.path == model.path]
        self.models = [known for known in self.models if known not in again] + [model]
        self.stage = Stage.IDLE
        self.choose(model)

    def _take_tuning(self, event: Any) -> None:
        if isinstance(event, Notice):
            self.message = event.message
            self.changed.emit()
        elif isinstance(event, Model):
            self._take_model(event)
        else:
            self._show_progress(self.doing, event.step / event.steps, event.seconds_left)

    def _apply_next(self) -> None:
        viewer, model = self._viewer(), self._applied_model
        if viewer is None or model is None or not self._waiting:
            self.stage = Stage.IDLE
            self._follow_state()
            return
        source = self._waiting.pop(0)
        output = self.choices.output
        info = {
            **of_denoiser(model.denoiser, model.denoiser.resolved_output(output)),  # type: ignore[arg-type]
            "model": model.name,
        }
        try:
            work = Application(
                viewer, source, model.denoiser, model.name, info, self._control, output
            )
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._application = work
        work.progressed.connect(self._show_progress)
        work.ended.connect(self._applied)
        work.failed.connect(self._fail)
        work.start()
        self.changed.emit()

    def _applied(self, message: str, complete: bool) -> None:
        self._application = None
        self.message = message
        if not complete:
            self._waiting = []
        show_info(message)
        self._apply_next()

    def _take_export(self, event: BatchEvent | Exported | Notice) -> None:
        if isinstance(event, Notice):
            return  # an outcome has it, too
        if isinstance(event, Exported):
            self._take_outcome(event)
            return
        many = f"{event.number} of {event.count}: " if event.count > 1 else ""
        phase = {"reading": "reading", "writing": "writing the file"}.get(event.phase, "denoising")
        doing = f"{many}{phase} {event.job.source.name}"
        if event.phase == "denoising":
            self._live.show(event.job)
        self._show_progress(doing[:1].upper() + doing[1:], event.fraction, event.seconds_left)

    def _take_outcome(self, exported: Exported) -> None:
        outcome = exported.outcome
        self._outcomes.append(outcome)
        written = outcome.written
        if written is not None and written.complete:
            self.written.append(written.path)
        self._live.take(outcome, exported.info)

    def _sum_up(self) -> None:
        """Say what came of an export."""
        outcomes = self._outcomes
        self.message = outcome_in_words(outcomes)
        if any(outcome.state == "failed" for outcome in outcomes):
            show_error(self.message)
        else:
            show_info(self.message)

    def _fail(self, error: Exception) -> None:
        self.message = sentence(error, "applying or exporting")
        self._application = None
        self._waiting, self._outcomes = [], []
        self._live.discard()
        self.stage = Stage.IDLE
        show_error(self.message)
        self._follow_state()

    def _drop(self) -> None:
        """End what is under way, and hear no more of it."""
        self._control.stop()
        self._judge.close()
        self._survey.close()
        if self._task is not None:
            self._task.drop()
            self._task = None
        if self._application is not None:
            self._application.abandon()
            self._application = None
        self._waiting = []
        self._live.discard()
        self.stage = Stage.IDLE

    def _end(self, task: Task) -> None:
        if task is not self._task:
            return
        self._task = None
        if self._outcomes:
            self._sum_up()
            self._outcomes = []
        self._live.discard()
        if self._application is None:
            self.stage = Stage.IDLE
        self._look_again()

    # -- what is found out of the choice ---------------------------------------

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
    def _many_files(self) -> bool:
        return bool(self.choices.images) and self.takes_folder

    def _to_survey(self) -> tuple[Choices] | None:
        """What is to be found; of layers and of one file that is known at once."""
        return (replace(self.choices),) if self._many_files else None

    def _to_judge(self) -> tuple[Model, list[Callable[[], Stack]]] | None:
        """What is to be asked; nothing while something else is under way."""
        if self.model is None or not self.idle:
            return None
        stacks = stacks_of(self.choices.images, self.choices.axes, self.layers)
        return (self.model, stacks) if stacks else None

    # -- what the surroundings say --------------------------------------------

    def _follow_outcome(self, outcome: Trained | None) -> None:
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

    def _follow_state(self, _: Any = None) -> None:
        if self.idle:
            # What has ended may have left something on the disk.
            self._plan_again()
            self._judge.ask()
        self.changed.emit()

    def _follow_selection(self, _: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        images = images_in(viewer)
        # What was made here is selected when it is added, and is no new wish.
        chosen = [x for x in images if x in viewer.layers.selection and KEY not in x.metadata]
        chosen = chosen or [layer for layer in self.layers if layer in images]
        if not chosen and self.session.settings.layer in images:
            chosen = [self.session.settings.layer]
        if chosen == self.layers:
            return
        unlink(self._layer_links)
        self.layers = chosen
        self.choices.name = None
        if self.stage is Stage.IDLE:
            # What came of other layers is said no longer.
            self.message, self.written = "", []
        for layer in chosen:
            for name in ("axis_labels", "data", "metadata", "name"):
                event = getattr(layer.events, name)
                event.connect(self._follow_layer)
                self._layer_links.append((event, self._follow_layer))
        if self.choices.folder is None and chosen and Source.of(chosen[0]).file is not None:
            self.choices.folder = Source.of(chosen[0]).file.parent  # type: ignore[union-attr]
        self._look_again()

    def _follow_layer(self, _: Any = None) -> None:
        self._look_again()
