"""Progress in napari's activity dock."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

from napari.utils import progress
from psygnal import SignalInstance
from qtpy.QtCore import QTimer

# napari's progress bars count in whole numbers.
_TOTAL = 100


class Activity:
    """Mirrors work in the activity dock.

    napari handles pending events whenever a bar moves.  So the bar moves
    from a timer, never from within the handling of a worker's event.

    Parameters
    ----------
    now : callable
        Gives what is being done and the share that is done (NaN where that
        is not known), or None while nothing is.
    signals
        Are emitted when that has changed.
    """

    def __init__(
        self, now: Callable[[], tuple[str, float] | None], *signals: SignalInstance
    ) -> None:
        self._now = now
        self._bar: Any = None
        self._updating = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._update)
        for signal in signals:
            signal.connect(self._schedule)

    def _schedule(self, *_: object) -> None:
        if self._now() is None:
            self.close()
        elif not self._timer.isActive():
            self._timer.start(0)

    def close(self) -> None:
        """Take the bar away, at once: this object may die, and a bar would stay for ever."""
        self._timer.stop()
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()

    def _update(self) -> None:
        if self._updating:
            return  # napari handled events in the middle of an update
        self._updating = True
        try:
            self._show()
        finally:
            self._updating = False
        # The run may have ended in the middle of it.
        if self._now() is None:
            self.close()

    def _show(self) -> None:
        now = self._now()
        if now is None:
            return
        doing, fraction = now
        if self._bar is None:
            # tqdm would write to the terminal, too.
            self._bar = progress(total=_TOTAL, desc=doing, file=io.StringIO())
        elif self._bar.desc.removesuffix(": ") != doing:
            self._bar.set_description(doing)
        bar = self._bar
        done = 0 if math.isnan(fraction) else int(fraction * _TOTAL)
        if bar is not None and done != bar.n:
            bar.update(done - bar.n)
