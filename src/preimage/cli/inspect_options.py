"""The options of `preimage inspect`, and what can be wrong with them before any picture is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from preimage.cli.options import whole

_FILES, _HOW, _RUN = (Group.create_ordered(name) for name in ("Files", "Inspection", "Run"))


def _count(text: str, group: Group) -> Parameter:
    return Parameter(help=text, group=group, converter=whole)


def _flag(text: str, group: Group) -> Parameter:
    return Parameter(help=text, group=group, show_default=False)


@dataclass(frozen=True)
class InspectOptions:
    """All options of the command."""

    classifier: Annotated[
        str,
        Parameter(
            help="torchvision:NAME@FILE, timm:NAME, hf:NAME, FILE.pt of preimage train, or module:function.", group=_HOW
        ),
    ]
    calibrate: Annotated[
        Path | None,
        Parameter(
            help="A folder of clean pictures of yours: inspect all of them, and write the threshold that 5 % of such pictures "
            "exceed. 19 pictures or more; with INPUT left out.",
            group=_HOW,
        ),
    ] = None
    thresholds: Annotated[
        Path | None, Parameter(help="What --calibrate wrote; without it there is a score and no verdict.", group=_HOW)
    ] = None
    recipe: Annotated[
        str | None,
        Parameter(help="fast (what is taken if not given), paper (as published), or a FILE.json.", group=_HOW),
    ] = None
    steps: Annotated[int | None, _count("Of the fit; the recipe's if not given.", _HOW)] = None
    every: Annotated[
        int | None, _count("Steps between two looks of the classifier; twelve looks if not given.", _HOW)
    ] = None
    seed: Annotated[
        int | None,
        _count(
            "Of all randomness; if not given from the operating system, so that nobody can have prepared for it.", _HOW
        ),
    ] = None

    output: Annotated[
        Path | None,
        Parameter(
            name=("--output", "-o"), help="Of --calibrate: the file, thresholds.json if not given.", group=_FILES
        ),
    ] = None
    overwrite: Annotated[bool, _flag("Replace files that are there already.", _FILES)] = False
    report: Annotated[
        Path | None, Parameter(help="JSON with all numbers; a list for several inputs.", group=_FILES)
    ] = None
    figure: Annotated[
        Path | None,
        Parameter(
            help="PNG, or a folder (needed for several inputs): the picture, early outputs, curves.", group=_FILES
        ),
    ] = None
    page: Annotated[
        int | None, Parameter(help="Which page of a file of several, from 1.", group=_FILES, converter=whole)
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        Parameter(name="--range", help="LOW HIGH: the values of the file that are black and white.", group=_FILES),
    ] = None

    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.", group=_RUN)] = "auto"
    threads: Annotated[int | None, _count("Processor threads; by default PyTorch's choice.", _RUN)] = None
    quiet: Annotated[bool, _flag("Print nothing but errors.", _RUN)] = False
    json: Annotated[bool, _flag("Print the report on stdout, and nothing else there.", _RUN)] = False

    @property
    def written(self) -> Path:
        return self.output or Path("thresholds.json")


def check_options(options: InspectOptions, inputs: Sequence[Path]) -> None:
    """Every option that is wrong whatever the pictures are.

    Raises:
        InputError: naming the option.
    """
    from preimage.errors import InputError
    from preimage.images import check_place

    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads must be at least 1, got {options.threads}")
    if options.calibrate is None and not inputs:
        raise InputError("give a picture to inspect, or --calibrate FOLDER of clean ones")
    if options.calibrate is None and options.output is not None:
        raise InputError(
            f"--output {options.output} is of --calibrate FOLDER: give that too, or --report and --figure instead"
        )
    if options.calibrate is not None and (inputs or options.thresholds or options.figure):
        what = f"INPUT {inputs[0]}" if inputs else "--thresholds" if options.thresholds else "--figure"
        raise InputError(f"--calibrate makes a threshold and inspects no other picture: leave {what} out")
    if options.figure is not None and len(inputs) > 1 and not options.figure.is_dir():
        there = "a file" if options.figure.exists() else "not there: create it first"
        raise InputError(f"--figure must be a folder for several inputs, and {options.figure} is {there}")
    places = [options.report, *(figure_of(path, options) for path in inputs)]
    places += [options.written] if options.calibrate else []
    kinds = {options.report: ".json", options.written: ".json"}
    seen = {path.resolve(): "an input" for path in inputs}
    for place in (place for place in places if place is not None):
        kind = kinds.get(place, ".png")
        if place.suffix.lower() != kind:
            raise InputError(f"{place}: it is written as {kind}: give such a name")
        if place.resolve() in seen:
            raise InputError(f"{place} is written twice, or {seen[place.resolve()]}: choose another name")
        seen[place.resolve()] = "written already"
        check_place(place, overwrite=options.overwrite)


def figure_of(path: Path, options: InspectOptions) -> Path | None:
    figure = options.figure
    return figure / f"{path.stem}-inspect.png" if figure is not None and figure.is_dir() else figure
