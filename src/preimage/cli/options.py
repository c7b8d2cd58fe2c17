"""The options that every task has: where files go, how the fit runs, what is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

_FILES = Group.create_ordered("Files")
_FIT = Group.create_ordered("Fit")
_RUN = Group.create_ordered("Run")

StopName = Literal[
    "auto", "steps", "risk", "held-out", "windowed-variance", "moving-variance", "discrepancy", "plateau"
]
QualityName = Literal["fast", "balanced", "best"]
PriorName = Literal["skip", "deep-decoder", "pixels"]


def whole(kind: Any, tokens: Sequence[Token]) -> int:
    """A whole number, of which 3.5 is none (it would be rounded)."""
    del kind
    return int(tokens[0].value)


def side(kind: Any, tokens: Sequence[Token]) -> int | str:
    """The side of a tile: auto, none, or a whole number."""
    del kind
    given = tokens[0].value
    return given if given in ("auto", "none") else int(given)


def counted(text: str, group: Group) -> Parameter:
    """An option that is a whole number."""
    return Parameter(help=text, group=group, converter=whole)


def flag(text: str, group: Group) -> Parameter:
    """An option that is there or not."""
    return Parameter(help=text, group=group, show_default=False)


@dataclass(frozen=True)
class Options:
    """File and run options, the same in every command that makes pictures from pictures."""

    output: Annotated[
        Path | None,
        Parameter(
            name=("--output", "-o"),
            help="The picture to write, or a folder that is there (needed for several inputs). Its extension chooses "
            "the format. By default NAME-TASK.EXT in the current folder.",
            group=_FILES,
        ),
    ] = None
    preview: Annotated[
        bool,
        flag(
            "Restore the middle 256 x 256 pixels alone, as NAME-TASK-preview.EXT if no file is named, and say how long the "
            "whole will take.",
            _FILES,
        ),
    ] = False
    overwrite: Annotated[bool, flag("Replace files that are there already.", _FILES)] = False
    report: Annotated[
        Path | None, Parameter(help="JSON with what was done; a list for several inputs.", group=_FILES)
    ] = None
    reference: Annotated[
        Path | None,
        Parameter(
            help="The true picture, or a folder with one of the same name for each input: PSNR and SSIM are reported, "
            "never used by the fit, which goes on half as long again to find its best step.",
            group=_FILES,
        ),
    ] = None
    figure: Annotated[
        Path | None,
        Parameter(help="PNG, or a folder: before, after, difference, loss and stop curve.", group=_FILES),
    ] = None
    uncertainty: Annotated[
        Path | None,
        Parameter(
            help="TIFF, or a folder: standard deviation over the restarts, in units of the input file.", group=_FILES
        ),
    ] = None
    film: Annotated[
        Path | None, Parameter(help="GIF or WebP, or a folder: the outputs over the steps.", group=_FILES)
    ] = None
    every: Annotated[
        int | None,
        counted("Steps between two pictures of the film, 10 if not given.", _FILES),
    ] = None
    page: Annotated[
        int | Literal["all"] | None,
        Parameter(help="Which page of a file of several: a number from 1, or all.", group=_FILES),
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        Parameter(
            name="--range",
            help="LOW HIGH: the values of the file that are black and white; by default 0 and 255 for 8 bits, else the "
            "least and greatest value.",
            group=_FILES,
        ),
    ] = None

    recipe: Annotated[
        str | None,
        Parameter(help="fast (what is taken if not given), paper (as published), or a FILE.json.", group=_FIT),
    ] = None
    quality: Annotated[
        QualityName | None,
        Parameter(
            help="fast (what is taken if not given): one fit mostly; balanced: the mean of 2 or 3, in as many times the time; "
            "best: of 4 to 8. Not beside --recipe.",
            group=_FIT,
        ),
    ] = None
    prior: Annotated[
        PriorName,
        Parameter(
            help="skip: the network of the recipe. deep-decoder and pixels (no network; best with --tv 1e-6)"
            " bring settings of their own.",
            group=_FIT,
        ),
    ] = "skip"
    stop: Annotated[StopName, Parameter(help="The rule that ends the fit; auto: the task chooses.", group=_FIT)] = (
        "auto"
    )
    steps: Annotated[int | None, counted("At most so many; exactly, with --stop steps.", _FIT)] = None
    restarts: Annotated[int | None, counted("Fits that are averaged; by default the recipe's.", _FIT)] = None
    warm_start: Annotated[
        bool,
        flag(
            "Fit the pages of --page all, or several inputs, one after another, each from the weights of the last; all "
            "must have one size. Of an input that an earlier command finished there are weights only if --autosave kept "
            "them; without any, the next begins afresh.",
            _FIT,
        ),
    ] = False
    tile: Annotated[
        int | Literal["auto", "none"],
        Parameter(
            help="SIDE in pixels of the tiles that a large picture is cut into, at least 16, each a fit with a stop of its own; "
            "auto: only if it does not fit into memory; none: never.",
            group=_FIT,
            converter=side,
        ),
    ] = "auto"
    tile_overlap: Annotated[
        int | None,
        counted(
            "Pixels that tiles of --tile SIDE share with the next, and are blended over; by default an eighth.", _FIT
        ),
    ] = None
    strength: Annotated[
        float, Parameter(help="Blend with the input: 1 is the result alone, 0 the input.", group=_FIT)
    ] = 1.0
    seed: Annotated[int, counted("Of all randomness.", _FIT)] = 0

    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.", group=_RUN)] = "auto"
    threads: Annotated[int | None, counted("Processor threads; by default PyTorch's choice.", _RUN)] = None
    autosave: Annotated[
        int | None,
        counted(
            "Save a checkpoint every so many steps as OUTPUT.checkpoint; removed once the output is complete (with "
            "--warm-start: and the next input has its own).",
            _RUN,
        ),
    ] = None
    resume: Annotated[
        bool,
        flag("Go on from OUTPUT.checkpoint where there is one (and then replace what an interrupted run wrote).", _RUN),
    ] = False
    quiet: Annotated[bool, flag("Print nothing but errors.", _RUN)] = False
    json: Annotated[bool, flag("Print the report on stdout, and nothing else there.", _RUN)] = False
