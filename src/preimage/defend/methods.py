"""The choices of the task saliency as types; without torch, so that help and forms are quick."""

from __future__ import annotations

from typing import Literal

Method = Literal[
    "mig-sg",
    "gradient",
    "input-x-gradient",
    "integrated-gradients",
    "smoothgrad",
    "guided-backprop",
    "gradcam",
    "occlusion",
]
Baseline = Literal["blur", "mean", "black", "gray", "white"]
Deleted = Literal["black", "blur"]
