"""Files of one image among many: an OME-TIFF in several files is one image, whichever is opened."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from napari_noise2self.engine.errors import Noise2SelfError
from napari_noise2self.stacks.many import Found, Input
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.tiff_metadata import complaints_kept, files_beside

_ENDINGS = (".ome.tif", ".ome.tiff", ".ome.btf")


def without_parts(found: Found) -> Found:
    """Leave out files that hold a part of what another one of them stands for.

    Otherwise an image in ten files would be read, and denoised, ten times.

    Parameters
    ----------
    found : Found

    Returns
    -------
    found : Found
        With the files that were left out as `parts`.
    """
    held: set[str] = set()
    if len(found.inputs) > 1:
        for source in found.inputs:
            if os.path.realpath(source.path) not in held:
                held.update(_others(source))
    alone = [os.path.realpath(source.path) not in held for source in found.inputs]
    return replace(
        found,
        inputs=tuple(itertools.compress(found.inputs, alone)),
        parts=tuple(
            s.path for s, is_alone in zip(found.inputs, alone, strict=True) if not is_alone
        ),
    )


def parts_in_words(parts: Sequence[str]) -> str:
    """One sentence about the files that were left out.

    Parameters
    ----------
    parts : sequence of str
        As in `Found`; at least one.
    """
    names = [Path(part).name for part in parts]
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    what = "1 file is" if len(parts) == 1 else f"{len(parts)} files are"
    return f"{what} read as part of an image in several files, not alone: {some}."


def _others(source: Input) -> Iterator[str]:
    """The other files that hold planes of the image in this one."""
    import tifffile

    path = Path(source.path)
    if not path.name.lower().endswith(_ENDINGS) or not path.is_file():
        return
    # What cannot be read says so when it is its turn.
    with contextlib.suppress(Noise2SelfError, OSError, ValueError, SyntaxError):
        with complaints_kept(), tifffile.TiffFile(path) as tiff:
            xml = tiff.ome_metadata
        if files_beside(xml or ""):
            own = os.path.realpath(path)
            files = map(os.path.realpath, read(path, empty_chunks=True).data.sources)
            yield from (file for file in files if file != own)
