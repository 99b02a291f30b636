"""Progress in napari's activity dock."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from napari.utils import progress
from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari_noise2self.widgets.session import Progress, Session

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
        now = self._session.progress
        if now is None:
            return
        phase = f"Denoise: {self._session.state.value}"
        if self._bar is None:
            # tqdm would write to the terminal, too.
            self._bar = progress(total=_TOTAL, desc=phase, file=io.StringIO())
        self._show(self._bar, phase, now)

    def _show(self, bar: Any, phase: str, now: Progress) -> None:
        if bar.desc.removesuffix(": ") != phase:
            bar.set_description(phase)
        done = 0 if math.isnan(now.fraction) else int(now.fraction * _TOTAL)
        # Setting the description may have let the run end in between.
        if self._bar is bar and done != bar.n:
            bar.update(done - bar.n)
