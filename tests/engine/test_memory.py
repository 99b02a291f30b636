from __future__ import annotations

import pytest

from napari_noise2self.engine import memory
from napari_noise2self.engine.errors import InputError

GB = 2**30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups as Linux shows them, with 100 GB free outside of them."""
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: FreeMemory)
    monkeypatch.setattr(memory, "_CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")

    def put(folder, **files):
        (tmp_path / "cgroup" / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / "cgroup" / folder / name.replace("__", ".")).write_text(text)
        return tmp_path / "own"

    return put


class FreeMemory:
    available = 100 * GB


def test_half_of_the_free_memory_may_be_used(groups):
    assert memory.memory_budget() == 50 * GB
    assert memory.fits_in_memory(50 * GB)
    assert not memory.fits_in_memory(50 * GB + 1)


def test_a_batch_job_has_the_memory_of_its_group(groups):
    groups("", memory__stat="")
    groups(
        "slurm/job",
        memory__max=str(16 * GB),
        memory__current=str(7 * GB),
        memory__stat=f"anon {6 * GB}\ninactive_file {GB}\n",
    )
    own = groups("slurm/job/step", memory__max="max", memory__current="5", memory__stat="")
    own.write_text("0::/slurm/job/step\n")
    assert memory.memory_budget() == 5 * GB


def test_groups_of_the_first_version_are_read_too(groups):
    own = groups(
        "memory/docker",
        memory__limit_in_bytes=str(8 * GB),
        memory__usage_in_bytes=str(6 * GB),
        memory__stat="total_inactive_file 0\n",
    )
    own.write_text("5:cpu:/docker\n4:memory:/docker\n")
    assert memory.memory_budget() == GB


def test_the_user_has_the_last_word(groups, monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "1.5")
    assert memory.memory_budget() == 1.5 * GB
    for wrong in ("much", "0", "inf", "nan", "-2"):
        monkeypatch.setenv(memory.VARIABLE, wrong)
        with pytest.raises(InputError, match=f"'{wrong}'"):
            memory.memory_budget()
