"""What importing the toolbox does to a process is undone."""

from __future__ import annotations

import subprocess
import sys

from cli.tiny import ENVIRONMENT

CODE = """
import os, random
import numpy as np
import torch
environment, python, arrays = dict(os.environ), random.getstate(), np.random.get_state()[1].tolist()
from preimage import Classifier
from preimage.defend.art_defence import DIPDefence
from preimage.defend.attacks import attack
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2))
attack("fgsm", Classifier(model, 2), torch.rand(1, 3, 16, 16), torch.tensor([0]), eps=2)
assert random.getstate() == python and np.random.get_state()[1].tolist() == arrays
assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
"""


def test_the_toolbox_moves_no_generator_and_sets_no_variable():
    ran = subprocess.run([sys.executable, "-c", CODE], env=ENVIRONMENT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
