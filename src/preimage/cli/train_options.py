"""The options of `preimage train`, and what can be wrong with them before any picture is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from preimage.cli.options import counted, flag

if TYPE_CHECKING:
    from preimage.classifiers.settings import Settings

_FILES, _DATA, _HOW, _RUN = (Group.create_ordered(name) for name in ("Files", "Data", "Training", "Run"))


@dataclass(frozen=True)
class TrainOptions:
    """All options of the command."""

    output: Annotated[Path, Parameter(name=("--output", "-o"), help="The model, a .pt file.", group=_FILES)]
    overwrite: Annotated[bool, flag("Replace files that are there already.", _FILES)] = False
    report: Annotated[Path | None, Parameter(help="JSON with all numbers, of each epoch too.", group=_FILES)] = None

    label_column: Annotated[
        str | None, Parameter(help="Of a CSV: the class, a number or a word; class_index if not given.", group=_DATA)
    ] = None
    split_column: Annotated[
        str | None, Parameter(help="Of a CSV: it holds train and test; if not given a test part is drawn.", group=_DATA)
    ] = None
    group: Annotated[
        str | None,
        Parameter(help="Of a CSV: what must not be on two sides, a patient or a lesion, say.", group=_DATA),
    ] = None
    size: Annotated[
        int | None,
        counted(
            "The short side in pixels; the pictures' own if not given, at most 120 (or the --classifier's).", _DATA
        ),
    ] = None
    turned: Annotated[
        bool, flag("The pictures have no upright (lesions, cells): learn from them in all directions.", _DATA)
    ] = False

    backbone: Annotated[
        str | None,
        Parameter(
            help="Of torchvision, or timm:NAME; resnet18 if not given, with a stem for small ones under 96 px "
            "(thin_resnet18 with --adversarial).",
            group=_HOW,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        counted("Passes over the training part; if not given 20 to 200, of 2600 steps, 40 with --adversarial.", _HOW),
    ] = None
    batch: Annotated[int | None, counted("Pictures a step; 64 if not given, 128 with --adversarial.", _HOW)] = None
    rate: Annotated[
        float, Parameter(help="Learning rate of AdamW at its highest; that of Muon is 20 times it.", group=_HOW)
    ] = 1e-3
    seed: Annotated[int, counted("Of what is held out, the weights, the order and the augmentation.", _HOW)] = 0
    classifier: Annotated[
        str | None,
        Parameter(
            help="A finished classifier (torchvision:NAME@FILE, timm:NAME, hf:NAME, FILE.pt, module:function), with --freeze.",
            group=_HOW,
        ),
    ] = None
    adversarial: Annotated[
        float | None,
        Parameter(
            name="--adversarial",
            help="Train against perturbations of at most so many 1/255 in every value; 8 is usual. Not with --freeze.",
            group=_HOW,
        ),
    ] = None
    freeze: Annotated[bool, flag("Fit only the loss estimator, to the --classifier as it is.", _HOW)] = False

    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.", group=_RUN)] = "auto"
    threads: Annotated[int | None, counted("Processor threads; by default PyTorch's choice.", _RUN)] = None
    resume: Annotated[
        bool,
        flag("Go on from OUTPUT.checkpoint, which is saved after every epoch and removed at the end.", _RUN),
    ] = False
    quiet: Annotated[bool, flag("Print nothing but errors.", _RUN)] = False
    json: Annotated[bool, flag("Print the report on stdout, and nothing else there.", _RUN)] = False

    @property
    def checkpoint(self) -> Path:
        return self.output.with_name(f"{self.output.name}.checkpoint")

    @property
    def may_replace(self) -> bool:
        """What an interrupted training wrote belongs to its checkpoint."""
        return self.overwrite or (self.resume and self.checkpoint.exists())


def settings_of(options: TrainOptions) -> Settings:
    """How the training goes."""
    from preimage.errors import InputError

    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads must be at least 1, got {options.threads}")
    if options.freeze and options.classifier is None:
        raise InputError("--freeze needs the finished classifier that stays as it is: give --classifier too")
    if options.classifier is not None and not options.freeze:
        raise InputError(
            "--classifier without --freeze would train a finished classifier further, which is not supported: give --freeze to "
            "fit its loss estimator alone, or leave --classifier out to train a classifier anew"
        )
    if options.freeze and options.backbone is not None:
        raise InputError("--backbone is of a classifier that is trained anew: leave it out with --freeze")
    if options.freeze and options.adversarial is not None:
        raise InputError("--adversarial trains a classifier anew: leave it out with --freeze")
    default = _default(options)
    return replace(
        default,
        backbone=options.backbone or default.backbone,
        epochs=default.epochs if options.epochs is None else options.epochs,
        batch=default.batch if options.batch is None else options.batch,
        rate=options.rate,
        upright=not options.turned,
        seed=options.seed,
    )


def _default(options: TrainOptions) -> Settings:
    from preimage.classifiers.settings import Settings

    if options.adversarial is None:
        return Settings()
    from preimage.defend.adversarial import SETTINGS

    return SETTINGS
