"""By its fingerprint a checkpoint, a table or a threshold knows its classifier."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.modules import constants_of
from preimage.classifiers.resizing import Resizing
from preimage.images.ranges import EIGHT_BITS


def model_fingerprint(*models: nn.Module | None) -> str:
    """SHA-256 of all parameters and buffers, and of how a Classifier prepares its images: 64 hexadecimal digits.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
        >>> model_fingerprint(Classifier(model, 2)) == model_fingerprint(Classifier(model, 2, size=64))
        False
    """
    digest = hashlib.sha256()
    for model in (each for each in models if each is not None):
        digest.update(type(model).__name__.encode())
        if isinstance(model, Classifier):
            digest.update(repr((model.classes, model.size, type(model.model).__name__)).encode())
            if model.values not in (None, EIGHT_BITS):  # hashes of 8 bits are as they were
                digest.update(repr(model.values).encode())
            if model.output not in (None, "logits"):
                digest.update(repr((model.output, model.label)).encode())
            if (model.resizing, model.channel_order) != (Resizing(), "rgb"):  # and those of squeezed images
                digest.update(repr((model.resizing, model.channel_order)).encode())
            if own := [name for name, each in model.named_modules() if getattr(each, "transform_input", False)]:
                digest.update(repr(own).encode())  # of GoogLeNet and Inception: it stands in no weight
        held = model.state_dict()
        transient = {name: buffer for name, buffer in model.named_buffers() if name not in held}  # persistent=False
        for name, value in (*held.items(), *transient.items(), *constants_of(model)):
            digest.update(name.encode())
            if isinstance(value, torch.Tensor):
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def short_fingerprint(model: nn.Module) -> str:
    """The first 16 digits of a model's fingerprint, by which files of thresholds and rows of tables know it."""
    return model_fingerprint(model)[:16]
