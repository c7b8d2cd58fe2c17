"""Free memory counts the machine, the container and the process's own limits; what does not fit is said beforehand."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from cli.tiny import ENVIRONMENT

from preimage.errors import InputError
from preimage.images import memory
from preimage.images.memory import check_free, free_memory


@pytest.mark.parametrize(
    ("limit", "used", "cached", "expected"),
    [("1000000", "400000", 0, 600_000), ("1000", "4000", 0, 0), ("1000000", "900000", 300_000, 400_000)],
)
def test_a_container_s_limit_counts(tmp_path, monkeypatch, limit, used, cached, expected):
    monkeypatch.setattr(memory, "_CGROUPS", str(tmp_path))
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")
    assert free_memory() == expected


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096), "nonsense"])
def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(memory, "_CGROUPS", str(tmp_path))
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("4000")
    assert 1_000_000 < free_memory() <= psutil.virtual_memory().total


def test_what_does_not_fit_is_one_line():
    with pytest.raises(
        InputError, match=r"^a.tif needs about 1000000.0 GB of memory and .* is free: cut it$"
    ) as caught:
        check_free(1e15, "a.tif", "cut it")
    assert caught.value.code == "memory"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_the_limit_of_the_process_counts():
    code = "import resource, psutil; from preimage.images.memory import free_memory; free_memory(); "
    code += "most = psutil.Process().memory_info().vms + 5 * 10**8; "
    code += "resource.setrlimit(resource.RLIMIT_AS, (most, most)); print(free_memory())"
    ran = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert 0 < int(ran.stdout) <= 5 * 10**8
