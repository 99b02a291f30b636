"""Results in the viewer while they are written to files, and afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.growing import Growing
from napari_noise2self.stacks.provenance import KEY
from napari_noise2self.stacks.targets import partial_of
from napari_noise2self.widgets.layers import Source, images_in
from napari_noise2self.widgets.result_layer import ResultLayer

if TYPE_CHECKING:
    import napari

    from napari_noise2self.stacks.batch import Outcome
    from napari_noise2self.stacks.many import Job
    from napari_noise2self.stacks.stack import Stack


class LiveResults:
    """The layers that show what is being written, one for each layer that is exported."""

    def __init__(self) -> None:
        self._shown: dict[Job, tuple[ResultLayer, Growing]] = {}

    @property
    def growing(self) -> dict[Job, Growing]:
        """What the worker writes into."""
        return {job: growing for job, (_, growing) in self._shown.items()}

    def prepare(
        self, viewer: napari.Viewer, job: Job, source: Source, dtype: str
    ) -> tuple[int, ...]:
        """Make ready what shows the result of a layer; returns the pixel in view.

        What a run that was stopped has left of it in the viewer goes.
        """
        stack: Stack = job.source.stack  # type: ignore[attr-defined]
        growing = Growing(stack, job.target, dtype)  # type: ignore[arg-type]
        layout = Layout.of(stack.shape, stack.axes)
        left = str(partial_of(job.target))
        for layer in images_in(viewer):
            if (layer.metadata.get(KEY) or {}).get("file") == left:
                viewer.layers.remove(layer)
        self._shown[job] = ResultLayer(viewer, source, layout), growing
        return source.position(viewer.dims.point)

    def show(self, job: Job) -> None:
        """Show what is there of a result by now."""
        if job in self._shown:
            layer, growing = self._shown[job]
            layer.show(growing)

    def take(self, outcome: Outcome, info: Mapping[str, Any] | None) -> None:
        """Show a result as it is on the disk, or take its layer away if there is none."""
        layer, growing = self._shown.pop(outcome.job, (None, None))
        if layer is None or growing is None:
            return
        written = outcome.written
        if written is not None and (written.complete or written.path.exists()):
            layer.complete(growing, info)  # type: ignore[arg-type]
        else:
            layer.discard()

    def discard(self) -> None:
        """Take away the layers of results that are unfinished."""
        for layer, _ in self._shown.values():
            layer.discard()
        self._shown = {}
