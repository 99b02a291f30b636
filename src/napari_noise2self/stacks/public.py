"""Public microscopy, fetched when it is asked for and then kept in the user's cache.

Every file is named by an address that does not change and by its SHA-256:
what comes from the network is what was published, or is refused.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import DownloadError, InputError
from napari_noise2self.stacks.reading import read
from napari_noise2self.stacks.stack import Stack

# Where files are kept instead of the cache of the user's account.
CACHE_VARIABLE = "NOISE2SELF_CACHE"
# Seconds without a sign of life from a server.
_TIMEOUT = 20
# Bytes that are taken from it at once.
_AT_ONCE = 2**14

_log = logging.getLogger(__name__)

_FMD = (
    "https://raw.githubusercontent.com/Danielement321/FM2S/"
    "afc05d8d80255817b17ad159d83ae850ba431a93/data/FMD_testset"
)
_NEUBIAS = "https://raw.githubusercontent.com/NEUBIAS/training-resources"
_FMD_CITATION = (
    "Y. Zhang et al., A Poisson-Gaussian Denoising Dataset with Real Fluorescence Microscopy "
    "Images, CVPR 2019, doi:10.7274/r0-ed2r-4052"
)
_NEUBIAS_CITATION = "NEUBIAS training resources, © European Molecular Biology Laboratory"


@dataclass(frozen=True)
class File:
    """A file in the network.

    Attributes
    ----------
    url : str
    sha256 : str
    megabytes : float
    """

    url: str
    sha256: str
    megabytes: float

    @property
    def name(self) -> str:
        """What it is called in the cache."""
        return f"{self.sha256[:8]}-{self.url.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class PublicImage:
    """An image that somebody has published.

    Attributes
    ----------
    title : str
    noisy : File
    licence : str
    citation : str
        Whom to credit.
    truth : File, optional
        The same without noise.
    axes, scale, units, channel_names
        What the file does not say, as in `Stack`.
    """

    title: str
    noisy: File
    licence: str
    citation: str
    truth: File | None = None
    axes: str | None = None
    scale: tuple[float | None, ...] | None = None
    units: tuple[str | None, ...] | None = None
    channel_names: tuple[str, ...] | None = None

    @property
    def files(self) -> tuple[File, ...]:
        """All that it consists of."""
        return (self.noisy,) if self.truth is None else (self.noisy, self.truth)

    def credit(self) -> str:
        """One sentence: what it is, under which licence, and whom to credit."""
        return f"{self.title}: licence {self.licence}, please cite {self.citation}."


@dataclass(frozen=True)
class Fetched:
    """A public image that has arrived.

    Attributes
    ----------
    noisy : Stack
    truth : ndarray or None
        The same without noise, if it was published.
    about : PublicImage
    """

    noisy: Stack
    truth: NDArray[Any] | None
    about: PublicImage


IMAGES: dict[str, PublicImage] = {
    "brain": PublicImage(
        title="Mouse brain, confocal",
        noisy=File(
            f"{_FMD}/raw/Confocal_MICE_1.png",
            "5577d24a3ab5148b637b680b7ff78bd6b5c22ee9e94820fd1de8b9b9e3d72d19",
            0.2,
        ),
        truth=File(
            f"{_FMD}/gt/Confocal_MICE_1.png",
            "166afe8690dc85ff2c7a6423c09281d4212145abe7637ab771dd9fb3166e03c4",
            0.1,
        ),
        licence="CC BY-SA 4.0",
        citation=_FMD_CITATION,
    ),
    "endothelium": PublicImage(
        title="Endothelial cells, wide-field, correlated noise",
        noisy=File(
            f"{_FMD}/raw/WideField_BPAE_R_1.png",
            "b7def0a54e84a7debb743d7a130a79856f88c2a36226b20d84a12b50a3b10f57",
            0.2,
        ),
        truth=File(
            f"{_FMD}/gt/WideField_BPAE_R_1.png",
            "bbfd20d8b47a58d7cd8704da5dc7e4e8e6eb9e5a73654808f05425a84700b9c1",
            0.1,
        ),
        licence="CC BY-SA 4.0",
        citation=_FMD_CITATION,
    ),
    "secretion": PublicImage(
        title="Cells with labelled ER exit sites, wide-field",
        noisy=File(
            f"{_NEUBIAS}/f9131aaba67002e66b9c286efc6a42f35d5f59bb/image_data/"
            "xy_calibrated_16bit__cells_eres_noisy.tif",
            "962e0bf6e7ad6b318da34e62524a3de44f57e5cdced74d54f325ae906e960a34",
            0.5,
        ),
        licence="CC BY 4.0",
        citation=_NEUBIAS_CITATION,
    ),
    "envelope": PublicImage(
        title="Nuclear envelope in Drosophila (Z stack), confocal",
        noisy=File(
            f"{_NEUBIAS}/7b9a1ad1d504ad51dc44a1fecf898c13e927a6ba/image_data/"
            "xyz_nuclear_envelope_drosophila.tif",
            "6cdd66917a2478b96792ad722a204f14bbf4f499fe9ebdd37769a3c3d5804a0c",
            1.0,
        ),
        licence="CC BY 4.0",
        citation=_NEUBIAS_CITATION,
    ),
    "kidney": PublicImage(
        title="Mouse kidney (three channels, Z stack), confocal",
        noisy=File(
            "https://gitlab.com/scikit-image/data/-/raw/"
            "2cdc5ce89b334d28f06a58c9f0ca21aa6992a5ba/kidney-tissue-fluorescence.tif",
            "80c0799bc58b08cf6eaa53ecd202305eb42fd7bc73746cb6c5064dbeae7e8476",
            25.0,
        ),
        licence="CC0",
        citation="G. Buckley, Monash Micro Imaging, 2018, in the data of scikit-image",
        axes="ZYXC",
        scale=(1.25, 1.24, 1.24, None),
        units=("µm", "µm", "µm", None),
        channel_names=("450 nm", "515 nm", "605 nm"),
    ),
}


def fetch(key: str, progress: Callable[[float], None] | None = None) -> Fetched:
    """A public image, from the cache or else from the network.

    Parameters
    ----------
    key : str
        One of `IMAGES`.
    progress : callable, optional
        Called with the share that has arrived, from the moment when the network is asked
        for a file; never called if all of it is in the cache.  An exception of its own
        class ends the download, of which nothing is kept.

    Returns
    -------
    fetched : Fetched

    Raises
    ------
    InputError
        If there is no such image.
    DownloadError
        If it cannot be fetched, is not what was published, or cannot be kept.
    """
    if key not in IMAGES:
        raise InputError(f"There is no public image {key!r}: use one of {', '.join(IMAGES)}.")
    about = IMAGES[key]
    local = _local_files(about, progress or _unheard)
    noisy = read(local[0], about.axes)
    known = {
        name: value
        for name in ("scale", "units", "channel_names")
        if (value := getattr(about, name)) is not None
    }
    # Kept in memory: files in a cache may be cleared while they are looked at.
    noisy = dataclasses.replace(noisy, data=np.asarray(noisy.data), name=about.title, **known)
    truth = None if about.truth is None else np.asarray(read(local[1]).data)
    _log.info(about.credit())
    return Fetched(noisy, truth, about)


def _unheard(share: float) -> None:
    """Progress that nobody asked for."""


def _local_files(about: PublicImage, progress: Callable[[float], None]) -> list[Path]:
    """All files of an image, in the cache; `progress` is called as by `fetch`."""
    whole = sum(file.megabytes for file in about.files)
    local, before = [], 0.0
    for file in about.files:
        local.append(_local(file, _part(progress, before / whole, file.megabytes / whole)))
        before += file.megabytes
    return local


def _part(progress: Callable[[float], None], begin: float, share: float) -> Callable[[float], None]:
    """Progress of a part of the work, told as that of the whole."""
    return lambda done: progress(begin + share * done)


class _Meter:
    """Counts what arrives of a file, as pooch expects it of a progress bar.

    Parameters
    ----------
    file : File
    progress : callable
        Called with the share that has arrived.

    Attributes
    ----------
    total : int
        Bytes; pooch sets it to what the server says, or to 0 where it says nothing.
    """

    def __init__(self, file: File, progress: Callable[[float], None]) -> None:
        self.total = 0
        self._expected = file.megabytes * 1e6
        self._arrived = 0
        self._progress = progress

    def update(self, size: int) -> None:
        """So many more bytes are here."""
        self._arrived += size
        self._progress(min(self._arrived / (self.total or self._expected), 1.0))

    def reset(self) -> None:
        """Nothing: pooch counts once more from zero when all is here, which would look odd."""

    def close(self) -> None:
        """Nothing; pooch calls it in the end."""


def _local(file: File, progress: Callable[[float], None]) -> Path:
    """The file in the cache, fetched if it is not there or is not whole.

    `progress` is called as by `fetch`, with the share of this file.
    """
    import pooch
    from requests.exceptions import HTTPError, RequestException

    keeper = pooch.create(
        path=pooch.os_cache("napari-noise2self"),
        base_url="",
        registry={file.name: f"sha256:{file.sha256}"},
        urls={file.name: file.url},
        env=CACHE_VARIABLE,
    )
    host = urlsplit(file.url).netloc

    def download(*arguments: Any) -> None:
        progress(0.0)
        pooch.HTTPDownloader(
            progressbar=_Meter(file, progress), chunk_size=_AT_ONCE, timeout=_TIMEOUT
        )(*arguments)

    try:
        return Path(keeper.fetch(file.name, downloader=download))
    except HTTPError as error:
        status = "" if error.response is None else f" (status {error.response.status_code})"
        raise DownloadError(
            f"{host} does not have {file.url} any more{status}: please report it, and use a "
            f"simulated sample in the meantime."
        ) from error
    except RequestException as error:
        raise DownloadError(
            f"The image could not be fetched from {host}: connect to the internet and try again, "
            f"or use a simulated sample."
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"What came from {file.url} is not the file that was published (its checksum differs), "
            f"and was not kept: try again later, or from another network."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"The image could not be kept in {keeper.abspath} ({error.strerror or error}): name a "
            f"folder that you may write to in the environment variable {CACHE_VARIABLE}."
        ) from error
