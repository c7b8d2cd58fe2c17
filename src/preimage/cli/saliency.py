"""`preimage saliency INPUT --classifier P`: where a classifier looks, drawn over the picture, and whether that is true of it."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Group, Parameter

from preimage.cli.options import whole

if TYPE_CHECKING:
    from preimage.classifiers import Classifier
    from preimage.defend.faithfulness import Curve
    from preimage.defend.methods import SaliencyMap
    from preimage.images import Picture

_FILES, _TASK, _RUN = (Group.create_ordered(name) for name in ("Files", "Saliency", "Run"))
_ARRAYS = (".npy", ".npz", ".tif", ".tiff")


def _count(text: str, group: Group) -> Parameter:
    return Parameter(help=text, group=group, converter=whole)


def _flag(text: str, group: Group) -> Parameter:
    return Parameter(help=text, group=group, show_default=False)


@dataclass(frozen=True)
class SaliencyOptions:
    """All options of the command."""

    classifier: Annotated[
        str,
        Parameter(
            help="FILE.pt of `preimage train`, torchvision:NAME, timm:NAME, hf:NAME (each perhaps with @FILE of weights, or "
            "@none), or module.path:function.",
            group=_TASK,
        ),
    ]
    target: Annotated[
        str | None,
        Parameter(
            help="The class that is asked about, by name or number; the one that it says if not given.", group=_TASK
        ),
    ] = None
    method: Annotated[
        str,
        Parameter(
            help="mig-sg, gradient, input-x-gradient, integrated-gradients, smoothgrad, guided-backprop, gradcam or occlusion; "
            "several with commas between: a figure with a panel for each, and a table.",
            group=_TASK,
        ),
    ] = "mig-sg"
    steps: Annotated[int, _count("From the baseline to the picture; of mig-sg and integrated-gradients.", _TASK)] = 50
    samples: Annotated[
        int | None, _count("Noisy copies; if not given, 4 at each step of mig-sg, and 50 of smoothgrad.", _TASK)
    ] = None
    sigma: Annotated[float, Parameter(help="Of the noise of mig-sg and smoothgrad, white being 1.", group=_TASK)] = 0.15
    baseline: Annotated[
        str,
        Parameter(
            help="What nothing is: blur (the picture blurred), mean (its mean color), black, gray, white, or a number from 0 to "
            "1; of mig-sg, integrated-gradients and occlusion.",
            group=_TASK,
        ),
    ] = "blur"
    layer: Annotated[str | None, Parameter(help="Of gradcam; the last one with places if not given.", group=_TASK)] = (
        None
    )
    deleted: Annotated[
        Literal["black", "blur"], Parameter(help="What stands where pixels are deleted: black or blur.", group=_TASK)
    ] = "black"
    seed: Annotated[int, _count("Of the noise.", _TASK)] = 0

    output: Annotated[
        Path | None,
        Parameter(
            name=("--output", "-o"),
            help="The overlay, as large as the picture; of several methods the figure (PNG). By default NAME-saliency.png in the "
            "current folder.",
            group=_FILES,
        ),
    ] = None
    array: Annotated[
        Path | None,
        Parameter(
            help="The map, as large as the picture: .npy, .npz (an entry for each method) or .tif; of several methods one after "
            "another.",
            group=_FILES,
        ),
    ] = None
    figure: Annotated[Path | None, Parameter(help="PNG: picture, overlay, curves of both scores.", group=_FILES)] = None
    report: Annotated[Path | None, Parameter(help="JSON with all numbers.", group=_FILES)] = None
    overwrite: Annotated[bool, _flag("Replace files that are there already.", _FILES)] = False
    page: Annotated[
        int | None, Parameter(help="Which page of a file of several, from 1.", group=_FILES, converter=whole)
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        Parameter(
            name="--range",
            help="LOW HIGH: values of the file that are black and white; 0 and 255 by default for 8 bits, 0 and 65535 for 16",
            group=_FILES,
        ),
    ] = None

    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.", group=_RUN)] = "auto"
    threads: Annotated[int | None, _count("Processor threads; by default PyTorch's choice.", _RUN)] = None
    quiet: Annotated[bool, _flag("Print nothing but errors.", _RUN)] = False
    json: Annotated[bool, _flag("Print the report on stdout, and nothing else there.", _RUN)] = False


@dataclass(frozen=True, eq=False)
class _Judged:
    """A map, its curves, and the seconds that the map took."""

    found: SaliencyMap
    insertion: Curve
    deletion: Curve
    seconds: float


def saliency(
    source: Annotated[Path, Parameter(name="INPUT", help="A picture: PNG, JPEG, WebP, TIFF, BMP or GIF.")],
    /,
    *,
    options: Annotated[SaliencyOptions, Parameter(name="*")],
) -> int:
    """Draw where a classifier looks, and say what its answer does when those pixels come and go."""
    from preimage.cli.batch import threads_of
    from preimage.explain.inputs import as_model, one_picture

    methods = _methods(options.method)
    picture = one_picture(source, options.value_range, page=options.page)
    output = _check_places(source, picture, methods, options)
    with threads_of(options.threads):
        classifier = as_model(options.classifier).classifier
        judged = [_judged(method, picture, classifier, options) for method in methods]
        report = _report(judged, source, output, options)
    _write(judged, picture, output, report, options)
    _say(judged, report, options)
    return 0


# ---------------------------------------------------------------------- what is known before


def _methods(asked: str) -> list[str]:
    """Each method once, in the order of the command line."""
    from preimage.defend.methods import Method
    from preimage.errors import InputError

    known = get_args(Method)
    methods = list(dict.fromkeys(each.strip() for each in asked.split(",")))
    for method in methods:
        if method not in known:
            raise InputError(f"--method: there is no method {method!r}: give one of {', '.join(known)}")
    return methods


def _check_places(source: Path, picture: Picture, methods: list[str], options: SaliencyOptions) -> Path:
    """Long before they are written; the output."""
    from preimage.errors import InputError
    from preimage.images import check_place

    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads must be at least 1, got {options.threads}")
    output = options.output or Path(f"{source.stem}-saliency.png")
    output = output / f"{source.stem}-saliency.png" if output.is_dir() else output
    if len(methods) > 1 and options.figure is not None:
        raise InputError("--output of several methods is the figure already: leave --figure out")
    kinds = {"--figure": (".png",), "--report": (".json",), "--array": _ARRAYS}
    kinds |= {"--output": (".png",)} if len(methods) > 1 else {}
    given = {"--output": output, "--array": options.array, "--figure": options.figure, "--report": options.report}
    taken = {source.resolve(): "the input"}
    taken |= {Path(options.classifier.rpartition("@")[2]).resolve(): "what --classifier reads"}
    for option, path in given.items():
        if path is None:
            continue
        if option in kinds and path.suffix.lower() not in kinds[option]:
            raise InputError(f"{option} {path}: it is written as {' or '.join(kinds[option])}: give such a name")
        if path.resolve() in taken:
            raise InputError(f"{path} ({option}) is also {taken[path.resolve()]}: choose another name")
        taken[path.resolve()] = option
        check_place(path, overwrite=options.overwrite)
    if len(methods) == 1:
        _as_drawn(picture).check_destination(output, overwrite=options.overwrite)
    return output


def _as_drawn(picture: Picture, drawn: Any = None) -> Picture:
    """An overlay (3, h, w) as a picture of 8 bits; black as long as there is none."""
    import torch

    from preimage.images import as_picture

    drawn = torch.zeros(3, *picture.tensor.shape[-2:]) if drawn is None else drawn
    return as_picture((drawn * 255).round().to(torch.uint8))


# ---------------------------------------------------------------------- one method


def _judged(method: str, picture: Picture, classifier: Classifier, options: SaliencyOptions) -> _Judged:
    from preimage.defend.faithfulness import deletion, insertion
    from preimage.defend.methods import saliency

    if sys.stderr.isatty() and not options.quiet:
        print(f"{method} ...", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    asked: Any = method
    found = saliency(
        picture,
        classifier,
        options.target,
        asked,
        n_steps=options.steps,
        n_samples=options.samples,
        sigma=options.sigma,
        baseline=_baseline(options.baseline),
        layer=options.layer if method == "gradcam" else None,
        seed=options.seed,
        device=options.device,
    )
    seconds = time.perf_counter() - begin
    shown = (classifier, found.seen, found.merged, found.target)
    return _Judged(found, insertion(*shown), deletion(*shown, to=options.deleted), seconds)


def _baseline(text: str) -> Any:
    """A number, or the word as it is."""
    try:
        return float(text)
    except ValueError:
        return text


# ---------------------------------------------------------------------- what is written and said


def _report(judged: list[_Judged], source: Path, output: Path, options: SaliencyOptions) -> dict[str, Any]:
    import torch

    from preimage.cli.report import peak_memory
    from preimage.engine.devices import choose_device

    first = judged[0].found
    device = str(choose_device(options.device))
    return {
        "task": "saliency",
        "input": str(source),
        "output": str(output),
        "size": list(first.map.shape[-2:]),
        "seen_size": list(first.seen.shape[-2:]),
        "classifier": options.classifier,
        "prediction": first.prediction,
        "target": first.target_class,
        "confidence": first.confidence,
        "deleted": options.deleted,
        "methods": [
            {
                "method": each.found.method,
                "insertion": float(each.insertion.area[0]),
                "deletion": float(each.deletion.area[0]),
                "settings": each.found.settings,
                "is_zero": not bool(each.found.merged.any()),
                "seconds": round(each.seconds, 3),
                "shares": each.insertion.shares.tolist(),
                "insertion_curve": each.insertion.probabilities[0].tolist(),
                "deletion_curve": each.deletion.probabilities[0].tolist(),
            }
            for each in judged
        ],
        "device": device,
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": peak_memory(device),
    }


def _write(
    judged: list[_Judged], picture: Picture, output: Path, report: dict[str, Any], options: SaliencyOptions
) -> None:
    from preimage.figures.restoration import display_range, save_figure
    from preimage.figures.saliency import overlay, saliency_figure
    from preimage.images import write_bytes_atomically

    limits = display_range(picture)
    found = [each.found for each in judged]

    def draw(path: Path) -> None:
        curves = [each.insertion for each in judged], [each.deletion for each in judged]
        save_figure(saliency_figure(picture.tensor[0], found, *curves, limits), path, overwrite=options.overwrite)

    if len(judged) > 1:
        draw(output)
    else:
        drawn = _as_drawn(picture, overlay(picture.tensor[0], found[0].map[0], limits))
        drawn.write(drawn.tensor, output, overwrite=options.overwrite)
    if options.figure is not None:
        draw(options.figure)
    if options.array is not None:
        _write_array(found, options.array, overwrite=options.overwrite)
    if options.report is not None:
        content = json.dumps(report, indent=2, allow_nan=False)
        write_bytes_atomically(options.report, f"{content}\n".encode(), overwrite=options.overwrite)


def _write_array(found: list[SaliencyMap], path: Path, *, overwrite: bool) -> None:
    """float32 (h, w), or (n, h, w) of several methods; npz: each by its name; TIFF: pages."""
    import numpy as np
    import torch

    from preimage.images import write_bytes_atomically, write_float_tiff

    maps: dict[str, Any] = {each.method: each.map[0, 0].numpy() for each in found}
    kind = path.suffix.lower()
    if kind == ".npz":
        content: Any = lambda file: np.savez(file, **maps)  # noqa: E731
        write_bytes_atomically(path, content, overwrite=overwrite)
    elif kind == ".npy":
        values = list(maps.values())
        array = values[0] if len(values) == 1 else np.stack(values)
        write_bytes_atomically(path, lambda file: np.save(file, array, allow_pickle=False), overwrite=overwrite)
    else:
        write_float_tiff(torch.cat([each.map for each in found]), path, overwrite=overwrite)


def _say(judged: list[_Judged], report: dict[str, Any], options: SaliencyOptions) -> None:
    from preimage.cli.failures import closed_pipe_is_no_failure

    with closed_pipe_is_no_failure():
        if options.json:
            print(json.dumps(report, indent=2, allow_nan=False))
        if not options.quiet:
            _print_summary(judged, report, sys.stderr if options.json else sys.stdout)


def _print_summary(judged: list[_Judged], report: dict[str, Any], file: Any) -> None:
    """What the classifier says, then the scores of each method."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=file, highlight=False, markup=False, soft_wrap=True, emoji=False)
    console.print(f"{report['input']} -> {report['output']}")
    says = report["prediction"]
    other = "" if says == report["target"] else f" (the classifier says {says})"
    console.print(f"  class {report['target']}, confidence {report['confidence']:.3f}{other}")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("  method", "insertion", "deletion", "seconds"):
        table.add_column(heading, justify="left" if heading == "  method" else "right")
    for each in report["methods"]:
        note = " (zero everywhere)" if each["is_zero"] else ""
        scores = (f"{each['insertion']:.3f}", f"{each['deletion']:.3f}", f"{each['seconds']:.1f}")
        table.add_row(f"  {each['method']}{note}", *scores)
    console.print(table)
    console.print(
        f"  a map that is true of the classifier has high insertion and low deletion (to {report['deleted']})"
    )
