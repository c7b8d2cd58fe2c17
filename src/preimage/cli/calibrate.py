"""`preimage calibrate FOLDER`: the recipe and steps that are best on pictures like one's own, as a file for --recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from preimage.cli.options import whole

if TYPE_CHECKING:
    from preimage.engine.recipe import Recipe
    from preimage.restore.calibration import Calibration


def calibrate(
    folder: Annotated[
        Path, Parameter(name="FOLDER", help="Of clean pictures, two or more, like those to be restored.")
    ],
    /,
    *,
    degradation: Annotated[
        str,
        Parameter(
            help="What pictures suffer, which names the task: gaussian:25 (in 8-bit units), poisson:30 (counts at white), "
            "speckle:0.2, impulse:0.3, jpeg:20, downsample:4, missing:0.5, blur:1.6 (Gaussian), blur:15,30 (motion)."
        ),
    ],
    output: Annotated[Path, Parameter(name=("--output", "-o"), help="The recipe, a .json file.")] = Path("recipe.json"),
    overwrite: Annotated[bool, Parameter(help="Replace files that are there already.", show_default=False)] = False,
    report: Annotated[Path | None, Parameter(help="JSON with all that was measured.")] = None,
    recipe: Annotated[
        str | None, Parameter(help="What is varied: fast (what is taken if not given), paper, or a FILE.json.")
    ] = None,
    steps: Annotated[
        int | None, Parameter(help="The most that are tried; the recipe's if not given.", converter=whole)
    ] = None,
    side: Annotated[
        int, Parameter(help="Central pixels a side that are taken of each picture.", converter=whole)
    ] = 192,
    limit: Annotated[int | None, Parameter(help="The most pictures that are taken.", converter=whole)] = None,
    seed: Annotated[int, Parameter(help="Of which are held out, the noise and all fits.", converter=whole)] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    threads: Annotated[
        int | None, Parameter(help="Processor threads; by default PyTorch's choice.", converter=whole)
    ] = None,
    quiet: Annotated[bool, Parameter(help="Print nothing but errors.", show_default=False)] = False,
) -> int:
    """Fit spoiled pictures of a folder with several recipes, take what is best, and hold it against the default."""
    import torch

    from preimage.errors import InputError
    from preimage.restore.calibrate import Search
    from preimage.restore.degradations import read_degradation

    if threads is not None and threads < 1:
        raise InputError(f"--threads must be at least 1, got {threads}")
    _check_places(output, report, overwrite)
    base = _recipe(recipe, read_degradation(degradation).module)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        search = Search(folder, degradation, recipe=base, steps=steps, side=side, limit=limit, seed=seed, device=device)
        code = _watch(search, quiet)
    finally:
        torch.set_num_threads(before)
    if code:
        return code
    _write(search.result(), output, report, overwrite=overwrite, quiet=quiet)
    return 0


def _recipe(name: str | None, module: Any) -> Recipe:
    from preimage.cli.choices import choose_recipe
    from preimage.cli.options import Options

    return choose_recipe(Options(recipe=name), module)


def _check_places(output: Path, report: Path | None, overwrite: bool) -> None:
    """Hours before they are written."""
    from preimage.errors import InputError
    from preimage.images import check_place

    if output.suffix.lower() != ".json":
        raise InputError(f"--output {output}: --recipe takes FILE.json: give it such a name")
    if report is not None and report.resolve() == output.resolve():
        raise InputError(f"--report and --output are both {output}: give two names")
    for path in (output, report):
        if path is not None:
            check_place(path, overwrite=overwrite)


def _watch(search: Any, quiet: bool) -> int:
    """All fits, with their progress; the exit code, not 0 if a signal ended them."""
    import sys
    from itertools import groupby

    from preimage.cli.interrupt import Interrupt
    from preimage.cli.progress import Progress

    with Interrupt(quiet=True) as interrupt:  # it has nothing to write before the end
        for trial, steps in groupby(search, key=lambda pair: pair[0]):
            with Progress(f"fit {trial.number} of {trial.total} ({trial.what})", quiet=quiet) as progress:
                for _, step in steps:
                    progress.show(step)
                    if interrupt.number:
                        print("preimage: ended before all fits were done, nothing was written", file=sys.stderr)
                        return interrupt.exit_code
    return 0


def _write(calibration: Calibration, output: Path, report: Path | None, *, overwrite: bool, quiet: bool) -> None:
    import json

    from preimage.cli.failures import closed_pipe_is_no_failure
    from preimage.images import write_bytes_atomically

    calibration.save(output, overwrite=overwrite)
    if report is not None:
        content = json.dumps(calibration.report(), indent=2, allow_nan=False)
        write_bytes_atomically(report, f"{content}\n".encode(), overwrite=overwrite)
    if not quiet:
        with closed_pipe_is_no_failure():
            _say(calibration, output, report)


def _say(calibration: Calibration, output: Path, report: Path | None) -> None:
    """What was tried, what is best, and what that is worth."""
    from rich.console import Console
    from rich.table import Table

    from preimage.restore.calibrate import in_words

    console = Console(highlight=False, markup=False, soft_wrap=True, emoji=False)
    degradation = calibration.degradation
    console.print(f"{degradation.name} -> {output}")
    tried = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("", "PSNR, dB", "best step"):
        tried.add_column(heading, justify="left" if not heading else "right")
    settings = {row.candidate: row.settings for row in calibration.table}
    for k, curve in enumerate(calibration.curves):
        best = max(curve)
        mark = " (chosen)" if k == calibration.candidate else ""
        tried.add_row(f"  {in_words(settings[k])}{mark}", f"{best:.2f}", str(curve.index(best) + 1))
    console.print(tried)
    count, gain = len(calibration.held_out), calibration.gain
    difference = f"{abs(gain):.2f} dB {'worse' if gain < 0 else 'better'}"
    console.print(
        f"  on {count} held-out picture{'s' if count > 1 else ''}: {calibration.chosen:.2f} dB, {difference} than "
        f"the default that stops by itself ({calibration.default:.2f} dB)"
    )
    for line in calibration.remarks:
        console.print(f"  {line}")
    if report is not None:
        console.print(f"  report: {report}")
    beside = f" {degradation.flags}" if degradation.flags else ""
    console.print(f"  use it so: preimage {degradation.task} INPUT{beside} --recipe {output}")
