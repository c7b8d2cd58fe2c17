"""The blocks of any classifier: the layers whose outputs the loss estimator, inversion and Psi of the explaining tasks take."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn

from preimage.classifiers.arguments import suggestion
from preimage.classifiers.classifier import Classifier
from preimage.classifiers.layout import LayerOutput, spatial_outputs
from preimage.errors import InputError

MOST_LAYERS = 4
# Modules that change what a block gives, but are no block: alone they have no kernel and no matrix.
_NO_BLOCKS = re.compile(
    r"norm|drop|stochastic|pad|identity|permute|swap|flatten|rearrange|partition|window|unfold|pos|scale", re.IGNORECASE
)
_MOST_IN_BLOCK = 2  # resolutions: of its input and of its output; whatever has more consists of blocks
KERNELS_OF_BLOCK = 3  # kernels and matrices of a whole block, at least: parts of one, stems and leaves have fewer
_OF_ISOTROPIC = 0.5  # share of the weights that the blocks have in a network that has no stages


def block_layers(classifier: Classifier, x: torch.Tensor) -> list[str]:
    """The last layer of each resolution, at most four; of a network of one resolution (ViT), four of its blocks, spaced evenly.

    Raises:
        InputError: a classifier in which no layer with places was found.
    """
    return stages(classifier, x)[-MOST_LAYERS:]


def stages(classifier: Classifier, x: torch.Tensor) -> list[str]:
    """The same without a limit, from shallow to deep: also those before the last four, and the very first block of a ViT."""
    every, classes = spatial_outputs(classifier, x), len(classifier.classes)
    outputs = [each for each in every if each.layout.channels != classes] or every  # none of maps of the classes
    row = _isotropic(classifier, outputs)
    if row:
        count = min(MOST_LAYERS, len(row))
        return list(dict.fromkeys([row[0], *(row[round(k * len(row) / count) - 1] for k in range(1, count + 1))]))
    image = classifier.size or (x.shape[-2], x.shape[-1])
    starts = {each.name for each in outputs if each.input_shape[1:] == image}
    sizes, within = {each.name: each.layout.size for each in outputs}, _resolutions_within(outputs)

    def is_inner(each: LayerOutput) -> bool:
        """Whether it is a part of a block that ends at another resolution."""
        if kernels(each.module) >= KERNELS_OF_BLOCK and "down" not in each.name:
            return False
        return any(
            sizes.get(name) not in (None, each.layout.size)
            and name not in starts
            and len(within[name]) <= _MOST_IN_BLOCK
            for name in _ancestors(each.name)
        )

    of_size: dict[tuple[int, int], str] = {}
    for each in outputs:
        size = each.layout.size
        if size is not None and min(size) > 1 and is_block(each.module) and not _is_bias(each) and not is_inner(each):
            # Of equals the last is that of a whole stage, since it is computed after its parts.
            of_size.pop(size, None)
            of_size[size] = each.name
    if not of_size:
        names = classifier.layers()
        way = f"name one with --layer or --layers NAME{suggestion('', names)}" if names else "take another classifier"
        raise InputError(f"no layer with places was found in the classifier: {way}", code="layer")
    return list(of_size.values())


def kernels(module: nn.Module) -> int:
    """How many kernels and matrices a module has."""
    return sum(parameter.ndim > 1 for parameter in module.parameters())


def is_block(module: nn.Module) -> bool:
    """Whether a module can be the end of a block: no padding, dropout, norm or position alone."""
    has_weights = any(parameter.ndim > 1 for parameter in module.parameters())
    return has_weights or not _NO_BLOCKS.search(type(module).__name__)


def _is_bias(output: LayerOutput) -> bool:
    """Whether a module's weights are those of positions: it has some, and is called so."""
    return bool(re.search(r"pos|bias|rope", output.name.rpartition(".")[2], re.IGNORECASE))


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _resolutions_within(outputs: Sequence[LayerOutput]) -> dict[str, set[tuple[int, int]]]:
    """The sizes of all outputs within a module, and its own; those of padding do not count."""
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for each in outputs:
        if each.layout.size is not None and min(each.layout.size) > 1 and is_block(each.module):
            for name in (*_ancestors(each.name), each.name):
                found[name].add(each.layout.size)
    return found


def _isotropic(classifier: Classifier, outputs: Sequence[LayerOutput]) -> list[str]:
    """The longest row of blocks if nearly all weights are in it, and it has one resolution; else nothing."""
    rows: dict[str, list[tuple[int, LayerOutput]]] = defaultdict(list)
    for each in outputs:
        if found := re.fullmatch(r"(.*?)(\d+)", each.name):
            rows[found[1]].append((int(found[2]), each))
    longest = max(rows, key=lambda stem: (len(rows[stem]), -stem.count(".")), default=None)
    row = [] if longest is None else [each for _, each in sorted(rows[longest], key=lambda pair: pair[0])]
    kind = None if not row else type(row[0].module)
    if len(row) < 3 or len({each.layout.size for each in outputs if type(each.module) is kind}) > 1:
        return []
    classes = len(classifier.classes)
    head = {id(p) for m in classifier.model.modules() for p in m.parameters(recurse=False) if p.shape[:1] == (classes,)}
    whole = sum(p.numel() for p in classifier.model.parameters() if id(p) not in head)
    own = sum(p.numel() for each in row for p in each.module.parameters())
    return [each.name for each in row] if own >= _OF_ISOTROPIC * whole else []
