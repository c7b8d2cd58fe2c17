"""Batch normalization of a frozen classifier, folded into the convolutions before it: the same answers by fewer operations.

    gamma (w * x + b - mu) / s + beta = (gamma / s w) * x + gamma / s (b - mu) + beta,  s = sqrt(var + eps)

A normalization is folded where the graph of a forward pass shows that nothing else uses what the convolution returns, and the
outputs are compared. MEASURED on EfficientNet-Lite0 (benchmarks/LOG.md): a step of `maximize` takes a tenth less time.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_weights

from preimage.classifiers.classifier import Classifier
from preimage.classifiers.modules import same_weights, takes_unit_range
from preimage.errors import InputError

EQUAL = 1e-3  # of the largest value of an output: what folding may change, being a matter of rounding


@torch.enable_grad()
def folded(classifier: Classifier, x: torch.Tensor, layers: Sequence[str] = ()) -> Classifier:
    """The classifier in fewer operations, which shares all other weights; itself, where nothing can be folded.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> folded(Classifier(model, 2), torch.rand(1, 3, 8, 8)).model[1]
        Identity()

    Args:
        x: images as the classifier takes them, of which the first is tried.
        layers: whose features are to stay what they are.
    """
    if not any(_foldable(part) for part in classifier.model.modules()) or takes_unit_range(classifier):
        return classifier
    probe = x[:1].detach().clone().requires_grad_()
    try:
        with torch.no_grad():
            classifier(probe)  # the first call of all checks the output by further ones
        if (other := same_weights(classifier)) is classifier or not (pairs := _pairs(other, probe, layers)):
            return classifier
        for convolution, normalization in pairs:
            _fold(other.model, convolution, normalization)
        return other if _agree(classifier, other, probe, layers) else classifier
    except InputError:  # some part asked for what is gone
        return classifier


def _foldable(part: nn.Module) -> bool:
    """Whether a module normalizes by what it has learned, and does nothing else but what its parts do (timm's)."""
    if not isinstance(part, nn.BatchNorm2d) or part.training or part.running_mean is None or part.running_var is None:
        return False
    return type(part) is nn.BatchNorm2d or set(dict(part.named_children())) == {"drop", "act"}


def _pairs(classifier: Classifier, probe: torch.Tensor, layers: Sequence[str]) -> list[tuple[str, str]]:
    """The names of convolutions and of the normalizations that alone use what they return, both called once."""
    returned: dict[str, Any] = {}
    received: dict[str, Any] = {}
    calls: Counter[str] = Counter()
    handles: list[Any] = []
    for name, part in classifier.model.named_modules():
        if isinstance(part, nn.Conv2d) and _is_plain(part):

            def after(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
                calls[name] += 1
                returned[name] = getattr(output, "grad_fn", None)

            handles.append(part.register_forward_hook(after))
        elif _foldable(part):

            def before(_module: nn.Module, inputs: Any, name: str = name) -> None:
                calls[name] += 1
                received[name] = getattr(inputs[0] if inputs else None, "grad_fn", None)

            handles.append(part.register_forward_pre_hook(before))
    try:
        uses = _uses(classifier(probe))
    finally:
        for handle in handles:
            handle.remove()
    by_node = {node: name for name, node in returned.items() if node is not None and "Convolution" in node.name()}
    return [
        (by_node[node], name)
        for name, node in received.items()
        if node in by_node and uses[node] == calls[name] == calls[by_node[node]] == 1 and by_node[node] not in layers
    ]


def _is_plain(part: nn.Conv2d) -> bool:
    """Whether a convolution holds its weight itself, as those with a weight or spectral norm do not."""
    return "weight" in part._parameters and not parametrize.is_parametrized(part)


def _uses(output: torch.Tensor) -> Counter[Any]:
    """How many operations on the way to an output use the result of each."""
    found: Counter[Any] = Counter()
    seen, waiting = set[Any](), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        following = [each for each, _ in node.next_functions if each is not None]
        found.update(following)
        waiting += following
    return found


@torch.no_grad()
def _fold(model: nn.Module, convolution: str, normalization: str) -> None:
    """Put the one into the other, in place."""
    conv: Any = model.get_submodule(convolution)
    norm: Any = model.get_submodule(normalization)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    for weight in (conv.weight, conv.bias):
        weight.requires_grad_(False)
    parts = OrderedDict(norm.named_children())
    owner, _, own = normalization.rpartition(".")
    setattr(model.get_submodule(owner), own, nn.Sequential(parts) if parts else nn.Identity())


@torch.no_grad()
def _agree(classifier: Classifier, other: Classifier, probe: torch.Tensor, layers: Sequence[str]) -> bool:
    """Whether both give the same logits and features, but for rounding."""
    for mine, its in zip(*(_outputs(each, probe, layers) for each in (classifier, other)), strict=True):
        if not bool((mine - its).abs().max() <= EQUAL * mine.abs().max()):
            return False
    return True


def _outputs(classifier: Classifier, probe: torch.Tensor, layers: Sequence[str]) -> list[torch.Tensor]:
    logits, features = classifier.logits_and_features(probe, layers)
    return [logits, *features.values()]
