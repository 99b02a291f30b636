"""A filter with the parameters that were found best, ready to denoise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_noise2self.engine.arrays import as_array
from napari_noise2self.engine.bad_pixels import HotRule, fill_bad, find_bad
from napari_noise2self.engine.calibration.pixels import Unit
from napari_noise2self.engine.errors import InputError, counted
from napari_noise2self.engine.filters.blind import Channel, shown
from napari_noise2self.engine.filters.catalogue import Filter
from napari_noise2self.engine.layout import Layout
from napari_noise2self.engine.mixing import Mixing
from napari_noise2self.engine.noise.report import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.scoring import HeldOut, Score, squares_of
from napari_noise2self.engine.sure import MOST_CLIPPED, sure

# The share of the error of the plain filter that the mixture may have to be preferred.
WORTH_IT = 0.95
OUTPUTS = ("auto", "single-pass", "j-invariant", "mixed")


@dataclass(frozen=True)
class CalibratedFilter:
    """A calibrated filter; call it with an image.

    Attributes
    ----------
    filter : Filter
    parameters : mapping
        In the units of the filter's `Parameter`.
    unit : Unit
        The noise that strengths are multiples of.
    partition : Partition
    axes : str
        The axes of the image it was calibrated on.
    volume : bool
        Whether Z is filtered together with Y and X.
    mixing : Mixing or None
        The shares of the mixed output; None where the noise is not known.
    output : {"single-pass", "mixed"}
        The output with the smaller estimated error, which calling it gives.
    """

    filter: Filter
    parameters: Mapping[str, Any]
    unit: Unit
    partition: Partition
    axes: str
    volume: bool
    mixing: Mixing | None
    output: str = "single-pass"

    def __str__(self) -> str:
        return described(self.filter, self.parameters)

    def __call__(
        self, image: Any, axes: str | None = None, *, output: str = "auto"
    ) -> NDArray[np.float32]:
        """Denoise an image.

        Parameters
        ----------
        image : array of as many channels as the one it was calibrated on
        axes : str, optional
            One letter per axis; those of that image by default, where there
            are as many, and otherwise frames before YX.
        output : {"auto", "single-pass", "j-invariant", "mixed"}
            The filter as it is; its J-invariant version, which the loss
            speaks of; or the mixture of that with the image.  "auto" is the
            better of the first and the last.

        Returns
        -------
        denoised : ndarray of float32, shape of `image`
            In grey values; NaN and infinities stay.

        Raises
        ------
        InputError
            If the axes or the number of channels do not fit, there is no such
            output, or the noise is not known that a mixture needs.
        """
        if output not in OUTPUTS:
            raise InputError(f"The output was {output!r}: use one of {', '.join(OUTPUTS)}.")
        if output == "auto":
            output = self.output
        if output == "mixed" and self.mixing is None:
            raise InputError(
                "The variance of the noise could not be told, which the mixed output needs: use "
                "the output 'single-pass' or 'j-invariant'."
            )
        image, layout = self._read(image, axes)
        result = np.empty(layout.shape, np.float32)
        rule = HotRule.of(image, layout)
        for frame in range(layout.frames):
            raw, missing, channels = self._frame(image, layout, frame, rule)
            predicted = np.stack([self._output(channel, output) for channel in channels])
            if output == "mixed":
                assert self.mixing is not None
                observed, valid = (
                    np.stack([getattr(channel, name) for channel in channels])
                    for name in ("values", "valid")
                )
                predicted = self.mixing.apply(predicted, observed, valid)
            for plane, offset, scale in zip(
                predicted, self.unit.offset, self.unit.scale, strict=True
            ):
                plane *= scale
                plane += offset
            predicted[missing] = raw[missing]
            layout.write(result, frame, predicted)
        return result

    def held_out(self, image: Any, axes: str | None = None) -> list[HeldOut]:
        """The J-invariant prediction at the held-out positions of the partition.

        Parameters
        ----------
        image, axes
            As for calling it.

        Returns
        -------
        positions : list of HeldOut, one per channel
            Of all frames, in units of the deviation of the channel's noise.
        """
        image, layout = self._read(image, axes)
        labels = self.partition.labels(layout.spatial_shape)
        places = self.partition.held_out(layout.spatial_shape)
        squares = squares_of(layout.spatial_shape)
        subset = [self.partition.held_out_subset(layout.ndim)]
        found: list[list[HeldOut]] = [[] for _ in range(layout.channels)]
        # That of the whole image, as for networks: all are compared on the same pixels.
        rule = HotRule.of(image, layout)
        for frame in range(layout.frames):
            _, _, channels = self._frame(image, layout, frame, rule)
            for pieces, channel in zip(found, channels, strict=True):
                chosen = places & channel.valid
                predicted = channel.j_invariant(
                    self.filter, self.parameters, self.partition, labels, subset
                )
                pieces.append(
                    HeldOut(
                        predicted[chosen].astype(np.float64),
                        channel.values[chosen].astype(np.float64),
                        squares[chosen],
                    )
                )
        return [HeldOut.join(pieces) for pieces in found]

    def with_better_output(
        self, frame: NDArray[Any], valid: NDArray[np.bool_], noise: NoiseReport, score: Score
    ) -> CalibratedFilter:
        """With the output that has the smaller estimated error.

        The loss is that of the J-invariant version, which a filter that keeps what it takes
        for structure can have far below that of its plain version.  The error of the
        mixture follows from it by the theory of mixing; that of the plain filter, which sees
        every pixel, is Stein's estimate, where the noise is known and not clipped.

        Parameters
        ----------
        frame : ndarray, shape (channels, [Z,] Y, X)
            A piece of the image, in grey values.
        valid : ndarray of bool, same shape
            Where they were measured.
        noise : NoiseReport
        score : Score
            Of the J-invariant version.
        """
        if self.mixing is None or score.mse is None or score.noise_variance is None:
            return self
        mixed = dataclasses.replace(self, output="mixed")
        if max(c.clipped_low + c.clipped_high for c in noise.channels) > MOST_CLIPPED:
            return mixed
        axes = "C" + "ZYX"[-(frame.ndim - 1) :]

        def plain(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return self(values, axes, output="single-pass").astype(np.float64)

        def variance(signal: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack([noise.variance(plane, c) for c, plane in enumerate(signal)])

        lags = [noise.lags(channel) for channel in range(len(frame))]
        mse, _, unit = sure(plain, frame.astype(np.float64), variance, lags, valid=valid)
        blind = max(score.mse, 0.0) / score.noise_variance * unit
        # The plain filter takes one pass, the mixture one for each subset: it has to be worth it.
        return mixed if unit * blind / (unit + blind) < WORTH_IT * mse else self

    def _read(self, image: Any, axes: str | None) -> tuple[Any, Layout]:
        image = as_array(image)
        if axes is None and len(image.shape) == len(self.axes):
            axes = self.axes
        layout = Layout.of(image.shape, axes, self.volume)
        if layout.channels != len(self.unit.scale):
            raise InputError(
                f"The image has {counted(layout.channels, 'channel')} and the filter was "
                f"calibrated on {len(self.unit.scale)}: give the same, and name the "
                f"axes as in {self.axes!r}."
            )
        return image, layout

    def _frame(
        self, image: Any, layout: Layout, frame: int, rule: HotRule
    ) -> tuple[NDArray[Any], NDArray[np.bool_], list[Channel]]:
        raw = layout.read(image, frame)
        missing, hot = find_bad(raw, rule)
        bad = missing | hot
        filled = fill_bad(raw, bad)
        channels = [
            Channel.of(plane, ~holes, offset, scale)
            for plane, holes, offset, scale in zip(
                filled, bad, self.unit.offset, self.unit.scale, strict=True
            )
        ]
        return raw, missing, channels

    def _output(self, channel: Channel, output: str) -> NDArray[np.float32]:
        if output == "single-pass":
            return channel.filtered(self.filter, self.parameters)
        labels = self.partition.labels(channel.values.shape)
        return channel.j_invariant(self.filter, self.parameters, self.partition, labels)


def described(filter_: Filter, parameters: Mapping[str, Any]) -> str:
    """A filter and its parameters with their units, such as "nlm, strength 0.83 σ"."""
    units = {p.name: p.unit for p in filter_.parameters}
    words = [f"{name} {shown(value)} {units[name]}".rstrip() for name, value in parameters.items()]
    return ", ".join([filter_.name, *words])
