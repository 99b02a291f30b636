"""Which of several images in one file is meant: ``scan.lif#2`` or ``scan.lif#Series003``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_noise2self.engine.errors import InputError

_MOST_NAMES = 20


def split_choice(path: str | Path) -> tuple[Path, str | None]:
    """A path as the file, and which image in it somebody means.

    Parameters
    ----------
    path : str or path
        A file; behind ``#`` there can be the number, from 1, or the name of
        an image in it.

    Returns
    -------
    file : Path
    image : str or None
        None if the path names none: what is called so on the disk is a file,
        whatever its name holds.
    """
    # As text: names of images may hold slashes, which a path object would read.
    parts = str(path).split("#")
    if len(parts) > 1 and not Path(path).exists():
        for end in range(len(parts) - 1, 0, -1):
            file = Path("#".join(parts[:end]))
            if file.is_file():
                return file, "#".join(parts[end:])
    return Path(path), None


def choose(
    path: Path, names: Sequence[str], image: str | None, notices: list[str], default: int = 0
) -> tuple[int, str]:
    """The image of a file that is meant.

    Parameters
    ----------
    path : Path
        The file.
    names : sequence of str
        One per image, empty where it has none.
    image : str or None
        What `split_choice` found; a number counts as such even if an image is called so.
    notices : list of str
        Takes the sentence that others are left out, where nobody chose.
    default : int
        The image where nobody chose, from 0: the first that lies in this very file.

    Returns
    -------
    number : int
        From 0.
    label : str
        What to add to the name of the file, so that it tells this image from the others.

    Raises
    ------
    InputError
        If there is no such image, or several are called so.
    """
    count = len(names)
    if image is None:
        if default:
            own = f"{default + 1} {names[default]}".strip()
            notices.append(
                f"{path} describes {count} images: {own} is used, the first that lies in this "
                f"file; give {path}#1 for the first of all."
            )
        elif count > 1:
            told = f" or {path}#{names[1]}" if names.count(names[1]) == 1 and names[1] else ""
            notices.append(
                f"{path} holds {count} images: the first is used; give {path}#2{told} for the next."
            )
        return default, ""
    if image.isdecimal() and 1 <= int(image) <= count:
        number = int(image) - 1
    else:
        alike = [at for at, name in enumerate(names) if name == image and name]
        if len(alike) > 1:
            numbers = " or ".join(f"{path}#{at + 1}" for at in alike)
            raise InputError(f"{path} holds {len(alike)} images called {image!r}: give {numbers}.")
        if not alike:
            raise InputError(_no_such_image(path, names, image))
        number = alike[0]
    if count == 1:
        return number, ""
    name = names[number]
    label = name if name and names.count(name) == 1 else str(number + 1)
    return number, "_" + label.replace("/", "_").replace("\\", "_")


def _no_such_image(path: Path, names: Sequence[str], image: str) -> str:
    if len(names) == 1:
        return f"{path} holds 1 image, and none that is called {image!r}: give {path} alone."
    listed = ", ".join(f"{n} {name}".strip() for n, name in enumerate(names[:_MOST_NAMES], 1))
    more = ", …" if len(names) > _MOST_NAMES else ""
    return (
        f"{path} holds {len(names)} images, and none that is called {image!r}: give the number or "
        f"the name of one behind the # ({listed}{more})."
    )
