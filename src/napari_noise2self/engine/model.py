"""A trained denoiser: weights, settings and normalisation, saved and loaded."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.arrays import as_array, is_dask
from napari_noise2self.engine.bad_pixels import HotRule, hot_samples
from napari_noise2self.engine.config import Output, TrainingConfig
from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.events import (
    Control,
    Event,
    Notice,
    PredictionEvent,
    TrainingEvent,
    exhaust,
)
from napari_noise2self.engine.fitting import Lessons, fit_events
from napari_noise2self.engine.hardware import engine_errors
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.model_file import load_trained, save_trained
from napari_noise2self.engine.noise.estimate import estimate_noise
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.prediction import Method, predict_frames
from napari_noise2self.engine.preparation import Frame, check_image
from napari_noise2self.engine.region import Region
from napari_noise2self.engine.scoring import HeldOut, Score
from napari_noise2self.engine.streaming import (
    Sink,
    Slab,
    chunks_of,
    plan,
    predict_lazily,
    predicted_region,
    region_of,
    stream,
)
from napari_noise2self.engine.sure import Risk
from napari_noise2self.engine.targets import chosen_objective
from napari_noise2self.engine.trained import Trained, averaging_of, risk_of_output

Progress = Callable[[Event], None]


class Denoiser:
    """A network that learns to denoise from noisy images alone.

    Parameters
    ----------
    config : TrainingConfig, optional
        The settings; defaults that suit most images.
    network : torch.nn.Module, optional
        A network of your own instead of `config.network`.  It maps a tensor
        (batch, channels, [Z,] Y, X) to one of the same shape, and is trained
        in place.

    Attributes
    ----------
    config : TrainingConfig
    summary : dict
        How it was trained: objective, partition, network, epochs, steps,
        seconds, device, score; where it learned from a part, its region.  Empty
        before training.  "score" and "quality" speak of the J-invariant
        prediction whatever the objective; where there was a target, "target"
        says the loss of the single pass against it, at held-out positions that
        training did not compare.

    Examples
    --------
    >>> denoiser = Denoiser().fit(noisy)  # doctest: +SKIP
    >>> clean = denoiser.predict(noisy)  # doctest: +SKIP
    """

    def __init__(
        self, config: TrainingConfig | None = None, network: nn.Module | None = None
    ) -> None:
        config = config or TrainingConfig()
        if network is None and config.network == "custom":
            raise InputError(
                "The network 'custom' was asked for without a network: pass a torch.nn.Module, or "
                "use the network 'unet' or 'dncnn'."
            )
        if network is not None:
            if config.channel_use not in ("auto", "together") or config.context:
                raise InputError(
                    "A network of your own sees all channels of an image and no neighbouring "
                    "slices: leave channel_use and context out, or use the network 'unet' or "
                    "'dncnn'."
                )
            config = config.model_copy(update={"network": "custom", "channel_use": "together"})
        if network is not None and not any(True for _ in network.parameters()):
            raise InputError("The network has no parameters: there is nothing to train.")
        self.config = config
        self._objective_stated = "objective" in config.model_fields_set
        # Training settles it for the image, and anew for the next one.
        self._channel_use = config.channel_use
        self.summary: dict[str, Any] = {}
        self._custom = network
        self._trained: Trained | None = None

    @property
    def trained(self) -> Trained:
        """The trained network, with all that is needed to apply it elsewhere.

        Raises
        ------
        InputError
            If the denoiser has not been trained.
        """
        if self._trained is None:
            raise InputError("The denoiser has not been trained: call fit first, or load a model.")
        return self._trained

    # ---------------------------------------------------------------- training

    def fit(
        self,
        image: Any,
        axes: str | Sequence[str | None] | None = None,
        target: Any = None,
        *,
        region: Region | None = None,
        warm_start: bool = False,
        progress: Progress | None = None,
    ) -> Denoiser:
        """Train on an image, a stack, or a list of them.

        Parameters
        ----------
        image : array_like or list of array_like
            numpy or dask; any integer or floating-point type.  The noise is
            estimated from the first of a list; what differs much from it is told.
        axes : str or sequence of str, optional
            One letter per axis, such as "TZYX"; by default the last two axes
            are YX and leading ones are frames.  Of images that differ, one
            for each.
        target : array_like or list of array_like, optional
            To learn from, for each image: a second noisy image of the same
            scene, or the truth if the objective is "n2t".  It has the shape of
            the image, and its grey values mean the same.
        region : mapping of str to slice or (int, int), optional
            What to learn from alone, as ranges along some of the axes, such as
            ``{"Y": (0, 512), "X": (0, 512), "T": (0, 10)}``; of every image of
            a list.  Nothing else is read, and the noise is that of this part.
        warm_start : bool
            Go on from what the denoiser has learned before, such as from
            other images, instead of from nothing.  Unless `config.epochs`
            says otherwise, that takes a quarter of the time.
        progress : callable, optional
            Called with every event; without it, notices are logged as warnings.

        Returns
        -------
        self : Denoiser

        Raises
        ------
        InputError
            If the image, its axes or its target cannot be used, or the
            objective does not go with the target.
        DeviceError, OutOfMemoryError, EngineError
            If the device is missing, too small, or fails.
        """
        exhaust(self.train(image, axes, target, region=region, warm_start=warm_start), progress)
        return self

    def train(
        self,
        image: Any,
        axes: str | Sequence[str | None] | None = None,
        target: Any = None,
        *,
        region: Region | None = None,
        warm_start: bool = False,
        control: Control | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Generator[Notice | TrainingEvent, None, bool]:
        """Train as `fit` does, step by step.

        Parameters
        ----------
        image, axes, target, region, warm_start
            As for `fit`.
        control : Control, optional
            To stop, pause and resume from another thread.
        out : ndarray of float32, optional
            An array of the shape of `image`: previews of
            ``control.preview_frame`` are written into it.

        Yields
        ------
        event : Notice or TrainingEvent
            At most every 100 ms.

        Returns
        -------
        trained : bool
            False if it was stopped before the first step.
        """
        control = control or Control()
        objective = chosen_objective(
            self.config.objective if self._objective_stated else "n2s",
            self._objective_stated,
            target is not None,
        )
        self.config = self.config.model_copy(update={"objective": objective})
        lessons = Lessons.of(self.config, image, axes, target, region)
        if not warm_start:
            self._settle_channels(lessons.layouts[0])
        with engine_errors():
            network = self._learned(lessons.layouts[0]) if warm_start else self._custom
            found = yield from fit_events(
                lessons, self.config, network, warm_start=warm_start, control=control, out=out
            )
        if found is None:
            return False
        self._trained, self.summary = found
        return True

    def _settle_channels(self, layout: Layout) -> None:
        """Have the settings say how channels are seen, where that was left open."""
        asked = self.config.model_copy(update={"channel_use": self._channel_use})
        self.config = asked.model_copy(update={"channel_use": asked.channels_of(layout)})

    def _learned(self, layout: Layout) -> nn.Module:
        """A copy of the trained network to go on from; the denoiser keeps its own until then."""
        trained = self.trained
        channels = len(trained.normalisation.offset)
        if (layout.channels, layout.ndim) != (channels, trained.ndim):
            raise InputError(
                f"The model was trained on {trained.ndim}-D images of "
                f"{counted(channels, 'channel')} and cannot go on with {layout.ndim}-D ones of "
                f"{layout.channels}: train anew."
            )
        return copy.deepcopy(trained.network)

    # -------------------------------------------------------------- prediction

    def predict(
        self,
        image: Any,
        axes: str | None = None,
        output: Output = "auto",
        *,
        progress: Progress | None = None,
    ) -> Any:
        """Denoise an image or stack.

        Parameters
        ----------
        image : array_like
            numpy or dask, with the channels of the training image.
        axes : str, optional
            As for `fit`.
        output : {"auto", "single-pass", "j-invariant", "mixed"}
            "single-pass" is the network on the untouched image; "j-invariant"
            predicts every pixel without looking at it; "mixed" adds to that
            the share of the pixel itself that makes the error smallest, for
            which the noise has to be told.  "auto" takes the single pass, with
            two exceptions.  Where there is little noise beside what the
            network cannot predict, it takes the mixed output.  And where the
            partition hides blocks and the network could not learn what the
            correlated noise looks like, the single pass would keep some of it:
            then it takes the mixed output, or the J-invariant one where the
            noise is not known.
        progress : callable, optional
            Called with every event.

        Returns
        -------
        denoised : ndarray of float32, shape of `image`
            A dask array, computed frame by frame or in parts of frames, if
            `image` is one.

        Raises
        ------
        InputError
            If it has not been trained, the image has other channels or axes,
            or the mixed output is asked for where the noise could not be told.
        OutOfMemoryError, EngineError
            If the device is too small, or fails.
        """
        array = as_array(image)
        if is_dask(array):
            return self._predict_lazily(array, axes, output)
        return exhaust(self.predict_events(array, axes, output), progress)[0]

    def predict_events(
        self,
        image: Any,
        axes: str | None = None,
        output: Output = "auto",
        *,
        control: Control | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Generator[Notice | PredictionEvent, None, tuple[NDArray[np.float32], bool]]:
        """Denoise as `predict` does, frame by frame.

        Parameters
        ----------
        image, axes, output
            As for `predict`.
        control : Control, optional
            `stop` ends it after the frames that are complete.
        out : ndarray of float32, optional
            Where the frames go; by default a new array, NaN where nothing
            has been written.

        Yields
        ------
        event : Notice or PredictionEvent

        Returns
        -------
        denoised : ndarray of float32
        complete : bool
            Whether every frame was denoised.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        with engine_errors():
            method = self._method(image, layout, output)
            return (yield from predict_frames(method, image, layout, control or Control(), out))

    def predict_stream(
        self,
        image: Any,
        axes: str | None = None,
        output: Output = "auto",
        *,
        sink: Sink,
        control: Control | None = None,
    ) -> Generator[Event, None, bool]:
        """Denoise as `predict` does, from a lazy array into a store, in bounded memory.

        Parameters
        ----------
        image : array
            Whatever has a shape and a dtype and is indexed with slices, such
            as a zarr array; read region by region.
        axes, output
            As for `predict`.
        sink : Sink
            Where the result goes.  What it already has is not computed again.
        control : Control, optional
            `stop` ends it after what is complete has been written.

        Yields
        ------
        event : Notice or PredictionEvent
            At most every 100 ms.

        Returns
        -------
        complete : bool
            Whether all of the array is in the sink.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        with engine_errors():
            method = self._method(image, layout, output)
            return (yield from stream(method, image, layout, sink, control or Control()))

    def regions(
        self,
        image: Any,
        chunks: Sequence[int],
        axes: str | None = None,
        output: Output = "auto",
        *,
        workers: int = 1,
    ) -> list[tuple[slice, ...]]:
        """What `predict_stream` denoises one after the other, to be shared between workers.

        Parameters
        ----------
        image, axes, output
            As for `predict_stream`; nothing of the image is read.
        chunks : sequence of int
            Per axis of the image, what is written at once: regions are unions
            of whole chunks.
        workers : int
            How many share them.

        Returns
        -------
        regions : list of tuple of slice
            One slice per axis; together they cover the image once.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        reach = self._method(image, layout, output).reach
        return plan(layout, chunks, reach, chunks_of(image), workers)

    def hot_rule(self, image: Any, axes: str | None = None) -> HotRule:
        """From which grey value on a lone pixel of an image counts as hot.

        It is told from samples of all of the image, so `predict_region`
        should be given it where it is called more than once.

        Parameters
        ----------
        image, axes
            As for `predict`.

        Returns
        -------
        rule : HotRule
        """
        image = as_array(image)
        with engine_errors():
            return HotRule.of(image, self.config.layout(image.shape, axes))

    def read_region(
        self,
        image: Any,
        region: Sequence[slice],
        axes: str | None = None,
        output: Output = "auto",
    ) -> Slab:
        """What `predict_region` looks at, to be read while another region is computed.

        Parameters
        ----------
        image, region, axes, output
            As for `predict_region`.

        Returns
        -------
        slab : Slab
            In memory.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        part = region_of(layout, region)
        with engine_errors():
            return Slab.read(image, layout, part, self._method(image, layout, output).reach)

    def predict_region(
        self,
        image: Any,
        region: Sequence[slice],
        axes: str | None = None,
        output: Output = "auto",
        *,
        rule: HotRule | None = None,
        slab: Slab | None = None,
    ) -> NDArray[np.float32]:
        """One region of what `predict` gives for all of an image.

        Parameters
        ----------
        image, axes, output
            As for `predict_stream`; the region is read with a margin.
        region : sequence of slice
            One slice per axis of the image, with all of the channels.
        rule : HotRule, optional
            What `hot_rule` gives for the image; by default it is asked.
        slab : Slab, optional
            What `read_region` gives for the region; by default it is read.

        Returns
        -------
        denoised : ndarray of float32, shape of the region

        Raises
        ------
        InputError, OutOfMemoryError, EngineError
            As `predict`.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        part = region_of(layout, region)
        with engine_errors():
            method = self._method(image, layout, output)
            rule = rule or HotRule.of(image, layout)
            slab = slab or Slab.read(image, layout, part, method.reach)
            return predicted_region(method, slab, layout, part, rule)

    def _method(self, image: Any, layout: Layout, output: Output) -> Method:
        """What is done to the frames of an image, whole or in parts."""
        trained = self._check(image, layout)
        kind = self._usable_output(trained, output)
        return trained.method(kind, layout.spatial_shape, averaging_of(self.config, layout))

    def _predict_lazily(self, image: Any, axes: str | None, output: Output) -> Any:
        """A dask array of the result, whose blocks are frames or, of large ones, parts."""
        from dask.delayed import delayed

        layout = self.config.layout(image.shape, axes)
        method = self._method(image, layout, output)
        parts = [layout.arranged(image[layout.index(*place)]) for place in hot_samples(layout)]
        rule = delayed(HotRule.from_parts)(parts)
        return predict_lazily(method, image, layout, rule)

    def resolved_output(self, output: Output = "auto") -> str:
        """The output that is meant.

        Parameters
        ----------
        output : {"auto", "single-pass", "j-invariant", "mixed"}
            Or what this has returned.

        Returns
        -------
        output : str
            "single-pass", "j-invariant" or "mixed"; of "auto" the one of the
            settings, or where that is "auto", too, what suits the noise and what
            was learned: where channels differ, one for each, joined by ", ".

        Raises
        ------
        InputError
            If there is no such output.
        """
        known = get_args(Output)
        if output not in known and output != (self._trained and self._trained.best_output):
            raise InputError(f"The output was {output!r}: use one of {', '.join(known)}.")
        if output == "auto":
            output = self.config.output
        if output != "auto":
            return output
        return "single-pass" if self._trained is None else self._trained.best_output

    def score(
        self,
        image: Any,
        axes: str | None = None,
        *,
        method: str = "self-supervised",
        output: Output = "auto",
    ) -> Score | Risk:
        """How good a result is, without ground truth.

        Parameters
        ----------
        image, axes
            As for `predict`.
        method : {"self-supervised", "sure"}
            "self-supervised" is the mean squared difference between the
            J-invariant prediction and the image at the held-out positions,
            which were never targets.  For noise that is independent between
            what is hidden and what is seen, it is the true mean squared error
            plus the variance of the noise (Proposition 1 of the paper).

            "sure" estimates the error of any output, also of those that see
            the pixel (Stein's unbiased risk estimate).  It has to know the
            noise, and it does not know that the network was trained on this
            very image: its error may then be underestimated.
        output : str
            The output that "sure" judges.

        Returns
        -------
        score : Score or Risk
            Both are numbers, too: ``float(score)`` is in squared grey values,
            smaller is better.

        Raises
        ------
        InputError
            If the method is unknown, or "sure" is asked for where the noise
            is not known or is clipped.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        trained = self._check(image, layout)
        if method not in ("self-supervised", "sure"):
            raise InputError(f"The method was {method!r}: use self-supervised or sure.")
        with engine_errors():
            # Of this image, which need not be the one that was trained on.
            noise = estimate_noise(
                image, layout.axes, volume=layout.volume, depth_axis=layout.depth
            )
            if method == "sure":
                kind = self._usable_output(trained, output)
                averaging = averaging_of(self.config, layout)
                return risk_of_output(trained, image, layout, noise, kind, averaging)
            trained = dataclasses.replace(trained, noise=noise)
            return trained.score(self._held_out(trained, image, layout))

    def held_out(
        self, image: Any, axes: str | None = None, partition: Partition | None = None
    ) -> list[HeldOut]:
        """The J-invariant prediction at held-out positions, to compare denoisers pixel by pixel.

        Parameters
        ----------
        image, axes
            As for `predict`.
        partition : Grid, RandomPartition or Checkerboard, optional
            Whose subset is hidden and whose held-out positions are told, to
            compare on those of another denoiser; by default the model's own.
            Of another partition, positions may have been targets in training.

        Returns
        -------
        positions : list of HeldOut, one per channel
            In grey values.

        Raises
        ------
        InputError
            As `predict`.
        """
        image = as_array(image)
        layout = self.config.layout(image.shape, axes)
        trained = self._check(image, layout)
        if partition is not None:
            trained = dataclasses.replace(trained, partition=partition)
        with engine_errors():
            positions = self._held_out(trained, image, layout)
        normalisation = trained.normalisation
        return [
            place.in_grey(offset, scale)
            for place, offset, scale in zip(
                positions, normalisation.offset, normalisation.scale, strict=True
            )
        ]

    def _held_out(self, trained: Trained, image: Any, layout: Layout) -> list[HeldOut]:
        rule = HotRule.of(image, layout)
        frames = (
            Frame.of(image, layout, trained.normalisation, number, rule)
            for number in range(layout.frames)
        )
        pieces = ((frame.values, frame.valid, None) for frame in frames)
        return trained.held_out_positions(pieces, averaging_of(self.config, layout))

    def _usable_output(self, trained: Trained, output: Output) -> str:
        kind = self.resolved_output(output)
        if "mixed" in trained.kinds(kind) and trained.mixing is None:
            raise InputError(
                "The mixed output was asked for, but the noise of the training image could not be "
                "told: use the output 'j-invariant' or 'auto'."
            )
        return kind

    def check(self, image: Any, axes: str | None = None) -> None:
        """Make sure, before long work, that the model can be applied to an image.

        Parameters
        ----------
        image, axes
            As for `predict`; nothing of the image is read.

        Raises
        ------
        InputError
            If it has not been trained, or the image has other channels, or
            lacks an axis that the model needs.
        """
        self._check(image, self.config.layout(image.shape, axes))

    def _check(self, image: Any, layout: Layout) -> Trained:
        trained = self.trained
        check_image(image, layout)
        channels = len(trained.normalisation.offset)
        if layout.channels != channels:
            raise InputError(
                f"The image has {counted(layout.channels, 'channel')}, but the model was trained "
                f"on {channels}: give an image with {channels}, or name its axes."
            )
        return trained

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model in one safetensors file, its settings as JSON inside.

        Parameters
        ----------
        path : path-like
            An existing file is replaced once the new one is whole.

        Raises
        ------
        InputError
            If the denoiser has not been trained.
        ModelFileError
            If the file cannot be written.
        """
        trained = self._trained
        if trained is None:
            raise InputError("The denoiser has not been trained: there is nothing to save.")
        save_trained(path, trained, self.config, self.summary)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        network: nn.Module | None = None,
    ) -> Denoiser:
        """Load a model that `save` has written.

        Parameters
        ----------
        path : path-like
        device : {"auto", "cuda", "mps", "cpu"}
            Where to apply it.
        network : torch.nn.Module, optional
            The network, if the model was trained with one of your own.

        Returns
        -------
        denoiser : Denoiser

        Raises
        ------
        ModelFileError
            If the file is missing or not a model of this package.
        DeviceError
            If the device is missing.
        """
        trained, config, summary = load_trained(path, device, network)
        denoiser = cls(config, trained.network if config.network == "custom" else None)
        denoiser.summary, denoiser._trained = summary, trained
        # A file states every setting; that it learned from itself or from a noisy target need
        # not have been asked for, and does not bind what it learns next.
        denoiser._objective_stated = config.objective in ("n2t", "sure")
        return denoiser
