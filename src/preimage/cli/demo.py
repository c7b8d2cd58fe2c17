"""`preimage demo`: noise added to a photograph that comes with the package, and removed again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIGMA = 25
# Fewer steps than the recipe allows: a little less good than it could be, and soon done.
_STEPS, _RESTARTS = 500, 2
_MOST_SECONDS = 140  # a slow machine ends with the best so far, rather than let a newcomer wait


def demo(
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"), help="Restored image to write.")] = Path("out/demo.png"),
    figure: Annotated[
        Path | None,
        Parameter(
            help="PNG: input, result, difference and curves (default: out/demo-figure.png, with the extra figures)."
        ),
    ] = None,
    overwrite: Annotated[bool, Parameter(help="Replace files that exist.")] = False,
    recipe: Annotated[
        str, Parameter(help="Recipe: fast, balanced, best or paper, or a FILE.json of settings.")
    ] = "fast",
    seed: Annotated[int, Parameter(help="Random seed of the noise and of the fit.")] = 0,
) -> int:
    """Restore a noisy photograph of a cat (public domain), in under three minutes on two cores."""
    from preimage.cli.interrupt import Interrupt
    from preimage.cli.progress import Progress
    from preimage.extras import is_installed, require
    from preimage.figures.restoration import restoration_figure, save_figure
    from preimage.images import as_picture
    from preimage.metrics import psnr
    from preimage.observe import Curves, observe
    from preimage.recipes import choose
    from preimage.restore.denoise import denoise, recipes

    if figure is not None:
        require("figures", subject="--figure is a drawing")
    elif is_installed("matplotlib"):
        figure = Path("out/demo-figure.png")
    for path in (output, figure):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    clean, noisy = _cat(seed)
    picture = as_picture(noisy)
    picture.check_destination(output, overwrite=overwrite)
    if figure is not None:
        _check_figure(figure, output, overwrite)
    base = choose(recipes(), recipe).adapted()
    steps, restarts = min(_STEPS, base.steps), min(_RESTARTS, base.restarts)
    run = denoise(picture, recipe=recipe, steps=steps, restarts=restarts, seed=seed)
    curves = Curves()
    begun = False
    with Interrupt() as interrupt, Progress("demo") as progress:
        for step in observe(run, curves):
            begun = True
            progress.show(step)
            if interrupt.number or step.seconds > _MOST_SECONDS:
                break
    if not begun:
        return interrupt.exit_code
    result = run.result()
    result.save(output, overwrite=overwrite)
    reference = as_picture(clean).tensor
    if figure is not None:
        drawn = restoration_figure(result, reference=reference, scores=curves.score)
        save_figure(drawn, figure, overwrite=overwrite)
    before, after = (float(psnr(image.clamp(0, 1), reference)) for image in (picture.tensor, result.image))
    for line in (result.reason, *result.remarks):
        print(line)
    print(f"PSNR: noisy {before:.2f} dB, restored {after:.2f} dB, in {result.seconds:.0f} s")
    print(f"clean picture: {output}")
    print(f"before and after: {figure}" if figure else "no figure was drawn: pip install 'preimage[figures]'")
    return interrupt.exit_code if interrupt.number else 0


def _check_figure(figure: Path, output: Path, overwrite: bool) -> None:
    from preimage.errors import InputError
    from preimage.images import check_place

    if figure.suffix.lower() != ".png":
        raise InputError(f"--figure {figure}: a figure is written as PNG: give it such a name")
    if figure.resolve() == output.resolve():
        raise InputError(f"--figure and --output are both {output}: give two names")
    check_place(figure, overwrite=overwrite)


def _cat(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The middle, 256 x 256 pixels, of scikit-image's `chelsea`, which is in the public domain (CC0), and the same with noise."""
    import numpy as np
    from PIL import Image

    with Image.open(Path(__file__).parent / "pictures" / "chelsea.png") as image:
        clean = np.array(image)
    noise = np.random.default_rng(seed).normal(0, _SIGMA, clean.shape)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
