"""Classical filters, each with the parameters that are to be calibrated.

The families are those of Batson & Royer (2019), section 3.1: smoothness,
self-similarity, sparsity, compressibility.  A filter gets an image whose noise
has the standard deviation 1, so that strengths are multiples of the noise and
the same ranges fit every image; widths are in pixels.  Whatever a caller brings
along gets the image in its own grey values.

Libraries are imported when a filter runs, so that a list of names costs nothing.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.errors import InputError

Image = NDArray[Any]
# What a caller may ask for: names, filters, or functions with their ranges.
Filters = str | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A number that a filter depends on, and where to look for its best value.

    Attributes
    ----------
    name : str
    low, high : float
        Where the search starts; above 0 it goes by ratios.
    unit : {"σ", "px", ""}
        Multiples of the standard deviation of the noise, pixels, or neither.
    integer : bool
    limits : (float, float)
        How far the search may go beyond the range if the best value lies at its end.
    values : tuple, optional
        All values to try, instead of a range.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    integer: bool = False
    limits: tuple[float, float] = (-math.inf, math.inf)
    values: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Filter:
    """A function of an image, with the parameters that are to be calibrated.

    Attributes
    ----------
    name : str
        In tables and in the terminal.
    title : str
        In sentences.
    family : str
        "smoothness", "self-similarity", "sparsity", "compressibility" or "your own".
    function : callable
        ``function(image, **parameters)`` takes an array of shape ([Z,] Y, X)
        and returns one of the same shape.
    parameters : tuple of Parameter
    donut : callable, optional
        ``donut(image, extents=extents, **parameters)``, the J-invariant
        version where the filter has one that predicts all pixels at once.
    grey : bool
        Whether the function wants the image in its own grey values instead
        of in units of the noise.
    parallel : bool
        Whether the function may run in several threads at once.
    """

    name: str
    title: str
    family: str
    function: Callable[..., Image]
    parameters: tuple[Parameter, ...] = ()
    donut: Callable[..., Image] | None = None
    grey: bool = False
    parallel: bool = True


# Shorter axes have no level of wavelets with eight coefficients.
_SHORTEST_FOR_WAVELETS = 14


def _by_plane(function: Callable[..., Image], image: Image, **parameters: float) -> Image:
    """A filter of planes, applied to each plane of a volume."""
    if image.ndim == 2:
        return function(image, **parameters)
    return np.stack([function(plane, **parameters) for plane in image])


def _median(image: Image, radius: int, extents: Sequence[int] | None = None) -> Image:
    from napari_noise2self.engine.filters import donut

    return donut.median(image, radius, extents)


def _gaussian(image: Image, width: float, extents: Sequence[int] | None = None) -> Image:
    from napari_noise2self.engine.filters import donut

    return donut.gaussian(image, width, extents)


def _bilateral(image: Image, strength: float, width: float) -> Image:
    from napari_noise2self.engine.filters.bilateral import bilateral

    return bilateral(image, strength, width)


def _total_variation(image: Image, strength: float) -> Image:
    from skimage.restoration import denoise_tv_chambolle

    filtered = denoise_tv_chambolle(image, weight=strength)  # type: ignore[no-untyped-call]
    return np.asarray(filtered)


def _nonlocal_means(image: Image, strength: float) -> Image:
    from skimage.restoration import denoise_nl_means

    # In a volume smaller cubes hold as many pixels, and the search costs less.
    patch, distance = (5, 6) if image.ndim == 2 else (3, 2)
    filtered = denoise_nl_means(
        image, patch_size=patch, patch_distance=distance, h=strength, sigma=1.0, fast_mode=True
    )
    return np.asarray(filtered)


def _bm3d(image: Image, strength: float) -> Image:
    if not installed("bm3d"):
        raise InputError(
            "BM3D is not installed: pip install 'napari-noise2self[bm3d]', if its licence, for "
            "nonprofit and noncommercial use only, suits you."
        )
    from bm3d import bm3d

    return _by_plane(lambda plane: np.asarray(bm3d(plane, strength)), image)


def _wavelets(image: Image, strength: float) -> Image:
    if image.ndim == 3 and min(image.shape) < _SHORTEST_FOR_WAVELETS:
        return _by_plane(_wavelets, image, strength=strength)
    from skimage.restoration import denoise_wavelet

    # Averaged over shifts, or the grid of the coefficients would show.
    shifts = list(itertools.product(range(3), repeat=image.ndim))
    axes = tuple(range(image.ndim))
    total = np.zeros(image.shape)
    for shift in shifts:
        moved = np.roll(image, shift, axes)
        filtered = denoise_wavelet(moved, sigma=strength, wavelet="sym4", rescale_sigma=False)
        total += np.roll(filtered, [-s for s in shift], axes)
    return total / len(shifts)


def _dictionary(image: Image, threshold: float) -> Image:
    from napari_noise2self.engine.filters.dictionary import dictionary

    return dictionary(image, threshold)


def _jpeg2000(image: Image, strength: float) -> Image:
    return _by_plane(_jpeg2000_plane, image, strength=strength)


def _jpeg2000_plane(image: Image, strength: float) -> Image:
    import imagecodecs

    low, high = float(image.min()), float(image.max())
    if high <= low:
        return image
    step = (high - low) / 65535
    levels = np.round((image - low) / step).astype(np.uint16)
    # The encoder is asked for a PSNR, at the peak of 16 bits.
    code = imagecodecs.jpeg2k_encode(
        levels,
        level=max(20 * math.log10((high - low) / strength), 1.0),  # type: ignore[arg-type]
        codecformat="j2k",
        reversible=False,
        numthreads=1,
    )
    return np.asarray(imagecodecs.jpeg2k_decode(code, numthreads=1) * step + low)


def _strength(low: float, high: float) -> Parameter:
    return Parameter("strength", low, high, "σ", limits=(low / 8, high * 8))


_FAMILIES = {
    filter_.name: filter_
    for filter_ in (
        Filter(
            "median",
            "Median",
            "smoothness",
            _median,
            (Parameter("radius", 1, 8, "px", integer=True, limits=(1, 24)),),
            donut=_median,
        ),
        Filter(
            "gaussian",
            "Gaussian",
            "smoothness",
            _gaussian,
            (Parameter("width", 0.4, 5.0, "px", limits=(0.3, 30.0)),),
            donut=_gaussian,
        ),
        Filter(
            "bilateral",
            "Bilateral",
            "smoothness",
            _bilateral,
            (
                Parameter("strength", 1.0, 8.0, "σ", limits=(0.2, 50.0)),
                Parameter("width", 0.7, 2.5, "px", limits=(0.5, 5.0)),
            ),
        ),
        Filter("tv", "Total variation", "smoothness", _total_variation, (_strength(0.3, 5.0),)),
        Filter("nlm", "Non-local means", "self-similarity", _nonlocal_means, (_strength(0.3, 3),)),
        # It uses all cores by itself.
        Filter("bm3d", "BM3D", "self-similarity", _bm3d, (_strength(0.5, 2.0),), parallel=False),
        Filter("wavelet", "Wavelets", "sparsity", _wavelets, (_strength(0.5, 4.0),)),
        Filter(
            "dictionary",
            "Learned dictionary",
            "sparsity",
            _dictionary,
            (Parameter("threshold", 1.5, 5.0, "σ", limits=(0.2, 40.0)),),
        ),
        Filter("jpeg2000", "JPEG 2000", "compressibility", _jpeg2000, (_strength(0.4, 2.0),)),
    )
}
FILTER_NAMES = tuple(_FAMILIES)
# BM3D has to be asked for: its licence is not for everybody.
DEFAULT_FILTERS = tuple(name for name in FILTER_NAMES if name != "bm3d")


def installed(name: str) -> bool:
    """Whether everything that the filter of this name needs is there."""
    return name != "bm3d" or importlib.util.find_spec("bm3d") is not None


def named(name: str, extents: Sequence[int]) -> Filter:
    """The filter of the library with this name.

    Parameters
    ----------
    name : str
        One of `FILTER_NAMES`.
    extents : sequence of int
        Extent of the partition per axis: a donut must be larger than its hole.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in _FAMILIES:
        raise InputError(
            f"There is no filter {name!r}: use {', '.join(FILTER_NAMES)}, or a function of yours "
            f"with the ranges of its parameters."
        )
    filter_ = _FAMILIES[name]
    if name == "median":
        least = min(extents) // 2 + 1
        # A ball of eight pixels holds two thousand, a disk of eight only two hundred.
        most, limit = (7, 24) if len(extents) == 2 else (3, 8)
        radius = Parameter("radius", least, least + most, "px", integer=True, limits=(least, limit))
        filter_ = dataclasses.replace(filter_, parameters=(radius,))
    return filter_


def chosen(filters: Filters | None, extents: Sequence[int]) -> list[Filter]:
    """The filters that were asked for.

    Parameters
    ----------
    filters : None, str, sequence or mapping
        None: all of `DEFAULT_FILTERS`.  One name, or a sequence of names and
        `Filter` objects.  A mapping of names to functions of the caller's:
        ``function``, or ``(function, {parameter: range})``; or of names of
        this library to other ranges, ``{parameter: range}``.  A range is a
        tuple ``(low, high)``, of whole numbers for a parameter that is a
        whole number; a list holds all values to try.
    extents : sequence of int
        As for `named`.

    Returns
    -------
    filters : list of Filter

    Raises
    ------
    InputError
        If a name is unknown or named twice, or a range cannot be used.
    """
    if filters is None:
        filters = DEFAULT_FILTERS
    if isinstance(filters, (str, Filter)):
        filters = [filters]
    if isinstance(filters, Mapping):
        found = [
            _within(named(name, extents), wish)
            if name in _FAMILIES and isinstance(wish, Mapping)
            else _own(str(name), wish)
            for name, wish in filters.items()
        ]
    else:
        found = [f if isinstance(f, Filter) else named(f, extents) for f in filters]
    names = [filter_.name for filter_ in found]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"The filters were {', '.join(names) or 'none'}: name at least one, each once."
        )
    return found


def _within(filter_: Filter, ranges: Mapping[str, Any]) -> Filter:
    """A filter of the library with ranges of the caller's."""
    known = {p.name: p for p in filter_.parameters}
    for name, wish in ranges.items():
        if name not in known:
            raise InputError(
                f"The filter {filter_.name!r} has no parameter {name!r}: use {', '.join(known)}."
            )
        wanted = _range(filter_.name, name, wish)
        if filter_.name == "median":
            wanted = _beyond_the_hole(wanted, known[name].limits[0])
        # A radius stays a whole number, whatever the ends of its range are.
        known[name] = dataclasses.replace(
            wanted, unit=known[name].unit, integer=known[name].integer
        )
    return dataclasses.replace(filter_, parameters=tuple(known.values()))


def _beyond_the_hole(radius: Parameter, least: float) -> Parameter:
    """The radii of a median that reach beyond the block that is hidden around a pixel."""
    values = radius.values
    if values is None and radius.high > least:
        low = max(radius.low, least)
        return dataclasses.replace(radius, low=low, limits=(low, radius.high))
    kept = tuple(v for v in values or (radius.high,) if v >= least)
    if not kept:
        raise InputError(
            f"The radius of the filter 'median' was {values or (radius.low, radius.high)}, within "
            f"what is hidden around each pixel: give radii of at least {least:g}."
        )
    return dataclasses.replace(radius, values=kept)


def _own(name: str, wish: Any) -> Filter:
    """A function of the caller's."""
    function, ranges = wish if isinstance(wish, tuple) and len(wish) == 2 else (wish, {})
    if not callable(function) or not isinstance(ranges, Mapping):
        raise InputError(
            f"The filter {name!r} must be a function, or a pair of a function and a mapping of its "
            f"parameters to their ranges, such as (function, {{'sigma': (0.5, 5.0)}})."
        )
    parameters = tuple(_range(name, str(key), value) for key, value in ranges.items())
    return Filter(name, name, "your own", function, parameters, grey=True, parallel=False)


def _range(filter_name: str, name: str, wish: Any) -> Parameter:
    if isinstance(wish, (list, range, np.ndarray)) and len(wish):
        plain = (v.item() if isinstance(v, np.generic) else v for v in wish)
        return Parameter(name, math.nan, math.nan, values=tuple(plain))
    numbers = wish if isinstance(wish, tuple) and len(wish) == 2 else ()
    if not (
        numbers
        and all(isinstance(n, (int, float, np.integer, np.floating)) for n in numbers)
        and all(math.isfinite(n) for n in numbers)
        and numbers[0] < numbers[1]
    ):
        raise InputError(
            f"The range of {name!r} of the filter {filter_name!r} was {wish!r}: give (lowest, "
            f"highest), or a list of all values to try."
        )
    whole = all(isinstance(n, (int, np.integer)) for n in numbers)
    low, high = float(numbers[0]), float(numbers[1])
    # The caller's range is kept: who knows what lies beyond.
    return Parameter(name, low, high, integer=whole, limits=(low, high))
