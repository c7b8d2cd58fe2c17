"""Watch a fit in napari as it happens: a widget that restores the selected layer, and shows every tenth step in a new one.

pip install preimage 'napari[all]'
python examples/napari_widget.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from preimage import denoise


def watched(viewer: Any, image: Any, every: int = 10, **options: Any) -> Iterator[Any]:
    """Restore an array, and show what would be returned after every tenth step; yields each step.

    Args:
        viewer: napari's, which has `add_image`.
        image: (h, w) or (h, w, 3).
        every: steps between two that are shown.
        options: of `preimage.denoise`.
    """
    run = denoise(image, **options)
    layer = viewer.add_image(image.copy(), name="restored")
    for step in run:
        if step.index % every == 0:
            layer.data = run.result().to_array()  # looking in the middle changes nothing
            layer.name = f"restored, step {step.index}"
        yield step
    result = run.result()
    layer.data, layer.name = result.to_array(), f"restored: {result.reason}"


def main() -> None:
    import napari  # pyright: ignore[reportMissingImports]
    from magicgui import magicgui  # pyright: ignore[reportMissingImports]
    from napari.layers import Image  # pyright: ignore[reportMissingImports]
    from napari.qt.threading import thread_worker  # pyright: ignore[reportMissingImports]
    from skimage import data, util

    viewer = napari.Viewer()
    viewer.add_image(util.img_as_ubyte(util.random_noise(data.chelsea(), var=0.01, rng=0)), name="noisy")

    @magicgui(call_button="Restore", steps={"max": 5000})
    def restore(layer: Image, steps: int = 600) -> None:
        thread_worker(lambda: [None for _ in watched(viewer, layer.data, steps=steps)])().start()

    viewer.window.add_dock_widget(restore)
    napari.run()


if __name__ == "__main__":
    main()
