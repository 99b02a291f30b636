"""Many images to train one network on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.errors import InputError, Noise2SelfError
from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.many import Input
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack


@dataclass(frozen=True)
class TrainingSet:
    """Images that one network can be trained on.

    Attributes
    ----------
    inputs : tuple of Input
        The files.
    stacks : tuple of Stack
        What they hold, lazily.
    left_out : tuple of str
        One sentence for each file that was found, but cannot be read.
    """

    inputs: tuple[Input, ...]
    stacks: tuple[Stack, ...]
    left_out: tuple[str, ...] = ()


def read_training_set(
    inputs: Sequence[Input],
    axes: str | None = None,
    *,
    config: TrainingConfig | None = None,
    empty_chunks: bool = False,
) -> TrainingSet:
    """Read images that are to be trained on together.

    Parameters
    ----------
    inputs : sequence of Input
    axes : str, optional
        One letter per axis of every image, where files are wrong or silent.
    config : TrainingConfig, optional
        The settings, which say what axes are needed.
    empty_chunks : bool
        As for `reading.read`.

    Returns
    -------
    images : TrainingSet

    Raises
    ------
    InputError
        If one that was named cannot be read, none can, or one cannot be
        denoised like the first; the sentence names the file.
    """
    used: list[Input] = []
    stacks: list[Stack] = []
    left_out: list[str] = []
    config = config or TrainingConfig()
    first: Layout | None = None
    for given in inputs:
        try:
            stack = read(given.path, axes, empty_chunks=empty_chunks)
        except Noise2SelfError as error:
            if given.named:
                raise _named(given, error) from error
            left_out.append(str(_named(given, error)))
            continue
        try:
            layout = config.layout(stack.shape, stack.axes)
        except InputError as error:
            raise _named(given, error) from error
        first = first or layout
        if layout.channels != first.channels:
            raise InputError(
                f"{given.path} has {_channels(layout)} ({_sizes(layout)}), but {used[0].path} has "
                f"{_channels(first)} ({_sizes(first)}): one network needs the same number, so "
                f"leave one out, or name the axes (--axes in the terminal)."
            )
        used.append(given)
        stacks.append(stack)
    if not stacks:
        raise InputError(f"None of the {len(inputs)} files can be read: {left_out[0]}")
    return TrainingSet(tuple(used), tuple(stacks), tuple(left_out))


def _named(given: Input, error: Noise2SelfError) -> InputError:
    """The error with the name of the file, if it does not have it."""
    text = str(error)
    return InputError(text if given.path in text else f"{given.path}: {text}")


def _channels(layout: Layout) -> str:
    return "1 channel" if layout.channels == 1 else f"{layout.channels} channels"


def _sizes(layout: Layout) -> str:
    return " ".join(f"{letter}={layout.size(letter)}" for letter in layout.axes)
