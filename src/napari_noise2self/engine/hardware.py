"""Where the work runs: device, precision, memory."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from napari_noise2self.engine.errors import (
    DeviceError,
    EngineError,
    InputError,
    OutOfMemoryError,
    first_line,
)
from napari_noise2self.engine.memory import fits_in_memory as fits_in_memory
from napari_noise2self.engine.memory import memory_budget as memory_budget

# A block whose release raises glibc's thresholds as far as they go, which is to 32 MiB.
_LARGE_BLOCK = 31 * 2**20


def select_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple MPS, then the CPU.

    Raises
    ------
    DeviceError
        If the named device is not there.
    """
    present = {row["name"]: row for row in describe_devices()}
    if name == "auto":
        name = next(key for key in ("cuda", "mps", "cpu") if present[key]["available"])
    if name not in present:
        raise DeviceError(f"The device {name!r} is unknown: use auto, cuda, mps or cpu.")
    if not present[name]["available"]:
        raise DeviceError(
            f"The device {name!r} was asked for, but PyTorch {torch.__version__} finds none here: "
            f"use the device 'auto' or 'cpu', or install a PyTorch that supports it."
        )
    return torch.device(name)


def describe_devices() -> list[dict[str, str | bool]]:
    """The kinds of device PyTorch knows, whether each is there, and what it is."""
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    return [
        {
            "name": "cuda",
            "available": cuda,
            "description": torch.cuda.get_device_name() if cuda else "no CUDA device",
        },
        {
            "name": "mps",
            "available": mps,
            "description": "Apple GPU" if mps else "no Apple GPU",
        },
        {
            "name": "cpu",
            "available": True,
            "description": f"{platform.machine()}, {torch.get_num_threads()} threads",
        },
    ]


def fast_dtype(device: torch.device) -> torch.dtype | None:
    """The type that makes convolutions faster than float32 on `device`, if any."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu":
        # PyTorch has no public question for this; without the instructions
        # bfloat16 is emulated and slower than float32.
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            if getattr(torch.cpu, name, bool)():
                return torch.bfloat16
    return None


def release_memory() -> None:
    """Give back what PyTorch keeps of the memory of the GPU for later."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the host ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def place(network: nn.Module, device: torch.device, ndim: int) -> nn.Module:
    """Move a network to `device`, in the memory order that makes convolutions fast."""
    network = network.to(device)
    if device.type == "cpu":
        _keep_freed_memory()
    if ndim == 2 or all(weight.ndim < 5 for weight in network.parameters()):
        # In 3-D the same order makes convolutions on a CPU three times slower.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed, for the next step, instead of giving it back to the system.

    Every step takes and frees the same few dozen megabytes, and fresh pages
    cost a fifth of its time.  glibc learns from what is freed: once a large
    block was, blocks of up to its size are kept ("dynamic mmap threshold" in
    mallopt(3)).  Other allocators are not concerned.
    """
    np.empty(_LARGE_BLOCK, np.uint8)


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn what PyTorch and lazy arrays raise into errors of this package.

    napari's generator workers swallow a RuntimeError, and CUDA's
    out-of-memory error is one.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The image could not be read ({first_line(error)}): check that its file is still "
            f"there."
        ) from error
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"The memory was not enough ({first_line(error)}): close other programs, use a "
                f"smaller crop size, or use the device 'cpu'."
            ) from error
        raise EngineError(
            f"PyTorch failed ({first_line(error)}): try the device 'cpu'; if that fails too, "
            f"please report it."
        ) from error
