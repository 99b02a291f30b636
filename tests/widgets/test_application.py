from __future__ import annotations

import numpy as np

from napari_noise2self.engine.events import Control, PredictionEvent
from napari_noise2self.engine.layout import Layout
from napari_noise2self.widgets.application import apply_to_all


class Quick:
    """Denoises faster than a window can show it."""

    def predict_events(self, data, axes, output, *, control, out):
        for frame in range(len(data)):
            out[frame] = frame
            yield PredictionEvent((frame + 1) / len(data), 0.0, 0.0, frame)


def test_a_long_movie_of_small_frames_does_not_flood_the_window():
    data = np.zeros((3000, 16, 16), np.uint16)
    layout = Layout.of(data.shape, "TYX")
    told = list(apply_to_all(Quick(), data, layout, "auto", Control(), lambda: False))
    assert told[-1].complete
    assert (told[-1].out[:, 0, 0] == np.arange(3000)).all()
    assert len(told) < 300
