"""The main job, from an array to its denoised version, for all front ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.arrays import as_array, is_dask
from napari_noise2self.engine.config import (
    ChannelUse,
    DepthAxis,
    Device,
    Network,
    Objective,
    Output,
    TrainingConfig,
)
from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.engine.events import Control, Event, Notice, TrainingEvent, exhaust
from napari_noise2self.engine.hardware import release_memory
from napari_noise2self.engine.model import Denoiser, Progress
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.region import Region


@dataclass(frozen=True)
class Result:
    """What the main job ends with.

    Attributes
    ----------
    image : ndarray of float32
        Denoised, in the shape and the grey values of the source.
    denoiser : Denoiser
    complete : bool
        False if it ended before every frame was denoised; the others are NaN
        or a preview.
    info : dict
        How it was made, ready for JSON.
    error : Noise2SelfError, optional
        Why it ended early, if it was not stopped.
    """

    image: NDArray[np.float32]
    denoiser: Denoiser
    complete: bool
    info: dict[str, Any]
    error: Noise2SelfError | None = None


def denoise_events(
    image: Any,
    *,
    axes: str | None = None,
    config: TrainingConfig | None = None,
    network: nn.Module | None = None,
    target: Any = None,
    region: Region | None = None,
    control: Control | None = None,
    out: NDArray[np.float32] | None = None,
) -> Generator[Event, None, Result | None]:
    """Train on an image and denoise it, step by step.

    Parameters
    ----------
    image : array
        numpy, or anything that is indexed like it, such as dask.
    axes : str, optional
        One letter per axis; by default the last two are YX, leading ones frames.
    config : TrainingConfig, optional
    network : torch.nn.Module, optional
        A network of your own.
    target : array, optional
        As for `Denoiser.fit`.
    region : mapping of str to slice or (int, int), optional
        What to learn from alone, as for `Denoiser.fit`; all of the image is denoised.
    control : Control, optional
        To stop, pause and resume from another thread.  `stop` ends the phase
        that runs: training goes on to prediction with what it has learned.
    out : ndarray of float32, optional
        The array of the result, with the shape of `image`: previews and
        frames are written into it as they are made.

    Yields
    ------
    event : Notice, TrainingEvent or PredictionEvent

    Returns
    -------
    result : Result or None
        None if it was stopped before anything was learned.

    Raises
    ------
    Noise2SelfError
        And nothing else that PyTorch or the data can cause.
    """
    control = control or Control()
    began = time.monotonic()
    denoiser = Denoiser(config, network)
    layout = denoiser.config.layout(np.shape(image), axes)
    if out is None:
        out = np.full(layout.shape, np.nan, np.float32)
    error = None
    try:
        planned = 0
        training = denoiser.train(image, axes, target, region=region, control=control, out=out)
        with contextlib.closing(training):
            while True:
                try:
                    event = next(training)
                except StopIteration as stop:
                    trained = stop.value
                    break
                if isinstance(event, TrainingEvent):
                    planned = event.steps
                yield event
        if not trained:
            return None
        steps = denoiser.summary["steps"]
        if control.stopped:
            control.renew()
        if steps < planned:
            yield Notice(
                f"Training was stopped after {steps} of {planned} steps; the image is denoised "
                f"with what was learned."
            )
        try:
            _, complete = yield from denoiser.predict_events(image, axes, control=control, out=out)
        except Noise2SelfError as caught:
            # What was learned, and the frames that are done, are worth keeping.
            complete, error = False, caught
    finally:
        release_memory()
    info = {
        "version": version("napari-noise2self"),
        **denoiser.summary,
        "seconds": round(time.monotonic() - began, 3),
        "output": denoiser.resolved_output(),
        "axes": layout.axes,
        "complete": complete,
        "settings": denoiser.config.model_dump(mode="json"),
    }
    return Result(out, denoiser, complete, info, error)


def denoise(
    image: Any,
    *,
    axes: str | None = None,
    partition: Partition | None = None,
    network: Network | nn.Module = "unet",
    target: Any = None,
    objective: Objective | None = None,
    epochs: float | None = None,
    output: Output = "auto",
    device: Device = "auto",
    seed: int = 0,
    volume: bool = False,
    context: int = 0,
    depth_axis: DepthAxis | None = None,
    channel_use: ChannelUse = "auto",
    region: Region | None = None,
    progress: Progress | None = None,
) -> Any:
    """Remove the noise from an image or stack, without clean images.

    A network is trained to predict hidden pixels of `image` from the others
    (Noise2Self, Batson & Royer 2019) and applied to it.

    Parameters
    ----------
    image : array_like
        numpy or dask; any integer or floating-point type.
    axes : str, optional
        One letter per axis, such as "TCZYX"; C and S are channels, and every
        axis that is not spatial counts frames.  By default the last two axes
        are YX and leading ones are frames.
    partition : Grid, RandomPartition or Checkerboard, optional
        The partition J; by default what suits the noise: a grid of width 2 if it is white.
    network : {"unet", "dncnn", "unet-paper"} or torch.nn.Module
    target : array_like, optional
        To learn from instead of from `image` alone: a second noisy image of the
        same scene, or the truth, of the shape of `image`.
    objective : {"n2s", "n2n", "n2t", "sure"}, optional
        What the network learns to predict; by default the target as a noisy
        one ("n2n") where there is one, else `image` itself ("n2s").  "n2t"
        says that the target is the truth.  "sure" minimises Stein's risk
        estimate.
    epochs : float, optional
        One epoch draws as many targets as the data has pixels; by default
        the length is planned from the data.
    output : {"auto", "single-pass", "j-invariant", "mixed"}
        See `Denoiser.predict`.
    device : {"auto", "cuda", "mps", "cpu"}
    seed : int
    volume : bool
        Denoise Z as a third spatial axis instead of slice by slice.
    context : int
        Neighbouring slices on either side that are seen beside each slice.
    depth_axis : {"Z", "T"}, optional
        What is taken as depth by `volume` and `context`; by default Z, and
        for `context` T where there is no Z.
    channel_use : {"auto", "together", "shared", "apart"}
        One network that sees all channels at once, one network that learns
        from all of them as images of their own, or a network for each.  "auto"
        keeps up to five channels (an axis C) apart and takes the samples of
        colour images (S) together.
    region : mapping of str to slice or (int, int), optional
        What to learn from alone, as ranges along some of the axes, such as
        ``{"Y": (0, 512), "X": (0, 512), "T": (0, 10)}``; all is denoised.
    progress : callable, optional
        Called with every event; without it, notices are logged as warnings.

    Returns
    -------
    denoised : ndarray of float32, shape of `image`
        In the grey values of `image`.  A dask array if `image` is one.

    Raises
    ------
    InputError
        If the image or a setting cannot be used.
    DeviceError, OutOfMemoryError, EngineError
        If the device is missing, too small, or fails.

    Examples
    --------
    >>> import napari_noise2self as n2s
    >>> denoised = n2s.denoise(noisy)  # doctest: +SKIP
    """
    custom = network if isinstance(network, nn.Module) else None
    config = TrainingConfig(
        partition=partition,
        network="custom" if isinstance(network, nn.Module) else network,
        epochs=epochs,
        output=output,
        device=device,
        seed=seed,
        volume=volume,
        context=context,
        depth_axis=depth_axis,
        channel_use=channel_use,
        **({} if objective is None else {"objective": objective}),
    )
    if is_dask(image):
        # Its result is computed when it is asked for.
        return (
            Denoiser(config, custom)
            .fit(image, axes, target, region=region, progress=progress)
            .predict(image, axes)
        )
    events = denoise_events(
        as_array(image), axes=axes, config=config, network=custom, target=target, region=region
    )
    result = exhaust(events, progress)
    assert result is not None  # nobody can have stopped it
    if result.error is not None:
        raise result.error
    return result.image
