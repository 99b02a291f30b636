"""A trained denoiser: weights, settings and normalisation, saved and loaded."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from napari_noise2self.engine import networks, training
from napari_noise2self.engine.config import Output, TrainingConfig
from napari_noise2self.engine.errors import (
    EngineError,
    InputError,
    ModelFileError,
    OutOfMemoryError,
)
from napari_noise2self.engine.events import (
    INTERVAL,
    Control,
    Event,
    Notice,
    PredictionEvent,
    TrainingEvent,
)
from napari_noise2self.engine.hardware import fast_dtype, is_out_of_memory, select_device
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.partition import Grid
from napari_noise2self.engine.prediction import Predictor
from napari_noise2self.engine.preparation import (
    Normalisation,
    TrainingData,
    check_image,
    fill_bad,
    find_bad,
    prepare,
)

FORMAT = 1
# The score after training is taken on as many pixels of the data as this, at most.
FINAL_SCORE_PIXELS = 2**22

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
    network : torch.nn.Module or None
        None before training.
    summary : dict
        How it was trained: partition, network, epochs, steps, seconds,
        device, score.  Empty before training.

    Examples
    --------
    >>> denoiser = Denoiser().fit(noisy)  # doctest: +SKIP
    >>> clean = denoiser.predict(noisy)  # doctest: +SKIP
    """

    def __init__(
        self, config: TrainingConfig | None = None, network: nn.Module | None = None
    ) -> None:
        config = config or TrainingConfig()
        if network is not None:
            config = config.model_copy(update={"network": "custom"})
        elif config.network == "custom":
            raise InputError(
                "The network 'custom' was asked for without a network: pass a torch.nn.Module, or "
                "use the network 'unet' or 'dncnn'."
            )
        self.config = config
        self.network: nn.Module | None = None
        self.summary: dict[str, Any] = {}
        self._custom = network
        self._normalisation: Normalisation | None = None
        self._partition: Grid | None = None
        self._ndim = 0

    # ---------------------------------------------------------------- training

    def fit(
        self,
        image: Any,
        axes: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> Denoiser:
        """Train on an image, a stack, or a list of them.

        Parameters
        ----------
        image : array_like or list of array_like
            numpy or dask; any integer or floating-point type.
        axes : str, optional
            One letter per axis, such as "TZYX"; by default the last two axes
            are YX and leading ones are frames.
        progress : callable, optional
            Called with every event.

        Returns
        -------
        self : Denoiser

        Raises
        ------
        InputError
            If the image or its axes cannot be used.
        DeviceError, OutOfMemoryError, EngineError
            If the device is missing, too small, or fails.
        """
        for event in self.train(image, axes):
            if progress is not None:
                progress(event)
        return self

    def train(
        self,
        image: Any,
        axes: str | None = None,
        *,
        control: Control | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Generator[Notice | TrainingEvent, None, bool]:
        """Train as `fit` does, step by step.

        Parameters
        ----------
        image, axes
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
        images = [_as_array(i) for i in (image if isinstance(image, list) else [image])]
        if not images:
            raise InputError("The list of images is empty: give at least one image.")
        layouts = [Layout.of(i.shape, axes, self.config.volume) for i in images]
        for layout in layouts[1:]:
            if layout.channels != layouts[0].channels:
                raise InputError(
                    f"The images have {layouts[0].channels} and {layout.channels} channels: one "
                    f"network needs images with the same number of channels."
                )
        with _engine_errors():
            began = time.monotonic()
            device = select_device(self.config.device)
            data = prepare(list(zip(images, layouts, strict=True)))
            for message in data.notices:
                yield Notice(message)
            if control.stopped:
                return False
            ndim = layouts[0].ndim
            partition = self.config.resolved_partition(ndim)
            _check_partition(partition, data, layouts[0])
            network = self._custom
            if network is None:
                network = networks.build(self.config, layouts[0].channels, ndim, self.config.seed)
            network = _placed(network, device, ndim)
            sampler = training.Sampler(data, partition, self.config, device)
            length = training.plan(self.config, data.pixels, sampler, device)
            scale = torch.tensor(data.normalisation.scale).reshape(-1, *[1] * ndim).square()
            preview = None
            if out is not None and len(images) == 1:
                preview = _Preview(
                    images[0], layouts[0], data.normalisation, partition, device, control, out
                )
            steps = yield from training.train(
                network, sampler, length, self.config, scale, control, preview
            )
            if not steps:
                return False
            self.network = network
            self._normalisation = data.normalisation
            self._partition = partition
            self._ndim = ndim
            self.summary = {
                "partition": {
                    "kind": "grid",
                    "width": list(partition.widths(ndim)),
                    "extent": list(partition.extents(ndim)),
                },
                "network": self.config.network,
                "epochs": round(length.epochs(steps), 4),
                "steps": steps,
                "device": device.type,
                "score": self._score_of(data),
                "seconds": round(time.monotonic() - began, 3),
            }
        return True

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
        output : {"auto", "single-pass", "j-invariant"}
            "single-pass" is the network on the untouched image; "j-invariant"
            predicts every pixel without looking at it; "auto" takes the
            single pass where the partition hides single pixels, and the
            J-invariant output where it hides blocks, because the noise is
            then correlated and the single pass would keep some of it.
        progress : callable, optional
            Called with every event.

        Returns
        -------
        denoised : ndarray of float32, shape of `image`
            A dask array, computed frame by frame, if `image` is one.
        """
        array = _as_array(image)
        if type(array).__module__.startswith("dask."):
            layout = Layout.of(array.shape, axes, self.config.volume)
            self._check(array, layout)
            chunks = {
                axis: 1 if letter in layout.frame_axes else -1
                for axis, letter in enumerate(layout.axes)
            }
            return array.rechunk(chunks).map_blocks(
                self.predict, layout.axes, output, dtype=np.float32, meta=np.empty(0, np.float32)
            )
        events = self.predict_events(array, axes, output)
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return stop.value[0]
            if progress is not None:
                progress(event)

    def predict_events(
        self,
        image: Any,
        axes: str | None = None,
        output: Output = "auto",
        *,
        control: Control | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Generator[PredictionEvent, None, tuple[NDArray[np.float32], bool]]:
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
        event : PredictionEvent

        Returns
        -------
        denoised : ndarray of float32
        complete : bool
            Whether every frame was denoised.
        """
        control = control or Control()
        image = _as_array(image)
        layout = Layout.of(image.shape, axes, self.config.volume)
        network, normalisation, partition = self._check(image, layout)
        with _engine_errors():
            device = next(network.parameters()).device
            predictor = Predictor(network, partition, device, averaging=self.config.averaging)
            apply = (
                predictor.single_pass
                if self.resolved_output(output) == "single-pass"
                else predictor.j_invariant
            )
            if out is None:
                out = np.full(layout.shape, np.nan, np.float32)
            began = last = time.monotonic()
            # The frame in view first.
            order = sorted(range(layout.frames), key=lambda frame: frame != control.preview_frame)
            for number, frame in enumerate(order):
                raw, clean, missing = _read(image, layout, normalisation, frame)
                fraction = 0.0
                for part in apply(clean):
                    while control.paused:
                        control.wait_while_paused(INTERVAL)
                        yield _prediction_event(began, (number + fraction) / len(order))
                    if control.stopped:
                        return out, False
                    if isinstance(part, np.ndarray):
                        result = normalisation.invert(part)
                        result[missing] = raw[missing]
                        layout.write(out, frame, result)
                        yield _prediction_event(began, (number + 1) / len(order), frame)
                        last = time.monotonic()
                        continue
                    fraction = part
                    if time.monotonic() - last >= INTERVAL:
                        yield _prediction_event(began, (number + fraction) / len(order))
                        last = time.monotonic()
        return out, True

    def resolved_output(self, output: Output = "auto") -> str:
        """The output that "auto" stands for with this denoiser's partition."""
        if output == "auto":
            output = self.config.output
        if output != "auto":
            return output
        partition = self._partition
        if partition is None or set(partition.extents(self._ndim)) == {1}:
            return "single-pass"
        return "j-invariant"

    def score(self, image: Any, axes: str | None = None) -> float:
        """The self-supervised score on an image.

        It is the mean squared error of the J-invariant prediction at the
        held-out positions, which were never targets: for noise that is
        independent between pixels, its true mean squared error plus the
        variance of the noise (Proposition 1 of the paper).

        Parameters
        ----------
        image, axes
            As for `predict`.

        Returns
        -------
        score : float
            In squared grey values; smaller is better.
        """
        image = _as_array(image)
        layout = Layout.of(image.shape, axes, self.config.volume)
        _, normalisation, _ = self._check(image, layout)
        with _engine_errors():
            total, count = 0.0, 0
            for frame in range(layout.frames):
                raw, clean, _ = _read(image, layout, normalisation, frame)
                missing, hot = find_bad(raw)
                part, number = self._squared_errors(clean, ~(missing | hot), (0,) * layout.ndim)
                total, count = total + part, count + number
        return total / count if count else math.nan

    def _score_of(self, data: TrainingData) -> float:
        """The score on the data it was trained on, or on blocks spread over it."""
        sizes = [block.values[0].size for block in data.blocks]
        most = max(FINAL_SCORE_PIXELS // max(sizes), 1)
        chosen = np.unique(np.linspace(0, len(sizes) - 1, min(most, len(sizes))).astype(int))
        total, count = 0.0, 0
        for number in chosen:
            block = data.blocks[number]
            part, positions = self._squared_errors(block.values, block.valid, block.origin)
            total, count = total + part, count + positions
        return total / count if count else math.nan

    def _squared_errors(
        self, values: NDArray[np.float32], valid: NDArray[np.bool_], origin: Sequence[int]
    ) -> tuple[float, int]:
        """Sum of the squared errors at held-out positions, and how many there are."""
        assert self.network is not None
        assert self._partition is not None
        assert self._normalisation is not None
        device = next(self.network.parameters()).device
        subset = self._partition.held_out_subset(self._ndim)
        predicted = Predictor(self.network, self._partition, device).subset(values, subset, origin)
        chosen = self._partition.held_out(values.shape[1:], origin) & valid
        total = 0.0
        for channel, scale in enumerate(self._normalisation.scale):
            where = chosen[channel]
            error = (predicted[channel][where] - values[channel][where]).astype(np.float64)
            total += float(np.dot(error, error)) * scale**2
        return total, int(chosen.sum())

    def _check(self, image: Any, layout: Layout) -> tuple[nn.Module, Normalisation, Grid]:
        if self.network is None or self._normalisation is None or self._partition is None:
            raise InputError("The denoiser has not been trained: call fit first, or load a model.")
        check_image(image, layout)
        trained = len(self._normalisation.offset)
        if layout.channels != trained:
            raise InputError(
                f"The image has {layout.channels} channels, but the model was trained on "
                f"{trained}: give an image with {trained}, or name its axes."
            )
        return self.network, self._normalisation, self._partition

    # ------------------------------------------------------------------- files

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
        if self.network is None or self._normalisation is None or self._partition is None:
            raise InputError("The denoiser has not been trained: there is nothing to save.")
        description = {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "partition": {
                "kind": "grid",
                "width": self._partition.width,
                "extent": self._partition.extent,
            },
            "ndim": self._ndim,
            "normalisation": {
                "offset": self._normalisation.offset,
                "scale": self._normalisation.scale,
            },
            "summary": self.summary,
        }
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.state_dict().items()
        }
        try:
            safetensors.torch.save_file(
                weights, partial, metadata={"noise2self": json.dumps(description)}
            )
            partial.replace(target)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise ModelFileError(
                f"The model could not be written to {target}: {error}. Choose a folder that "
                f"exists and that you may write to."
            ) from error

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
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            description = json.loads(metadata["noise2self"])
            if description["format"] > FORMAT:
                raise ModelFileError(
                    f"The model {path} was written by a newer version of this package: update it."
                )
            config = TrainingConfig(**{**description["config"], "device": device})
            normalisation = Normalisation(
                tuple(description["normalisation"]["offset"]),
                tuple(description["normalisation"]["scale"]),
            )
            partition = Grid(description["partition"]["width"], description["partition"]["extent"])
            ndim = int(description["ndim"])
            if config.network == "custom" and network is None:
                raise ModelFileError(
                    f"The model {path} was trained with a network of its author's: pass it as "
                    f"`network`."
                )
            if network is None:
                network = networks.build(config, len(normalisation.offset), ndim, 0)
            network.load_state_dict(weights)
        except FileNotFoundError:
            raise ModelFileError(f"There is no model file {path}.") from None
        except (
            OSError,
            SafetensorError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:
            raise ModelFileError(
                f"{path} is not a model of napari-noise2self, or is damaged ({error}): choose a "
                f".safetensors file that this package has written."
            ) from error
        denoiser = cls(config, network if config.network == "custom" else None)
        denoiser.network = _placed(network, select_device(device), ndim).eval()
        denoiser._normalisation = normalisation
        denoiser._partition = partition
        denoiser._ndim = ndim
        denoiser.summary = description["summary"]
        return denoiser


class _Preview:
    """Fills the frame in view with what the network can do by now."""

    def __init__(
        self,
        image: Any,
        layout: Layout,
        normalisation: Normalisation,
        partition: Grid,
        device: torch.device,
        control: Control,
        out: NDArray[np.float32],
    ) -> None:
        self.image, self.layout, self.normalisation = image, layout, normalisation
        self.partition, self.device = partition, device
        self.control, self.out = control, out
        self._frame: int | None = None
        self._clean: tuple[NDArray[Any], NDArray[np.float32], NDArray[np.bool_]] | None = None

    def __call__(self, network: nn.Module) -> int | None:
        frame = self.control.preview_frame
        if frame is None:
            return None
        if self._clean is None or frame != self._frame:
            self._clean = _read(self.image, self.layout, self.normalisation, frame)
            self._frame = frame
        raw, clean, missing = self._clean
        predictor = Predictor(
            network, self.partition, self.device, averaging=False, dtype=fast_dtype(self.device)
        )
        for part in predictor.single_pass(clean):
            if self.control.stopped:
                return None
            if isinstance(part, np.ndarray):
                result = self.normalisation.invert(part)
                result[missing] = raw[missing]
                self.layout.write(self.out, frame, result)
        return frame


def _as_array(image: Any) -> Any:
    """What can be indexed lazily as it is; anything else as a numpy array."""
    if hasattr(image, "shape") and hasattr(image, "dtype") and hasattr(image, "__getitem__"):
        return image
    return np.asarray(image)


def _check_partition(partition: Grid, data: TrainingData, layout: Layout) -> None:
    widths = partition.widths(layout.ndim)
    for block in data.blocks:
        for axis, size, width in zip(
            layout.spatial_axes, block.values.shape[1:], widths, strict=True
        ):
            if size < 2 * width and size > 1:
                raise InputError(
                    f"The grid width {width} is too large for {size} pixels along {axis}: use a "
                    f"width of at most {size // 2} there."
                )


def _placed(network: nn.Module, device: torch.device, ndim: int) -> nn.Module:
    layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    return network.to(device).to(memory_format=layout)  # type: ignore[call-overload,no-any-return]


def _read(
    image: Any, layout: Layout, normalisation: Normalisation, frame: int
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.bool_]]:
    """A frame as it is, cleaned and normalised, and where it has no grey value."""
    raw = layout.read(image, frame)
    missing, hot = find_bad(raw)
    clean = normalisation.apply(fill_bad(raw, missing | hot))
    return raw, clean, missing


def _prediction_event(began: float, fraction: float, frame: int | None = None) -> PredictionEvent:
    seconds = time.monotonic() - began
    left = seconds * (1 - fraction) / fraction if fraction else math.nan
    return PredictionEvent(fraction, seconds, left, frame)


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    """Turn what PyTorch raises into errors of this package.

    napari's generator workers swallow a RuntimeError, and CUDA's
    out-of-memory error is one.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"The memory was not enough ({_first_line(error)}): close other programs, use a "
                f"smaller crop size, or use the device 'cpu'."
            ) from error
        raise EngineError(
            f"PyTorch failed ({_first_line(error)}): try the device 'cpu'; if that fails too, "
            f"please report it."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
