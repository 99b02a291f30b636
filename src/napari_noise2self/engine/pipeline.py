"""The main job, from an array to its denoised version, for all front ends."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from napari_noise2self.engine.config import Device, Network, Output, TrainingConfig
from napari_noise2self.engine.events import Control, Event, Notice, TrainingEvent
from napari_noise2self.engine.hardware import release_memory
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.model import Denoiser, Progress
from napari_noise2self.engine.partition import Grid


@dataclass(frozen=True)
class Result:
    """What the main job ends with.

    Attributes
    ----------
    image : ndarray of float32
        Denoised, in the shape and the grey values of the source.
    denoiser : Denoiser
    complete : bool
        False if it was stopped before every frame was denoised.
    info : dict
        How it was made, ready for JSON.
    """

    image: NDArray[np.float32]
    denoiser: Denoiser
    complete: bool
    info: dict[str, Any]


def denoise_events(
    image: Any,
    *,
    axes: str | None = None,
    config: TrainingConfig | None = None,
    network: nn.Module | None = None,
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
    steps = 0
    training = denoiser.train(image, axes, control=control, out=out)
    trained = False
    try:
        while True:
            event = next(training)
            if isinstance(event, TrainingEvent):
                steps = event.steps
            yield event
    except StopIteration as stop:
        trained = stop.value
    finally:
        training.close()
        release_memory()
    if not trained:
        return None
    if control.stopped:
        control.renew()
        yield Notice(
            f"Training was stopped after {denoiser.summary['steps']} of {steps} steps; the image "
            f"is denoised with what was learned."
        )
    restored, complete = yield from denoiser.predict_events(image, axes, control=control, out=out)
    layout = Layout.of(image.shape, axes, denoiser.config.volume)
    score = denoiser.summary["score"]
    info = {
        "version": version("napari-noise2self"),
        **denoiser.summary,
        "score": score if math.isfinite(score) else None,
        "seconds": round(time.monotonic() - began, 3),
        "output": denoiser.resolved_output(),
        "axes": layout.axes,
        "complete": complete,
        "settings": denoiser.config.model_dump(mode="json"),
    }
    return Result(restored, denoiser, complete, info)


def denoise(
    image: Any,
    *,
    axes: str | None = None,
    partition: Grid | None = None,
    network: Network | nn.Module = "unet",
    epochs: float | None = None,
    output: Output = "auto",
    device: Device = "auto",
    seed: int = 0,
    volume: bool = False,
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
    partition : Grid, optional
        The partition J; by default a grid of width 4.
    network : {"unet", "dncnn"} or torch.nn.Module
    epochs : float, optional
        One epoch draws as many targets as the data has pixels; by default
        the length is planned from the data.
    output : {"auto", "single-pass", "j-invariant"}
        See `Denoiser.predict`.
    device : {"auto", "cuda", "mps", "cpu"}
    seed : int
    volume : bool
        Denoise Z as a third spatial axis instead of slice by slice.
    progress : callable, optional
        Called with every event.

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
    )
    denoiser = Denoiser(config, custom).fit(image, axes, progress=progress)
    return denoiser.predict(image, axes, progress=progress)
