"""How every denoiser of a comparison is judged: at the same positions of the same image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.calibration.calibrated import CalibratedFilter
from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.model import Denoiser
from napari_noise2self.engine.noise.report import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.ranking import Row
from napari_noise2self.engine.scoring import HeldOut, Score, psnr, self_supervised_score, ssim


def failed(name: str, error: Exception) -> Row:
    """The row of a denoiser that could not be used, and why."""
    return Row(name, "", {}, Score.unknown(), 0.0, failure=str(error))


class Judge:
    """The image, and the positions at which every denoiser is judged."""

    def __init__(
        self,
        image: NDArray[Any],
        layout: Layout,
        noise: NoiseReport,
        partition: Partition,
        truth: NDArray[Any] | None,
    ) -> None:
        self.image = image
        self.layout = layout
        self.noise = noise
        self.partition = partition
        self.truth = truth

    def filter(self, curve: Any) -> Row:
        """The row of a calibrated filter."""
        began = time.monotonic()
        best: CalibratedFilter | None = curve.best
        if best is None:
            return failed(curve.title, InputError(curve.failure or "Stopped too early."))
        try:
            positions = [
                place.in_grey(offset, scale)
                for place, offset, scale in zip(
                    best.held_out(self.image, self.layout.axes),
                    best.unit.offset,
                    best.unit.scale,
                    strict=True,
                )
            ]
            result = best(self.image, self.layout.axes)
        except Noise2SelfError as error:
            return failed(curve.title, error)
        words = f"{str(best).removeprefix(f'{curve.filter}, ')}, {best.output}"
        settings = {
            "filter": curve.filter,
            "parameters": dict(best.parameters),
            "output": best.output,
        }
        return self._row(
            curve.title,
            words,
            settings,
            positions,
            result,
            best,
            curve.seconds + time.monotonic() - began,
        )

    def network(self, title: str, denoiser: Denoiser, began: float) -> Row:
        """The row of a network that was trained on this image."""
        summary = denoiser.summary
        words = f"{summary['epochs']:.3g} epochs, {denoiser.resolved_output()}"
        settings = denoiser.config.model_dump(mode="json")
        return self._of_denoiser(title, words, settings, denoiser, began)

    def model(self, title: str, model: Any, device: str) -> Row:
        """The row of a model that was trained before, judged with this partition."""
        began = time.monotonic()
        try:
            denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model, device=device)
            self._check_depth(denoiser)
        except Noise2SelfError as error:
            return failed(title, error)
        settings = {"model": title if isinstance(model, Denoiser) else str(model)}
        words = f"{denoiser.config.network}, {denoiser.resolved_output()}"
        return self._of_denoiser(title, words, settings, denoiser, began)

    def _check_depth(self, denoiser: Denoiser) -> None:
        """Pixels that are hidden in slices are others than those of a volume."""
        together = denoiser.config.layout(self.image.shape, self.layout.axes).spatial_axes
        if together != self.layout.spatial_axes:
            as_what = "as a volume" if len(together) == 3 else "slice by slice"
            raise InputError(
                f"The model sees {together} together, and it is compared on pixels that are hidden "
                f"along {self.layout.spatial_axes}: compare {as_what}."
            )

    def _of_denoiser(
        self, title: str, words: str, settings: dict[str, Any], denoiser: Denoiser, began: float
    ) -> Row:
        try:
            positions = denoiser.held_out(self.image, self.layout.axes, self.partition)
            result = np.asarray(denoiser.predict(self.image, self.layout.axes))
        except Noise2SelfError as error:
            return failed(title, error)
        seconds = time.monotonic() - began
        return self._row(title, words, settings, positions, result, denoiser, seconds)

    def _row(
        self,
        name: str,
        words: str,
        settings: dict[str, Any],
        positions: Sequence[HeldOut],
        result: NDArray[np.float32],
        denoiser: Any,
        seconds: float,
    ) -> Row:
        variance = None
        if self.noise.known:
            variance = [
                self.noise.variance(place.predicted, channel)
                for channel, place in enumerate(positions)
            ]
        grey = [1.0] * len(positions)
        score = self_supervised_score(positions, grey, variance, self.noise.variance_error)
        errors = tuple((place.predicted - place.observed) ** 2 for place in positions)
        blocks = tuple(place.block for place in positions)
        quality = self._against_truth(result)
        return Row(
            name, words, settings, score, seconds, result, denoiser, *quality, None, errors, blocks
        )

    def _against_truth(self, result: NDArray[np.float32]) -> tuple[float | None, float | None]:
        """PSNR and SSIM at the range of the truth; SSIM as the mean over planes."""
        if self.truth is None:
            return None, None
        truth = self.truth.astype(np.float64)
        good = np.isfinite(truth) & np.isfinite(result)
        if not good.any():
            return None, None
        span = float(np.ptp(truth[good]))
        if not span > 0:
            return None, None
        ratio = psnr(truth[good], result[good], data_range=span)
        if not good.all() or min(self.layout.spatial_shape[-2:]) < 11:
            return ratio, None
        likeness = []
        for frame in range(self.layout.frames):
            planes = [
                self.layout.read(array, frame).reshape(-1, *self.layout.spatial_shape[-2:])
                for array in (truth, result)
            ]
            likeness += [ssim(a, b, data_range=span) for a, b in zip(*planes, strict=True)]
        return ratio, float(np.mean(likeness))
