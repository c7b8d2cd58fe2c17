"""What a classifier returns, and the logits F of it: classes that exclude one another, or independent labels.

| output | the model returns | logits F | probabilities of F |
|---|---|---|---|
| logits | F | as they are | softmax F |
| probabilities | p, the softmax of F | log p | softmax F = p |
| sigmoid | p, the sigmoid of each F | log p - log(1 - p) | softmax F |
| labels | F of independent labels | as they are | sigmoid F, each by itself |
| label-probabilities | p, the sigmoid of each F, of independent labels | log p - log(1 - p) | sigmoid F = p |

A single logit z is that of the second of two classes: F = (-z/2, z/2), whose softmax is (1 - sigmoid z, sigmoid z), and in which
each class has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from preimage.classifiers.modules import called
from preimage.errors import InputError

OutputKind = Literal["logits", "probabilities", "sigmoid", "labels", "label-probabilities"]
INDEPENDENT = ("labels", "label-probabilities")
_STATED = ("probabilities", "sigmoid", "label-probabilities")
PRESENT = 0.5  # the probability from which on an independent label is predicted

_SUM, _SATURATED = 1e-3, 1e-3  # how far from 1 a sum may be; how near to 0 or 1 no logit comes by chance
_PROBES, _AMPLITUDES = 4, (1.0, 10.0, 100.0)  # images of noise, and its standard deviations in the model's own input
# Nodes of a graph of gradients that change no value but its place or precision.
_SAME = (
    "View",
    "Unsafe",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Alias",
    "ToCopy",
    "Clone",
    "Select",
    "Slice",
    "Mean",
    "T",
)


class NoLogitsError(InputError):
    """A model returns no logits, and what it returns is not stated.

    Args:
        reason: what it returns.
        way: how that is stated in Python, behind output=.
        option: by which it is stated at the command line.
    """

    def __init__(self, reason: str, way: str, option: str = "--classifier-output") -> None:
        super().__init__(f"{reason}: state output={way} of its Classifier ({option})", code="classifier")
        self.reason: str = reason
        self.way: str = way
        self.option: str = option

    def __reduce__(self) -> tuple[type[NoLogitsError], tuple[str, str, str]]:
        return NoLogitsError, (self.reason, self.way, self.option)


def checked_output(output: Any) -> OutputKind | None:
    """The kind of output, or None, if it is one.

    Raises:
        InputError: another word.
    """
    if output is not None and output not in get_args(OutputKind):
        raise InputError(f"output must be one of {', '.join(get_args(OutputKind))}, got {output!r}")
    return output


def tensor_in(output: Any, what: str) -> torch.Tensor:
    """The tensor that matters in what a model or a layer returns: itself, the first of a tuple, "logits" or "out" of a dict."""
    if isinstance(output, torch.Tensor):
        return output
    named = [getattr(output, "logits", None)]  # transformers, GoogLeNet
    if isinstance(output, dict):
        named += [output.get(name) for name in ("logits", "out", "last_hidden_state")]
    for value in named:
        if isinstance(value, torch.Tensor):
            return value
    if isinstance(output, tuple | list) and output:
        return tensor_in(output[0], what)
    raise InputError(
        f"{what} returned {type(output).__name__}: return a tensor, a tuple, a dict with 'logits' or an object with .logits",
        code="classifier",
    )


def rows_in(output: Any, images: int, classes: int, kind: OutputKind | None) -> torch.Tensor:
    """The values (b, classes) that a model returned for b images, in single precision or double; (b, 1) of two classes.

    Raises:
        InputError: another shape, for example of a forward that squeezes.
    """
    values = tensor_in(output, "the classifier")
    own = tuple(values.shape)
    one = classes == 2 and kind not in INDEPENDENT  # output for two classes
    if one and own == (images,):
        values = values[:, None]
    if tuple(values.shape) not in {(images, classes), (images, 1 if one else classes)}:
        wanted = f"({images}, {classes})" + f" or ({images}, 1)" * one
        way = "drop the squeeze() of its forward, or name its axis" if len(own) < 2 else "give as many class names"
        if len(own) == 2 and own[0] != images:
            way = "its forward must keep the images apart"
        raise InputError(
            f"the classifier must return logits {wanted} for {_counted(images)} of {classes} classes, got {own}: {way}",
            code="classifier",
        )
    return values if values.dtype == torch.float64 else values.float()


class Returned(NamedTuple):
    """What a model returned, and the logits (b, classes) of which its last module made that; None: it ends in no such module."""

    output: Any
    logits: torch.Tensor | None


def returned(model: nn.Module, kind: OutputKind | None, x: torch.Tensor) -> Returned:
    """What a model returns for its input; of probabilities by nn.Softmax or nn.Sigmoid as its last module also their logits.

    A probability that is rounded to 1 has lost its gradient; what the module was given has not.
    """
    if kind not in _STATED:
        return Returned(called(model, x), None)
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    thread = get_ident()

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if get_ident() == thread:  # else another thread's pass through the same model
            found[id(output)] = output, inputs[0]

    ends = [part for part in model.modules() if isinstance(part, nn.Softmax | nn.Sigmoid)]
    handles = [part.register_forward_hook(keep) for part in ends]
    try:
        output = called(model, x)
    finally:
        for handle in handles:
            handle.remove()
    _, before = found.get(id(tensor_in(output, "the classifier")), (None, None))
    if before is None or before.ndim != 2:
        return Returned(output, None)
    before = before if before.dtype == torch.float64 else before.float()
    if before.shape[1] == 1:
        return Returned(output, of_two_classes(before[:, 0]))
    return Returned(output, before.log_softmax(1) if kind == "probabilities" else before)


def of_two_classes(z: torch.Tensor) -> torch.Tensor:
    """The logits (b, 2) of two classes, of the logit z (b,) of the second: their softmax is (1 - sigmoid z, sigmoid z)."""
    return torch.stack([-z / 2, z / 2], 1)


def logits_from(values: torch.Tensor, kind: OutputKind | None) -> torch.Tensor:
    """The logits F (b, classes) of values (b, classes), or (b, 1) of the second of two classes.

    Example:
        >>> logits_from(torch.tensor([[0.2, 0.8]]), "probabilities").softmax(1)
        tensor([[0.2, 0.8]])
        >>> logits_from(torch.tensor([[0.8]]), "sigmoid").softmax(1)
        tensor([[0.2, 0.8]])
    """
    single = values.shape[1] == 1
    if kind in ("sigmoid", "label-probabilities") or (kind == "probabilities" and single):
        limits = torch.finfo(values.dtype)
        p = values.clamp(limits.tiny, 1 - limits.eps / 2)
        values = p.log() - (-p).log1p()
    elif kind == "probabilities":
        values = values.clamp_min(torch.finfo(values.dtype).tiny).log()
    return of_two_classes(values[:, 0]) if single else values


# ---------------------------------------------------------------------- what the values look like


def check_output(
    kind: OutputKind | None, values: torch.Tensor, again: Callable[[torch.Tensor], torch.Tensor], probes: Probes
) -> bool:
    """Check that the values (b, classes) of a model are what they are stated to be; None: logits, unless they cannot be.

    Range and sums of these images are evidence for logits at once. Those that look like probabilities are confirmed by noise.

    Args:
        kind: what is stated.
        again: the values of further inputs of the model.
        probes: these inputs.

    Returns:
        Whether that is known now: values that are not finite say nothing.

    Raises:
        InputError: probabilities where logits are stated or nothing is, or values that are no probabilities where these are.
    """
    values = values.detach()
    if kind == "logits" or not bool(values.isfinite().all()):
        return kind == "logits"
    found = _looks_like(values)
    if kind in _STATED:
        one = values.shape[1] == 1
        if found is None or (kind == "probabilities" and not one and found != "probabilities"):
            low, high = (float(end) for end in values.aminmax())
            wanted = "rows from 0 to 1 of sum 1" if kind == "probabilities" and not one else "values from 0 to 1"
            reason = f"output {kind!r} is of {wanted}, and the classifier returns values from {low:.3g} to {high:.3g}"
            raise InputError(f"{reason}{_sums(values)}: state what it returns, logits for example", code="classifier")
        return True
    found = None if found is None else _confirmed(values, again, probes)
    if found is None:
        return True
    rest = " of sum 1" if found == "probabilities" else ""
    way = "'probabilities'" if rest else "'sigmoid', or 'label-probabilities' for independent labels"
    reason = f"the classifier returns no logits but values from 0 to 1{rest}"
    raise NoLogitsError(reason, way)


class Probes:
    """Inputs of a model by which its outputs are known: noise, ever stronger, so that logits leave any range.

    Args:
        like: (b, c, h, w), inputs of the model, whose shape they have.
        unit: the model takes images in 0 to 1 alone, and so are they.
    """

    def __init__(self, like: torch.Tensor, *, unit: bool = False) -> None:
        self.like: torch.Tensor = like.detach()
        self.unit = unit

    def __iter__(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        for amplitude in _AMPLITUDES:
            for _ in range(-(-_PROBES // len(self.like))):
                if self.unit:
                    yield torch.rand(self.like.shape, generator=generator).to(self.like)
                else:
                    yield amplitude * torch.randn(self.like.shape, generator=generator).to(self.like)


def _looks_like(values: torch.Tensor) -> Literal["probabilities", "sigmoid"] | None:
    """By range and sums alone."""
    low, high = (float(end) for end in values.aminmax())
    if low < 0 or high > 1 + _SUM:
        return None
    of_sum_one = values.shape[1] > 1 and bool(((values.sum(1) - 1).abs() < _SUM).all())
    return "probabilities" if of_sum_one else "sigmoid" if high <= 1 else None


def _confirmed(
    values: torch.Tensor, again: Callable[[torch.Tensor], torch.Tensor], probes: Probes
) -> Literal["probabilities", "sigmoid"] | None:
    """The kind of probabilities that the values of noise are, too, if that cannot be by chance."""
    rows, named = [values], False
    with torch.inference_mode(False), torch.enable_grad():
        for probe in probes:
            found = again(probe.requires_grad_())
            named = named or _ends_in(found, ("Softmax", "Sigmoid"))
            if bool(found.isfinite().all()):
                rows.append(found.detach())
    of_all = torch.cat(rows)
    kind = _looks_like(of_all)
    if kind is None or named:
        return kind
    # Without the name of a function in the graph of gradients: logits within 0 to 1 for all inputs are those of a constant or
    # of a normalized and small head. Sums of 1 are none by chance, nor are values that come near to a bound and never cross it.
    varies = bool((of_all - of_all[:1]).abs().max() > 1e-6)
    near = float(torch.minimum(of_all, 1 - of_all).min()) < _SATURATED
    return kind if varies and (kind == "probabilities" or near) else None


def _ends_in(values: torch.Tensor, functions: tuple[str, ...]) -> bool:
    """Whether the last operation that changed values was one of these functions, by the graph of gradients."""
    node = values.grad_fn
    while node is not None and node.name().startswith(_SAME):
        node = node.next_functions[0][0] if node.next_functions else None
    return node is not None and node.name().startswith(functions)


def _sums(values: torch.Tensor) -> str:
    if values.shape[1] == 1:
        return ""
    low, high = (float(end) for end in values.sum(1).aminmax())
    return f", of sums from {low:.3g} to {high:.3g}"


def _counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
