"""The package as others install it: from the wheel, the sdist, and in place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words: str | Path, cwd: Path, path: Path | None = None) -> str:
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    run("build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_an_installed_build_has_a_manifest_whose_commands_import(built, tmp_path, pattern):
    (archive,) = built.glob(pattern)
    site = tmp_path / "site"
    run(
        *("pip", "install", "-qq", "--no-deps", "--no-build-isolation", "--target", site, archive),
        cwd=tmp_path,
    )
    # The copy in `site` comes before the one of this environment.
    assert (site / "napari_noise2self" / "napari.yaml").is_file()
    assert (site / "napari_noise2self" / "py.typed").is_file()
    said = run("npe2", "validate", "napari-noise2self", "--imports", cwd=tmp_path, path=site)
    assert "valid" in said
    version = run("napari_noise2self", "info", "--json", cwd=tmp_path, path=site)
    assert '"napari-noise2self"' in version


def test_the_editable_install_has_a_manifest_whose_commands_import(tmp_path):
    assert "valid" in run("npe2", "validate", "napari-noise2self", "--imports", cwd=tmp_path)


def test_the_manifest_at_the_root_is_the_one_of_the_package():
    manifest = ROOT / "napari.yaml"
    assert manifest.is_symlink()
    assert manifest.resolve() == ROOT / "src" / "napari_noise2self" / "napari.yaml"


def test_the_page_on_the_architecture_names_every_module():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    missing = []
    for path in sorted((ROOT / "src" / "napari_noise2self").rglob("*.py")):
        name, _, tail = path.stem.partition("_")
        is_command = path.parent.name == "cli" and '"""``napari-noise2self' in path.read_text(
            "utf-8"
        )
        # What belongs to a module that is named before is named by its ending.
        known = path.stem in words or (name in words and f"_{tail}" in words)
        if not (path.stem.startswith("__") or is_command or known):
            missing.append(path.stem)
    assert missing == []
