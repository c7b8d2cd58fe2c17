"""Fingerprints by which a checkpoint knows its data and its classifier: SHA-256 of every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import nn

from preimage.classifiers.classifier import Classifier


def tensor_fingerprint(tensors: Iterable[torch.Tensor]) -> str:
    """SHA-256 of the dtypes, shapes and values of tensors: 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def model_fingerprint(*models: nn.Module | None) -> str:
    """SHA-256 of all parameters and buffers of models, and of how a Classifier prepares its images: 64 hexadecimal digits.

    Example:
        >>> model = nn.BatchNorm2d(3)
        >>> before = model_fingerprint(model)
        >>> _ = model.running_mean.add_(1)
        >>> model_fingerprint(model) == before
        False
    """
    sha = hashlib.sha256()
    for model in models:
        sha.update(type(model).__name__.encode())
        if model is None:
            continue
        if isinstance(model, Classifier):
            sha.update(repr((model.classes, model.size, type(model.model).__name__)).encode())
        # Buffers that are not persistent as well, which a state dict leaves out.
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            sha.update(f"{name} {tensor_fingerprint([value])}".encode())
    return sha.hexdigest()
