"""Progress in napari's activity dock."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from napari.utils import progress
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari_noise2self.widgets.session import Session

# napari's progress bars count in whole numbers.
_TOTAL = 100


class Activity:
    """Mirrors a session in the activity dock.

    napari handles pending events whenever a bar moves.  So the bar moves
    from a timer, never from within the handling of a worker's event.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bar: Any = None
        self._updating = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._update)
        session.events.state.connect(self._schedule)
        session.events.progress.connect(self._schedule)

    def _schedule(self, _: object) -> None:
        if self._session.progress is None:
            self._close()
        elif not self._timer.isActive():
            self._timer.start(0)

    def _close(self) -> None:
        # At once: this object may die with its viewer, and a bar would stay for ever.
        self._timer.stop()
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()

    def _update(self) -> None:
        if self._updating:
            return  # napari handled events in the middle of an update
        self._updating = True
        try:
            self._show(f"Denoise: {self._session.state.value}")
        finally:
            self._updating = False
        # The run may have ended in the middle of it.
        if self._session.progress is None:
            self._close()

    def _show(self, phase: str) -> None:
        now = self._session.progress
        if now is None:
            return
        if self._bar is None:
            # tqdm would write to the terminal, too.
            self._bar = progress(total=_TOTAL, desc=phase, file=io.StringIO())
        elif self._bar.desc.removesuffix(": ") != phase:
            self._bar.set_description(phase)
        bar = self._bar
        done = 0 if math.isnan(now.fraction) else int(now.fraction * _TOTAL)
        if bar is not None and done != bar.n:
            bar.update(done - bar.n)
