"""What is imported when: each check in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

GUI = ("napari", "qtpy", "PyQt6", "magicgui", "superqt", "pyqtgraph")
HELP = """
import sys
from napari_noise2self.cli import main
sys.argv = ["napari-noise2self", *{words}]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""


def imported_by(code: str) -> set[str]:
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import napari_noise2self; napari_noise2self.__version__",
        "from napari_noise2self import Grid, TrainingConfig, Noise2SelfError",
        HELP.format(words=["--help"]),
        HELP.format(words=["denoise", "--help"]),
        HELP.format(words=["info", "--help"]),
        HELP.format(words=["train", "--help"]),
        HELP.format(words=["apply", "--help"]),
        "from napari_noise2self.stacks import batch, denoise_file, many, suits, training_set",
    ],
)
def test_light_parts_import_neither_torch_nor_a_gui(code):
    assert imported_by(code).isdisjoint({"torch", "scipy", "skimage", *GUI})


def test_opening_a_dock_imports_no_torch():
    docks = "denoise", "partition", "noise", "compare", "export"
    code = "; ".join(f"import napari_noise2self.widgets.{dock}" for dock in docks)
    assert "torch" not in imported_by(code)


def test_the_terminal_works_where_no_gui_is_installed(tmp_path):
    code = f"""
import sys
for name in {GUI!r}:
    sys.modules[name] = None  # any import of it fails
import numpy
numpy.save("in.npy", numpy.random.default_rng(0).normal(9, 1, (64, 64)).astype("float32"))
from napari_noise2self.cli import app
app(["denoise", "in.npy", "out.tif", "--epochs", "0.1"], standalone_mode=False)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out.tif").exists()
