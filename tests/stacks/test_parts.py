from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_noise2self.stacks.many import find_images
from napari_noise2self.stacks.parts import parts_in_words, without_parts
from napari_noise2self.stacks.reading import read

FRAMES = np.random.default_rng(0).integers(0, 999, (6, 40, 50)).astype("uint16")
SCHEMA = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def pixels(name, files, frames):
    """An image of which each frame lies in a file of its own."""
    planes = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:uuid:{file}</UUID></TiffData>'
        for t, file in enumerate(files)
    )
    return (
        f'<Image ID="Image:{name}" Name="{name}"><Pixels ID="Pixels:{name}" '
        f'DimensionOrder="XYCZT" Type="uint16" SizeX="50" SizeY="40" SizeC="1" SizeZ="1" '
        f'SizeT="{frames}"><Channel ID="Channel:{name}:0"/>{planes}</Pixels></Image>'
    )


def write(folder, file, frame, images):
    xml = f'<?xml version="1.0"?><OME {SCHEMA} UUID="urn:uuid:{file}">{images}</OME>'
    if images is None:
        xml = f'<OME {SCHEMA}><BinaryOnly MetadataFile="a1.ome.tif" UUID="urn:uuid:a1"/></OME>'
    tifffile.imwrite(folder / file, frame, metadata=None, description=xml)


def names(paths):
    return [path.rpartition("/")[2] for path in paths]


@pytest.mark.parametrize("binary_only", [False, True])
def test_files_of_one_image_are_taken_once(tmp_path, binary_only):
    files = ["a1.ome.tif", "a2.ome.tif", "a10.ome.tif"]
    for number, file in enumerate(files):
        images = pixels("a", files, 3)
        write(tmp_path, file, FRAMES[number], None if binary_only and number else images)
    tifffile.imwrite(tmp_path / "b.ome.tif", FRAMES, metadata={"axes": "TYX"})
    (tmp_path / "c.ome.tif").write_bytes(b"hello")
    found = without_parts(find_images([tmp_path]))
    assert names(one.path for one in found.inputs) == ["a1.ome.tif", "b.ome.tif", "c.ome.tif"]
    assert names(found.parts) == ["a2.ome.tif", "a10.ome.tif"]
    words = parts_in_words(found.parts)
    assert words.startswith("2 files are read as part of an image")
    assert words.endswith(": a2.ome.tif, a10.ome.tif.")
    np.testing.assert_array_equal(read(found.inputs[0].path).data, FRAMES[:3])
    # Alone it is what somebody wants.
    assert not without_parts(find_images([tmp_path / "a2.ome.tif"])).parts


def test_a_file_of_another_image_that_is_only_mentioned_is_taken(tmp_path):
    # As of several positions, of which each file tells all.
    images = pixels("p0", ["p0.ome.tif"], 1) + pixels("p1", ["p1.ome.tif"], 1)
    for number in (0, 1):
        write(tmp_path, f"p{number}.ome.tif", FRAMES[number], images)
    found = without_parts(find_images([tmp_path]))
    assert names(one.path for one in found.inputs) == ["p0.ome.tif", "p1.ome.tif"]
    assert found.parts == ()
    first, second = (read(one.path) for one in found.inputs)
    np.testing.assert_array_equal(first.data, FRAMES[0])
    assert "holds 2 images: the first is used" in first.notices[0]
    np.testing.assert_array_equal(second.data, FRAMES[1])
    assert "describes 2 images: 2 p1 is used, the first that lies in" in second.notices[0]
    assert second.name == "p1"
    np.testing.assert_array_equal(read(f"{found.inputs[1].path}#1").data, FRAMES[0])
