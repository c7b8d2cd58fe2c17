"""The library and the command line start at once: what computes is imported when it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cli.tiny import ENVIRONMENT

from benchmarks.start import CALLS, processor_seconds

HEAVY = ("torch", "numpy", "cv2", "PIL", "scipy", "skimage", "matplotlib", "torchvision", "captum", "tifffile")


@pytest.mark.parametrize("name", ["import preimage", "preimage --help", "preimage denoise --help"])
def test_nothing_heavy_is_imported(name):
    tokens = CALLS[name][2:]
    code = f"""
import sys
import preimage
from preimage.cli import main
if {tokens}:
    main({list(tokens)})
print([each for each in {HEAVY} if each in sys.modules], file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert (ran.returncode, ran.stderr.strip()) == (0, "[]")


# Of a quiet machine, where `python -c pass` takes 0.01 s, these are half a second; on a busy one the ratios vary by a half. An
# import of torch alone is 150 times that.
@pytest.mark.parametrize(
    ("name", "most"), [("import preimage", 5), ("preimage --help", 45), ("preimage denoise --help", 60)]
)
def test_a_start_takes_so_many_times_as_an_empty_process(name, most, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    assert processor_seconds(CALLS[name], 5) < most * processor_seconds(CALLS["python -c pass"], 5)
