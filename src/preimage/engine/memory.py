"""How much memory a fit will need, estimated without computing anything: a forward pass on PyTorch's meta device."""

from __future__ import annotations

import copy

import torch

from preimage.engine.devices import free_memory
from preimage.engine.members import stacking_pays
from preimage.engine.recipe import Recipe
from preimage.errors import InputError
from preimage.optimizers import muon
from preimage.prior import Prior

# What PyTorch's kernels keep beside the tensors saved for the backward pass, as a factor on these.
WORKSPACE = 1.25
_SMALL = 128  # pixels a side from which on networks have all of their levels, or nearly


def check_memory(prior: Prior, recipe: Recipe) -> None:
    """Raise InputError if a fit needs more memory than is free."""
    needed, free = estimated_bytes(prior, recipe), free_memory(prior.device)
    if needed is None or free is None or needed <= free:
        return
    height, width = prior.size
    raise InputError(
        f"fitting {width} x {height} pixels needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB is free: "
        "use tiles (tile=512, --tile 512), a smaller image, a thinner network, fewer restarts, or precision bfloat16",
        code="memory",
    )


def estimated_bytes(prior: Prior, recipe: Recipe, *, stacked: bool | None = None) -> int | None:
    """Bytes that a fit allocates beside the program itself; None for a network that the meta device cannot run.

    Saved activations of the members computed at once, and for each member weights, gradient, optimizer state and a
    snapshot of these, code, and a few pictures.
    """
    activations = saved_bytes(prior)
    if activations is None:
        return None
    at_once = len(prior) if (stacking_pays(prior) if stacked is None else stacked) else 1
    weights = sum(p.numel() for p in prior.networks[0].parameters()) * 4
    copies = 2 + 2 * (1 if recipe.optimizer is muon else 2) + 1
    code = prior.codes[0].numel() * 4
    pictures = 12 * prior.size[0] * prior.size[1] * 3 * 4
    pool = code * (2 if recipe.jitter_pool is None else recipe.jitter_pool + 1)
    return int(WORKSPACE * activations * at_once + len(prior) * (copies * weights + code + pictures) + pool)


def expected_bytes(
    recipe: Recipe,
    channels: int,
    size: tuple[int, int],
    *,
    members: int,
    device: str | torch.device,
    code: bool = False,
) -> int | None:
    """The same for a prior that is not built, since it may not fit; extrapolated from a smaller one, linearly in the pixels.

    Example:
        >>> expected_bytes(Recipe(), 3, (4000, 6000), members=1, device="cpu") > 1e11
        True

    `code`: whether the code is an image of that many channels.
    """
    height, width = size
    sides = [(min(side, height), min(side, width)) for side in (_SMALL, 2 * _SMALL)]
    needed, pixels = [], []
    for h, w in sides:
        image = torch.zeros(1, channels, h, w) if code else None
        prior = recipe.prior(channels, (h, w), members=members, device=device, code=image)
        needed.append(estimated_bytes(prior, recipe))
        pixels.append(h * w)
    less, more = needed
    if less is None or more is None or pixels[0] == pixels[1]:
        return more
    return int(more + (height * width - pixels[1]) * (more - less) / (pixels[1] - pixels[0]))


def saved_bytes(prior: Prior) -> int | None:
    """Bytes of the tensors that autograd keeps in one forward pass of one member, in the prior's precision."""
    saved: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> None:
        """Keep none of them in the graph: an output that its own node holds would never be freed."""
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage

    try:
        network = copy.deepcopy(prior.networks[0]).to("meta")
        with torch.autograd.graph.saved_tensors_hooks(note, lambda _: torch.empty(0)):
            network(torch.empty(prior.input_shape, device="meta"))
    except (RuntimeError, NotImplementedError):
        return None
    total = sum(storage.nbytes() for storage in saved.values())
    return total // 2 if prior.dtype == torch.bfloat16 else total
