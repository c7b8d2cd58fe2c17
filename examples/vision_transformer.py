"""Explain a vision transformer: where it looks, what its first blocks keep, and what would have to change for another answer.

python examples/vision_transformer.py cat.jpg [timm:vit_small_patch16_224] [out]     # its weights are downloaded
"""

from __future__ import annotations

import sys
from pathlib import Path

from preimage import counterfactual, invert, load_classifier, saliency
from preimage.defend.saliency_run import write_overlay
from preimage.figures.restoration import save_figure

BLOCKS = ("blocks.1", "blocks.5")  # features are tokens, (b, 1 + n, c)


def explain(picture: str, spec: str, folder: Path, steps: int | None = None) -> None:
    """Print the answers, and write one figure each."""
    classifier = load_classifier(spec)

    seen = saliency(picture, classifier=classifier, method="mig-sg").run()
    print("\n".join(seen.summary_lines()))
    write_overlay(seen, folder / "saliency.png", overwrite=True)
    for layer in BLOCKS:
        kept = invert(picture, classifier=classifier, layers=layer, steps=steps).run()
        print(f"{layer}: feature error {kept.numbers['feature_error']:.3f} (1: nothing is kept)")
        kept.save(folder / f"{layer}.png", overwrite=True)
    changed = counterfactual(picture, classifier=classifier, steps=steps).run()
    before, after = (changed.classes[k] for k in (changed.prediction, changed.target))
    print(
        f"{before} -> {after}: valid {changed.valid}, confidence {changed.confidence:.2f}, Psi {changed.numbers['layer']}"
    )
    save_figure(changed.plot(), folder / "counterfactual.png", overwrite=True)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(f"usage: {__doc__}")
    spec = sys.argv[2] if len(sys.argv) > 2 else "timm:vit_small_patch16_224"
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else "out")
    folder.mkdir(parents=True, exist_ok=True)
    explain(sys.argv[1], spec, folder)


if __name__ == "__main__":
    main()
