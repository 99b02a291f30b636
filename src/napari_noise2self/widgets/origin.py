"""What the file of a layer says that the layer does not: napari's own readers keep pixels alone."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_noise2self.stacks.axes import LETTER_OF
from napari_noise2self.widgets.task import Task

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_noise2self.stacks.stack import Stack

logger = logging.getLogger(__name__)

_found: weakref.WeakKeyDictionary[Image, Stack | None] = weakref.WeakKeyDictionary()


def origin_of(layer: Image) -> Stack | None:
    """The file that a layer was read from, if the layer says nothing by itself.

    The file is looked at in a thread, because it may lie far away: the first
    answer is None, and the layer emits `events.metadata` when there is another one.

    Parameters
    ----------
    layer : Image

    Returns
    -------
    stack : Stack or None
        Of the shape of the layer; its data are not to be used.
    """
    path = layer.source.path
    if not path or not _says_nothing(layer):
        return None
    if layer not in _found:
        _found[layer] = None
        if threading.current_thread() is threading.main_thread() and Path(path).exists():
            layer_of = weakref.ref(layer)
            Task(
                _read,
                Path(path),
                on_result=partial(_take, layer_of),
                on_error=_forget,
                on_end=lambda task: None,
            )
    stack = _found[layer]
    data = layer.data[0] if layer.multiscale else layer.data
    # A fourth sample of colours is opacity, which is no part of a stack.
    same = stack is not None and stack.shape[: layer.ndim] == tuple(data.shape)[: layer.ndim]
    return stack if same and layer.rgb == (stack is not None and "S" in stack.axes) else None


def _says_nothing(layer: Image) -> bool:
    return (
        not any(label.strip().lower() in LETTER_OF for label in layer.axis_labels)
        and all(str(unit) == "pixel" for unit in layer.units)
        and bool(np.all(layer.scale == 1))
    )


def _read(path: Path, dropped: Callable[[], bool]) -> Generator[Stack, None, None]:
    from napari_noise2self.stacks.reading import read

    # napari has opened it as it is; here it is asked for its metadata alone.
    yield read(path, empty_chunks=True)


def _take(layer_of: weakref.ref[Image], stack: Stack) -> None:
    layer = layer_of()
    if layer is not None:
        _found[layer] = stack
        # Only so do the docks look again.
        layer.events.metadata()


def _forget(error: Exception) -> None:
    logger.debug("the file of a layer could not be read: %s", error)
