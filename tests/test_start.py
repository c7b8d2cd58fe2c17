"""The library and the command line start at once: what computes is imported when it is needed.

How many seconds that is: `python -m benchmarks.start`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from cli.tiny import ENVIRONMENT

from benchmarks.start import CALLS

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
