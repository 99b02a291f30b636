"""The search for the parameters with the smallest loss, in a bounded number of evaluations.

The pixels are fixed, so the loss has no noise of its own and a smooth minimum
that a parabola finds: a coarse grid brackets it, and Brent's method (one
parameter) or that of Nelder and Mead (several) finds it.  Whole numbers are
searched as such.  Where the best value lies at the end of its range, the range
is widened as far as the limits of the parameter allow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize

from napari_noise2self.engine.filters.catalogue import Parameter

Setting = dict[str, Any]
# Losses of several settings, which may be computed at the same time.
Evaluate = Callable[[Sequence[Setting]], Sequence[float]]

_COARSE = 5
_COARSE_OF_SEVERAL = (3, 3)
_FINE = 5
_FINE_OF_SEVERAL = 10
_WIDENED = 3
# Relative to the range, in the logarithm of a parameter: a few percent of its value.
_TOLERANCE = 0.01


def expected_evaluations(parameters: Sequence[Parameter]) -> int:
    """About how many evaluations a search takes, for a progress display."""
    listed = math.prod(len(p.values) for p in parameters if p.values is not None)
    ranges = [p for p in parameters if p.values is None]
    if not ranges:
        return listed
    if len(ranges) > 1:
        coarse = math.prod(_steps(i) for i in range(len(ranges)))
        return listed * (coarse + _FINE_OF_SEVERAL)
    return listed * (_COARSE + (1 if ranges[0].integer else _FINE))


def search(evaluate: Evaluate, parameters: Sequence[Parameter]) -> None:
    """Evaluate settings until the best one is found.

    Parameters
    ----------
    evaluate : callable
        Gets settings, returns their losses, and keeps both: what it was
        called with is the result.  Infinity for a setting that cannot be used.
    parameters : sequence of Parameter
    """
    listed = [p for p in parameters if p.values is not None]
    ranges = [p for p in parameters if p.values is None]
    choices = [
        dict(zip((p.name for p in listed), values, strict=True))
        for values in itertools.product(*(p.values or () for p in listed))
    ]
    if not ranges:
        evaluate(choices)
        return
    for choice in choices:
        space = _Space(evaluate, ranges, choice)
        if len(ranges) > 1:
            _search_several(space)
        elif ranges[0].integer:
            _search_whole(space)
        else:
            _search_one(space)


def ends(parameters: Sequence[Parameter], best: Mapping[str, Any]) -> list[str]:
    """The parameters whose best value lies at the end of what was searched."""
    found = []
    for p in parameters:
        value = best[p.name]
        if p.values is None:
            low, here, high = (_scaled(p, v) for v in (_searched(p)[0], value, _searched(p)[1]))
            if min(here - low, high - here) < 1.5 * _TOLERANCE * (high - low):
                found.append(p.name)
        elif all(isinstance(v, (int, float, np.number)) for v in p.values) and value in (
            min(p.values),
            max(p.values),
        ):
            found.append(p.name)
    return found


def _searched(p: Parameter) -> tuple[float, float]:
    """How far a search can go at most."""
    span = _scaled(p, p.high) - _scaled(p, p.low)
    step = span / (_COARSE - 1)
    wide = [
        _unscaled(p, _scaled(p, end) + sign * _WIDENED * step)
        for end, sign in ((p.low, -1), (p.high, 1))
    ]
    return max(wide[0], p.limits[0]), min(wide[1], p.limits[1])


def _logarithmic(p: Parameter) -> bool:
    return p.low > 0


def _scaled(p: Parameter, value: float) -> float:
    return math.log(value) if _logarithmic(p) else float(value)


def _unscaled(p: Parameter, value: float) -> float:
    return math.exp(value) if _logarithmic(p) else value


def _steps(number: int) -> int:
    return _COARSE_OF_SEVERAL[min(number, len(_COARSE_OF_SEVERAL) - 1)]


class _Space:
    """Settings as points whose coordinates go from 0 to 1 over the range of each parameter."""

    def __init__(self, evaluate: Evaluate, parameters: Sequence[Parameter], fixed: Setting) -> None:
        self.parameters = parameters
        self._evaluate = evaluate
        self._fixed = fixed
        self.known: dict[tuple[float, ...], float] = {}
        self.limits = [tuple(self._coordinate(p, end) for end in _searched(p)) for p in parameters]

    @staticmethod
    def _coordinate(p: Parameter, value: float) -> float:
        low, high = _scaled(p, p.low), _scaled(p, p.high)
        return (_scaled(p, value) - low) / (high - low)

    def setting(self, point: Sequence[float]) -> Setting:
        """The parameters at a point."""
        setting = dict(self._fixed)
        for p, u in zip(self.parameters, point, strict=True):
            low, high = _scaled(p, p.low), _scaled(p, p.high)
            value = _unscaled(p, low + u * (high - low))
            # What rounding has pushed over the edge.
            value = min(max(value, p.limits[0]), p.limits[1])
            setting[p.name] = round(value) if p.integer else value
        return setting

    def losses(self, points: Sequence[Sequence[float]]) -> list[float]:
        """The losses at points; none is computed twice."""
        settings = {self._key(point): self.setting(point) for point in points}
        fresh = {key: s for key, s in settings.items() if key not in self.known}
        if fresh:
            found = self._evaluate(list(fresh.values()))
            self.known.update(zip(fresh, found, strict=True))
        return [self.known[self._key(point)] for point in points]

    def _key(self, point: Sequence[float]) -> tuple[float, ...]:
        setting = self.setting(point)
        return tuple(float(setting[p.name]) for p in self.parameters)


def _search_one(space: _Space) -> None:
    step = 1 / (_COARSE - 1)
    points = [i * step for i in range(_COARSE)]
    losses = space.losses([(u,) for u in points])
    low, high = space.limits[0]
    for _ in range(_WIDENED):
        best = int(np.argmin(losses))
        if best == 0 and points[0] > low:
            points.insert(0, max(points[0] - step, low))
        elif best == len(points) - 1 and points[-1] < high:
            points.append(min(points[-1] + step, high))
        else:
            break
        losses = space.losses([(u,) for u in points])
    best = int(np.argmin(losses))
    # From 1 on, because the tolerance of the methods is relative to the point.
    shift = 1 - points[0]

    def loss(v: float) -> float:
        return space.losses([(float(v) - shift,)])[0]

    options: dict[str, Any] = {"maxiter": _FINE}
    if 0 < best < len(points) - 1 and losses[best] < min(losses[best - 1], losses[best + 1]):
        bracket = tuple(u + shift for u in points[best - 1 : best + 2])
        options["xtol"] = _TOLERANCE
        optimize.minimize_scalar(loss, bracket=bracket, method="brent", options=options)
    else:
        around = (points[max(best - 1, 0)], points[min(best + 1, len(points) - 1)])
        bounds = tuple(u + shift for u in around)
        options["xatol"] = _TOLERANCE
        optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options=options)


def _search_whole(space: _Space) -> None:
    p = space.parameters[0]
    (low, high), (start, stop) = p.limits, (round(p.low), round(p.high))
    spread = np.geomspace if _logarithmic(p) else np.linspace
    values = sorted({round(float(v)) for v in spread(start, stop, _COARSE - 1)})
    widest = _searched(p)

    def losses(wanted: Sequence[int]) -> list[float]:
        return space.losses([(space._coordinate(p, v),) for v in wanted])

    while True:
        found = losses(values)
        best = int(np.argmin(found))
        here = values[best]
        # Halfway to the neighbours; at an end beyond it.
        below = values[best - 1] if best else None
        above = values[best + 1] if best < len(values) - 1 else None
        fresh = []
        if below is None:
            fresh.append(max(here - max(above - here if above else 1, 1), math.ceil(widest[0])))
        elif here - below > 1:
            fresh.append((here + below) // 2)
        if above is None:
            fresh.append(min(here + max(here - below if below else 1, 1), math.floor(widest[1])))
        elif above - here > 1:
            fresh.append((here + above) // 2)
        fresh = [v for v in fresh if v not in values and low <= v <= high]
        if not fresh:
            return
        values = sorted({*values, *fresh})


def _search_several(space: _Space) -> None:
    lines = [np.linspace(0, 1, _steps(i)) for i in range(len(space.parameters))]
    points = list(itertools.product(*(line.tolist() for line in lines)))
    losses = space.losses(points)
    best = np.array(points[int(np.argmin(losses))])
    limits = np.array(space.limits)
    simplex = [best]
    for axis, line in enumerate(lines):
        corner = best.copy()
        half = (line[1] - line[0]) / 2
        # Inwards from the end of a range; the method itself may go beyond.
        corner[axis] += half if best[axis] < 0.5 else -half
        simplex.append(corner)
    optimize.minimize(
        lambda point: space.losses([tuple(map(float, point))])[0],
        best,
        method="Nelder-Mead",
        bounds=limits,
        options={
            "initial_simplex": np.array(simplex),
            "maxfev": _FINE_OF_SEVERAL,
            "xatol": _TOLERANCE,
            "fatol": 1e-4 * min(losses),
        },
    )
