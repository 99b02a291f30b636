from __future__ import annotations

import numpy as np
import pytest

from napari_noise2self.engine.layout import Layout
from napari_noise2self.stacks.growing import Growing
from tests.stacks.fake_denoiser import FakeDenoiser, export, noisy


@pytest.mark.parametrize("ending", ["ome.zarr", "ome.tif", "tif"])
@pytest.mark.parametrize(
    ("axes", "shape"), [("ZTYX", (2, 3, 32, 40)), ("TCYX", (1, 2, 32, 40)), ("YXS", (32, 40, 3))]
)
def test_a_result_is_seen_in_the_shape_of_its_source(tmp_path, axes, shape, ending):
    stack = noisy(axes, shape)
    target = tmp_path / f"a.{ending}"
    seen = []
    growing = Growing(stack, target)

    def look(number):
        seen.append(np.asarray(growing[...]))

    denoiser = FakeDenoiser(before_region=look)
    export(denoiser, stack, target)
    whole = denoiser.denoised(stack.data).round().astype(np.uint16)
    assert not seen[0].any()
    for number, part in enumerate(seen):
        for region in denoiser.regions[:number]:
            np.testing.assert_array_equal(part[region], whole[region])
    growing.finish()
    np.testing.assert_array_equal(np.asarray(growing), whole)
    assert (growing.shape, growing.dtype) == (stack.shape, np.uint16)


def test_a_preview_stands_in_until_the_frame_is_written(tmp_path):
    stack = noisy("TYX", (3, 32, 40))
    layout = Layout.of(stack.shape, stack.axes)
    growing = Growing(stack, tmp_path / "a.ome.zarr")
    layout.write(growing.slate, 1, np.full((1, 32, 40), 7.4, np.float32))
    layout.write(growing.slate, 1, np.full((1, 8, 40), -3, np.float32), (slice(8), slice(40)))
    assert (growing[1, 8:] == 7).all()
    assert (growing[1, :8] == 0).all()
    assert not growing[0].any()
    assert not growing[:, 20].any()  # what cuts through frames is not previewed
    denoiser = FakeDenoiser()
    export(denoiser, stack, tmp_path / "a.ome.zarr")
    growing.finish()
    np.testing.assert_array_equal(growing[1], np.rint(denoiser.denoised(stack.data[1])))
