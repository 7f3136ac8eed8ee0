"""How much memory is left, and errors that name what needs less of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.pipeline.errors import SetupError
from avvp.pipeline.memory import available_memory, is_out_of_memory, name_option_when_out_of_memory

GIB = 1 << 30


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A machine with 8 GiB left and no control groups."""
    write_files(tmp_path, {"proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {8 * GIB // 1024} kB\n"})
    return tmp_path


def test_what_the_machine_has_left(system: Path) -> None:
    assert available_memory(system) == 8 * GIB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


@pytest.mark.parametrize("own", [True, False], ids=["own", "above"])
def test_control_groups_of_version_2(system: Path, own: bool) -> None:
    place = "sys/fs/cgroup/jobs/mine" if own else "sys/fs/cgroup/jobs"
    write_files(
        system,
        {
            "proc/self/cgroup": "0::/jobs/mine\n",
            "sys/fs/cgroup/jobs/memory.max": "max\n",
            "sys/fs/cgroup/jobs/memory.current": "1\n",
        },
    )
    limit = {"memory.max": 3 * GIB, "memory.current": 2 * GIB, "memory.stat": f"anon 5\ninactive_file {GIB // 2}\n"}
    write_files(system, {f"{place}/{name}": f"{value}\n" for name, value in limit.items()})
    assert available_memory(system) == GIB + GIB // 2


def test_control_groups_of_version_1(system: Path) -> None:
    write_files(
        system,
        {
            "proc/self/cgroup": "9:cpu:/a\n4:memory:/a/b\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": f"{GIB}\n",
        },
    )
    assert available_memory(system) == GIB


def test_a_container_whose_group_has_another_name_inside(system: Path) -> None:
    write_files(
        system,
        {
            "proc/self/cgroup": "0::/../../outside\n",
            "sys/fs/cgroup/memory.max": f"{2 * GIB}",
            "sys/fs/cgroup/memory.current": f"{3 * GIB}",
        },
    )
    assert available_memory(system) == 0


@pytest.mark.parametrize(
    "allocate", [lambda: torch.empty(1 << 50), lambda: np.empty(1 << 60, np.uint8), lambda: bytearray(1 << 60)]
)
def test_errors_about_memory_name_the_option(allocate: Callable[[], object]) -> None:
    expected = pytest.raises(SetupError, match="out of memory; use a smaller --batch-size")
    with expected, name_option_when_out_of_memory("--batch-size"):
        allocate()


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="shape"), name_option_when_out_of_memory("--batch-size"):
        raise RuntimeError("wrong shape")
    assert not is_out_of_memory(ValueError("out of memory"))


def test_errors_of_gpus() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("3 GiB"))
