"""The work of *Apply and export* in one viewer, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info

from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.events import Notice
from napari_noise2self.stacks.provenance import of_denoiser
from napari_noise2self.widgets.application import Application
from napari_noise2self.widgets.export_choices import FORMATS, Work
from napari_noise2self.widgets.export_judge import survey
from napari_noise2self.widgets.export_layers import open_file
from napari_noise2self.widgets.export_live import LiveResults
from napari_noise2self.widgets.export_plan import Plan
from napari_noise2self.widgets.export_words import Model, name_of, outcome_in_words
from napari_noise2self.widgets.export_worker import Exported, Request, export, load, tune
from napari_noise2self.widgets.layers import Source
from napari_noise2self.widgets.runner import Runner, Stage
from napari_noise2self.widgets.task import sentence

if TYPE_CHECKING:
    import napari

    from napari_noise2self.stacks.batch import BatchEvent, Outcome
    from napari_noise2self.widgets.controller import Controller

# So many files are opened by one click.
MOST_OPENED = 10


class Exporter(Runner):
    """Applies models to layers and files of a viewer when it is asked to.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    controller : Controller
        Of the viewer: what it has trained is offered, its settings are shared.

    Attributes
    ----------
    plan : Plan
        What is chosen.
    written : list of Path
        The files that were written last.
    """

    title, logged_as = "Apply and export", "applying or exporting"

    def __init__(self, viewer: napari.Viewer, controller: Controller) -> None:
        super().__init__(viewer, controller)
        self.written: list[Path] = []
        self._outcomes: list[Outcome] = []
        # What follows when it is known what is to be exported.
        self._then: Callable[[], None] | None = None
        self._live = LiveResults()
        self.plan = Plan(viewer, self.session, lambda: self.idle)
        self.plan.changed.connect(self.changed.emit)
        self.plan.images_chosen.connect(self._follow_choice)
        self._link(self.session.events.state, self._follow_state)

    def close(self) -> None:
        """Drop what is under way and let go of everything; what is on the disk stays."""
        self.plan.close()
        super().close()

    # -- what the user can do ------------------------------------------------

    def load(self, path: Path) -> None:
        """Read a model from a file and choose it."""
        if not self.idle:
            return
        self._begin(Stage.LOADING, f"Loading {path.name}")
        self._start(load, path, self.session.settings.device, on_result=self.plan.add)

    def tune(self) -> None:
        """Train the chosen model a little more on the first of the layers."""
        model, layers = self.plan.model, self.plan.layers
        if model is None or not layers or not self.idle:
            return
        try:
            stack = Source.of(layers[0]).stack()
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._begin(Stage.TUNING, f"Fine-tuning on {stack.name}")
        self._start(tune, model, stack, self._control, on_result=self._take_tuning)

    def apply(self) -> None:
        """Denoise the chosen layers, each into a new one."""
        model = self.plan.model
        if model is None or not self.idle:
            return
        self.written = []
        try:
            sources = self.plan.sources()
            if not sources:
                raise InputError("No image layer is selected: select one or more.")
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._begin(Stage.APPLYING, "Denoising")
        output = self.plan.choices.output
        # They are denoised with this model, whatever is chosen or trained meanwhile.
        self._apply([partial(self._application_of, source, model, output) for source in sources])

    def look(self, then: Callable[[Work], None]) -> None:
        """Find out what is to be exported now, and go on with that; of many files in a thread."""
        if not self.idle:
            return
        self.written = []
        if self.plan.many_files:
            self._begin(Stage.LOADING, "Looking for images")
            choices = replace(self.plan.choices)
            self._start(survey, choices, on_result=lambda work: self._take_work(work, then))
            return
        try:
            work = self.plan.work()
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        then(work)

    def export(self, work: Work, *, overwrite: bool = False, resume: bool = False) -> None:
        """Denoise images into files.

        Parameters
        ----------
        work : Work
        overwrite : bool
            Whether what is there may be replaced.
        resume : bool
            Whether to go on with what was begun, and keep what is done.
        """
        viewer = self._viewer()
        if viewer is None or not self.idle:
            return
        choices = self.plan.choices
        self.written = []
        try:
            positions = {
                job: self._live.prepare(viewer, job, source, choices.dtype)
                for job, source in zip(work.jobs, work.sources, strict=bool(work.sources))
            }
        except Exception as error:  # whatever it is, the button must not stay dead
            self._fail(error)
            return
        self._begin(Stage.EXPORTING, "Preparing")
        self._outcomes = []
        request = Request(
            model=self.plan.model,
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

    def save_model(self, path: Path) -> None:
        """Write the chosen model to a file."""
        model = self.plan.model
        if model is None:
            return
        try:
            model.denoiser.save(path)
        except (Noise2SelfError, OSError) as error:
            show_error(sentence(error, "saving a model"))
            return
        model.path, model.name = path, path.name
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

    # -- the work ------------------------------------------------------------

    def _take_tuning(self, event: Any) -> None:
        if isinstance(event, Notice):
            self.message = event.message
            self.changed.emit()
        elif isinstance(event, Model):
            self.plan.add(event)
        else:
            self._show_progress(self.doing, event.step / event.steps, event.seconds_left)

    def _take_work(self, work: Work, then: Callable[[Work], None]) -> None:
        self._then = partial(then, work)

    def _application_of(self, source: Source, model: Model, output: str) -> Application:
        viewer = self._viewer()
        assert viewer is not None  # or all of this was closed
        resolved = model.denoiser.resolved_output(output)  # type: ignore[arg-type]
        info = {**of_denoiser(model.denoiser, resolved), "model": model.name}
        return Application(viewer, source, model.denoiser, model.name, info, self._control, output)

    def _take_export(self, event: BatchEvent | Exported | Notice) -> None:
        if isinstance(event, Notice):
            return  # an outcome has it, too
        if isinstance(event, Exported):
            self._take_outcome(event)
            return
        many = f"{event.number} of {event.count}: " if event.count > 1 else ""
        phase = {"reading": "reading", "writing": "writing the file"}.get(event.phase, "denoising")
        doing = f"{many}{phase} {name_of(event.job.source)}"
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

    def _fail(self, error: Exception) -> None:
        self._outcomes = []
        super()._fail(error)
        show_error(self.message)

    def _finish(self) -> None:
        """Say what came of an export, and look for what it has left."""
        if self._outcomes:
            self.message = outcome_in_words(self._outcomes)
            failed = any(outcome.state == "failed" for outcome in self._outcomes)
            (show_error if failed else show_info)(self.message)
        then = self._then
        self._release()
        self._follow_state()
        if then is not None:
            then()

    def _release(self) -> None:
        self._outcomes, self._then = [], None
        self._live.discard()
        super()._release()

    # -- what the surroundings say --------------------------------------------

    def _follow_state(self, _: Any = None) -> None:
        if self.idle:
            # What has ended may have left something on the disk.
            self.plan.look_at_disk()
        else:
            self.changed.emit()

    def _follow_choice(self) -> None:
        if self.stage is Stage.IDLE:
            # What came of other images is said no longer.
            self.message, self.written = "", []
