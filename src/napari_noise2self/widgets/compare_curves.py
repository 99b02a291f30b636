"""The curves of a calibration while it runs: what was evaluated so far, filter by filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_noise2self.engine.filters.catalogue import named

if TYPE_CHECKING:
    from napari_noise2self.engine.calibration.report import CalibrationEvent, Point


@dataclass(frozen=True)
class CurveData:
    """What is known of one filter.

    Attributes
    ----------
    title : str
    points : tuple of Point
        Sorted by the parameters.
    noise_variance : float or None
        In the units of the losses.
    """

    title: str
    points: tuple[Point, ...]
    noise_variance: float | None

    @property
    def parameter(self) -> str:
        """The parameter that the curve is drawn against: the first."""
        return next(iter(self.points[0].parameters))

    @property
    def label(self) -> str:
        """Its name and its unit in words."""
        units = {"σ": "multiples of the noise", "px": "pixels"}
        name = self.points[0].filter
        found = {p.name: p.unit for p in named(name, (1, 1)).parameters}
        unit = units.get(found[self.parameter], "")
        return f"{self.parameter} ({unit})" if unit else self.parameter

    @property
    def best(self) -> Point:
        """The point with the smallest self-supervised loss."""
        return min(self.points, key=lambda point: point.loss)

    @property
    def through(self) -> tuple[Point, ...]:
        """The points of the best value of all other parameters, which make a curve."""
        others = _others(self.best.parameters, self.parameter)
        return tuple(p for p in self.points if _others(p.parameters, self.parameter) == others)


def _others(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key != name}


class Curves:
    """The curves of all filters of one comparison."""

    def __init__(self) -> None:
        self._points: dict[str, list[Point]] = {}
        self._noise_variance: float | None = None
        self._at_work = ""

    def take(self, event: CalibrationEvent) -> None:
        """Add what was evaluated since."""
        self._noise_variance = event.noise_variance
        for point in event.points:
            self._points.setdefault(point.filter, []).append(point)
            self._at_work = point.filter

    @property
    def titles(self) -> dict[str, str]:
        """The filters that there are curves of, and their titles."""
        return {name: named(name, (1, 1)).title for name in self._points}

    def of(self, name: str = "") -> CurveData | None:
        """The curve of a filter, or of the one that was at work last."""
        points = self._points.get(name or self._at_work)
        if not points:
            return None
        first = next(iter(points[0].parameters))
        ordered = tuple(sorted(points, key=lambda point: point.parameters[first]))
        title = named(points[0].filter, (1, 1)).title
        return CurveData(title, ordered, self._noise_variance)
