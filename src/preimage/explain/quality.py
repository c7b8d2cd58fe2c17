"""How good an explanation of a classifier is, in numbers: near the picture, at the right place, and true of the model.

A picture `before` was changed to `after` so that a classifier says another class. No one number tells whether that explains
anything: an adversarial change reaches the class as well, so that place, spectrum, transfer to a second classifier and the
comparison with a randomized one stand beside it. All pictures are (b, c, h, w) in 0 to 1; all results (b,) unless said.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import nn

from preimage.classifiers import Classifier, LossEstimator
from preimage.classifiers.loss_estimator import rank_correlation
from preimage.errors import InputError
from preimage.explain.abcd import Signs, abcd
from preimage.metrics import ssim

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli, Bovik 2003
WINDOW = 11  # pixels a side, of the Gaussian window of SSIM


def l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference, 0 to 1.

    Example:
        >>> l1(torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5))
        tensor([0.5000])
    """
    _check_alike(a, b)
    return (a - b).abs().flatten(1).mean(1)


def l2(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Root mean square difference, 0 to 1."""
    _check_alike(a, b)
    return (a - b).square().flatten(1).mean(1).sqrt()


def ms_ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Structural similarity over several scales, 1 for equal pictures, 0 at least.

    Five scales from 176 pixels on, four from 99, three from 44, two from 22, then one; their exponents are the published ones,
    made to sum to 1. Values of pictures with different numbers of scales are not to be compared.

    Raises:
        InputError: shapes that differ, or a side below 11 pixels.
    Source: Wang, Simoncelli, Bovik, Multiscale structural similarity for image quality assessment, Asilomar 2003.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    _check_alike(a, b)
    betas = BETAS[: _scales(min(a.shape[-2:]))]
    values = multiscale_structural_similarity_index_measure(
        a.float(), b.float(), reduction="none", data_range=1.0, betas=tuple(beta / sum(betas) for beta in betas)
    )
    return values.reshape(-1)


def _scales(side: int) -> int:
    """As many as leave one window at the coarsest, and as torchmetrics takes."""
    for scales in range(len(BETAS), 0, -1):
        if side >= WINDOW * max(2 ** (scales - 1), (scales - 1) ** 2):
            return scales
    raise InputError(f"MS-SSIM needs {WINDOW} pixels a side, got {side}: take a larger picture")


@torch.no_grad()
def feature_distance(second: Classifier, a: torch.Tensor, b: torch.Tensor, layer: str | None = None) -> torch.Tensor:
    """|f(a) - f(b)|^2 / |f(b)|^2 of the features of a second classifier, 0 for equal ones.

    layer: by default the last one that still knows of places, (b, c, h, w) or tokens (b, n, c); the last but one where none does.
    """
    _check_alike(a, b)
    layer = layer or _last_spatial(second.shapes(b[:1]))
    of_a, of_b = (second.features(x, layer).flatten(1) for x in (a, b))
    return _ratio((of_a - of_b).square().sum(1), of_b.square().sum(1))


def _last_spatial(shapes: dict[str, tuple[int, ...]]) -> str:
    spatial = [layer for layer, shape in shapes.items() if sum(side > 1 for side in shape[1:]) > 1]
    return spatial[-1] if spatial else list(shapes)[-2:][0]


def inside_share(change: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Share of the squared change inside a mask over the mask's share of the area; 1 is chance, NaN where nothing changed.

    Example:
        >>> mask = torch.zeros(16, 16, dtype=torch.bool)
        >>> mask[:8, :8] = True
        >>> inside_share(mask.expand(1, 3, 16, 16).float(), mask)
        tensor([4.])

    Args:
        change: (b, c, h, w), of any sign.
        mask: bool (h, w), or (b, 1, h, w): one for each.

    Raises:
        InputError: a mask of another size or kind, or one that is empty or full, which every change fits.
    """
    mask = _checked_mask(mask, change)
    energy = change.square().sum(1, keepdim=True)
    share = _ratio((energy * mask).flatten(1).sum(1), energy.flatten(1).sum(1))
    return share / mask.float().flatten(1).mean(1)


def inside_share_of_others(change: torch.Tensor, masks: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean `inside_share` of the same change under the masks of other pictures, each bool (h, w): (n, h, w) or a list.

    Lesions are central, so that any central change scores above 1; only what exceeds this number is about the picture itself.
    """
    if len(masks) == 0:
        raise InputError("the change is compared under the masks of other pictures, got none: give one at least")
    return torch.stack([inside_share(change, mask) for mask in masks]).mean(0)


def high_frequency_share(change: torch.Tensor, cutoff: float = 0.25) -> torch.Tensor:
    """The share of the change's spectral energy above a radial frequency, its mean removed; 0 to 1, 0 where nothing varies.

    cutoff: in cycles per pixel, 0 to 0.5; a quarter is half of the Nyquist frequency. White noise has 1 - pi/16 = 0.80 above it.
    """
    if not 0 <= cutoff <= 0.5:
        raise InputError(f"the cutoff must be from 0 to 0.5 cycles per pixel, got {cutoff}: 0.25 is usual")
    change = change.double()
    varying = change - change.mean((2, 3), keepdim=True)
    energy = torch.fft.fft2(varying).abs().square().sum(1)
    vertical, horizontal = (torch.fft.fftfreq(side, device=change.device) for side in change.shape[-2:])
    above = torch.hypot(vertical[:, None], horizontal[None, :]) > cutoff
    share = _ratio((energy * above).flatten(1).sum(1), energy.flatten(1).sum(1))
    # Of a uniform change the rounding of its mean is left, which has a spectrum as well.
    varies = varying.square().flatten(1).sum(1) > 1e-12 * change.square().flatten(1).sum(1)
    return torch.where(varies, share, torch.zeros_like(share)).float()


def heat_map(change: torch.Tensor) -> torch.Tensor:
    """Where it changed, whatever the sign: the mean over channels of |change|, (b, c, h, w) -> (b, 1, h, w)."""
    return change.abs().mean(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Transfer:
    """Of some classifier: the probability of the target before and after, and whether it is its class after; (b,) each."""

    before: torch.Tensor
    after: torch.Tensor
    reached: torch.Tensor

    @property
    def gain(self) -> torch.Tensor:
        return self.after - self.before


@torch.no_grad()
def transfer(second: Classifier, before: torch.Tensor, after: torch.Tensor, target: str | int) -> Transfer:
    """Whether a second, independently trained classifier follows the change: real ones transfer, adversarial ones rarely.

    Of the classifier that was explained itself it gives validity and confidence. target: a class that both have, by name.
    """
    _check_alike(after, before)
    index = second.class_index(target)
    first, last = second.probabilities(before), second.probabilities(after)
    return Transfer(first[:, index], last[:, index], last.argmax(1) == index)


@torch.no_grad()
def estimated_loss(classifier: Classifier, estimator: LossEstimator, x: torch.Tensor) -> torch.Tensor:
    """The estimated loss of pictures, in units of its spread, counted from the median of those it was settled on."""
    _, features = classifier.logits_and_features(x, estimator.layers)
    return estimator.relative(estimator(features), 0.5)


@dataclass(frozen=True)
class Stability:
    """The mean correlation of every two seeds, -1 to 1: of their changes, and of their heat maps."""

    change: float
    heat_map: float


def stability(changes: torch.Tensor) -> Stability:
    """How alike the changes of several seeds to one picture are, (n, c, h, w): Pearson's correlation, mean over all pairs.

    Raises:
        InputError: fewer than two.
    """
    if changes.ndim != 4 or len(changes) < 2:
        raise InputError(
            f"stability compares the changes (n, c, h, w) of two seeds or more, got {tuple(changes.shape)}"
        )
    return Stability(_mean_correlation(changes), _mean_correlation(heat_map(changes)))


def _mean_correlation(rows: torch.Tensor) -> float:
    count = len(rows)
    table = torch.corrcoef(rows.double().flatten(1))
    return float((table.sum() - table.trace()) / (count * (count - 1)))


def randomized(classifier: Classifier, pictures: torch.Tensor, *, seed: int = 0) -> Classifier:
    """A copy that has learned nothing: the entries of each of its weights and biases are shuffled, which keeps their scale.

    The statistics of batch norms are then measured anew; those of the trained network would let the logits grow without bound
    layer by layer. The given classifier is not touched.

    Args:
        pictures: (b, 1 or 3, h, w) on which they are measured, with their mirror images: those to be explained.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, the model parameter randomization test.
    """
    other = copy.deepcopy(classifier)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.model.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
        _measure_batch_norms(other, torch.cat([pictures, pictures.flip(3)]))
    return other


def _measure_batch_norms(classifier: Classifier, pictures: torch.Tensor) -> None:
    norms = [
        m for m in classifier.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over what is seen
        norm.train()
    if norms:
        classifier(pictures)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@dataclass(frozen=True, eq=False)
class Sanity:
    """How alike two heat maps are, (b,) each, 0 to 1: low says that the explanation depends on what the model has learned."""

    rank_correlation: torch.Tensor
    similarity: torch.Tensor


def sanity(change: torch.Tensor, change_of_randomized: torch.Tensor) -> Sanity:
    """The change against the one that explains a `randomized` classifier: |Spearman's correlation| and SSIM of the heat maps.

    Each map is divided by its largest value first. A map without any change has NaN for a correlation.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3.
    """
    _check_alike(change, change_of_randomized)
    maps = [heat_map(x.float()) for x in (change, change_of_randomized)]
    correlations = [rank_correlation(a, b) for a, b in zip(*maps, strict=True)]
    scaled = [x / x.amax((1, 2, 3), keepdim=True).clamp_min(1e-12) for x in maps]
    return Sanity(change.new_tensor(correlations).abs(), ssim(scaled[0], scaled[1]).clamp_min(0))


@dataclass(frozen=True, eq=False)
class Quality:
    """What `judge` found, (b,) each; None where nothing was given to tell it by. `as_dict` gives plain numbers."""

    valid: torch.Tensor
    confidence_before: torch.Tensor
    confidence_after: torch.Tensor
    l1: torch.Tensor
    l2: torch.Tensor
    ms_ssim: torch.Tensor
    high_frequency_share: torch.Tensor
    inside_share: torch.Tensor | None = None
    inside_share_of_others: torch.Tensor | None = None
    feature_distance: torch.Tensor | None = None
    transfer: Transfer | None = None
    loss_before: torch.Tensor | None = None
    loss_after: torch.Tensor | None = None
    signs_before: tuple[Signs, ...] | None = None
    signs_after: tuple[Signs, ...] | None = None

    def as_dict(self, member: int = 0) -> dict[str, float | bool | None]:
        """One picture's numbers, flat: "transfer_after", "asymmetry_before" and so on; None where one was not asked for."""
        table: dict[str, float | bool | None] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            name, _, when = each.name.partition("_")
            if name == "signs":
                for sign in fields(Signs):
                    table[f"{sign.name}_{when}"] = getattr(value[member], sign.name) if value else None
            elif name == "transfer":
                for part in fields(Transfer):
                    table[f"transfer_{part.name}"] = getattr(value, part.name)[member].item() if value else None
            else:
                table[each.name] = None if value is None else value[member].item()
        return table


def judge(
    before: torch.Tensor,
    after: torch.Tensor,
    *,
    classifier: Classifier,
    target: str | int,
    reconstruction: torch.Tensor | None = None,
    estimator: LossEstimator | None = None,
    mask: torch.Tensor | None = None,
    other_masks: torch.Tensor | Sequence[torch.Tensor] | None = None,
    second: Classifier | None = None,
    signs: bool = False,
) -> Quality:
    """All numbers that what is given allows, of pictures that were changed towards a class.

    Example:
        >>> judge(before, after, classifier=classifier, target="melanoma", mask=mask).as_dict()["inside_share"]
        1.8

    Args:
        before, after: (b, c, h, w) in 0 to 1, on any device; they are judged where the classifier is.
        target: the class that was wanted, by name or index.
        reconstruction: what the same fit gives without the class; the change then is after - reconstruction, for place and
            spectrum, and what the prior cannot draw does not count as change. Without it, after - before.
        estimator: of the classifier's loss, settled.
        mask: bool (h, w) or (b, 1, h, w), where the change should be; other_masks: those of other pictures, (h, w) each.
        second: an independently trained classifier that has the target among its classes.
        signs: also the ABCD signs, of color pictures of lesions.

    Raises:
        InputError: pictures that differ in shape, or whatever the single functions raise.
    """
    place = classifier.mean.device
    before, after = before.to(place), after.to(place)
    base = before if reconstruction is None else reconstruction.to(place)
    _check_alike(after, before)
    _check_alike(after, base)
    change = after - base
    own = transfer(classifier, before, after, target)
    return Quality(
        valid=own.reached,
        confidence_before=own.before,
        confidence_after=own.after,
        l1=l1(after, before),
        l2=l2(after, before),
        ms_ssim=ms_ssim(after, before),
        high_frequency_share=high_frequency_share(change),
        inside_share=None if mask is None else inside_share(change, mask),
        inside_share_of_others=None if other_masks is None else inside_share_of_others(change, other_masks),
        feature_distance=None if second is None else feature_distance(second, after, before),
        transfer=None if second is None else transfer(second, before, after, target),
        loss_before=None if estimator is None else estimated_loss(classifier, estimator, before),
        loss_after=None if estimator is None else estimated_loss(classifier, estimator, after),
        signs_before=tuple(abcd(x) for x in before) if signs else None,
        signs_after=tuple(abcd(x) for x in after) if signs else None,
    )


def _check_alike(a: torch.Tensor, b: torch.Tensor) -> None:
    if a.ndim != 4 or a.shape != b.shape:
        raise InputError(
            f"the pictures are {tuple(a.shape)} and {tuple(b.shape)}: they must be (b, c, h, w), of one shape"
        )


def _checked_mask(mask: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    b, _, h, w = change.shape
    if mask.dtype != torch.bool:
        raise InputError(f"the mask must be bool, got {mask.dtype}: mask > 0.5 makes one of grey values")
    if tuple(mask.shape) not in ((h, w), (b, 1, h, w)):
        raise InputError(f"the mask is {tuple(mask.shape)}: it must be {(h, w)} or {(b, 1, h, w)}, as the change is")
    mask = mask.to(change.device).expand(b, 1, h, w)
    areas = mask.float().flatten(1).mean(1)
    if bool((areas == 0).any()) or bool((areas == 1).any()):
        shares = ", ".join(f"{area:g}" for area in areas.tolist())
        raise InputError(
            f"the mask covers {shares} of the picture: no place can be judged by an empty or a full one, leave it out"
        )
    return mask


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """part / whole, NaN where the whole is nothing."""
    return torch.where(whole > 0, part / whole, torch.full_like(part, float("nan")))
