"""Hostile pictures and arrays given to the commands that read them, in every place where a file is named."""

from __future__ import annotations

import io
import logging
import struct
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.robustness.base import AS_IT_IS, FIT, GRADIENT, TRAINING, Trial, pixels, random_of, same_weights
from tests.robustness.forged import forged_arrays, forged_tiffs
from tests.robustness.pictures import cut, flipped, forged_rasters, seeds
from tests.robustness.server import Arena, Fault

_TURNS = ("input", "train", "input", "mask", "input", "saliency", "input", "reference", "input", "flash", "kernel")
_COMMON = ("tiny.json", "noisy.png", "model.pt", "colors", "kernel.npy")
# Where a picture is given: the command with FILE in its place, and what it writes.
ROLES: dict[str, tuple[object, ...]] = {
    "input": ("denoise", "FILE", *AS_IT_IS),
    "mask": ("inpaint", "noisy.png", "--mask", "FILE", "--mask-white", "missing", *FIT, "--steps", 2),
    "kernel": ("deblur", "noisy.png", "--kernel", "FILE", *FIT, "--steps", 2),
    "reference": ("denoise", "noisy.png", "--reference", "FILE", *FIT, "--steps", 2),
    "flash": ("flash-no-flash", "noisy.png", "--flash", "FILE", *FIT, "--steps", 2),
    "train": ("train", "colors", *TRAINING, "--epochs", 1),
    "table": ("train", "FILE", *TRAINING, "--epochs", 1),
    "saliency": ("saliency", "FILE", "--classifier", "model.pt", *GRADIENT),
}


def _call(role: str, name: str, data: bytes, arena: Arena) -> str:
    """Put the file in its place and run the command; the name of what it writes."""
    arena.take(*_COMMON)
    suffix = Path(name).suffix
    place = arena.file(f"colors/red/3{suffix}" if role == "train" else f"hostile{suffix}")
    if role == "train":
        arena.file("colors/red/3.png").unlink()
    place.write_bytes(data)
    output = (
        "out.pt" if role in ("train", "table") else "out.tif" if role == "input" and suffix == ".tif" else "out.png"
    )
    tokens = [place.name if token == "FILE" else token for token in ROLES[role]]
    pages = ("--page", "all") if output == "out.tif" else ()
    arena.run(*tokens, *pages, "-o", output, makes=(output,))
    return output


def _attacked(role: str, name: str, data: bytes, allowed: str, arena: Arena) -> Fault | None:
    output = _call(role, name, data, arena)
    path = arena.file(output)
    if arena.last is None or arena.last.code:
        return None
    if not path.exists() or (output != "out.pt" and pixels(path) is None):
        return "lost", "exit 0 without a whole picture"
    if allowed == "refused":
        return "wrong", f"accepted: {arena.last.err.strip()[-90:]}"
    if allowed == "same":
        whole = arena.undamaged(f"{role} {name}", partial(_call, role, name, seeds()[name]))
        if whole.last is None or whole.last.code:
            return "wrong", "accepted, and the sound file is not"
        same = (
            same_weights(path, whole.file(output))
            if output == "out.pt"
            else _equal(pixels(path), pixels(whole.file(output)))
        )
        return None if same else ("wrong", "exit 0 with another picture than that of the sound file")
    if allowed != "decoded" or role != "input":
        return None
    whole = arena.undamaged(f"{role} {name}", partial(_call, role, name, seeds()[name]))
    return None if _equal(pixels(path), pixels(whole.file(output))) else _compared(path, name, data)


def _equal(ours: NDArray[np.generic] | None, theirs: NDArray[np.generic] | None) -> bool:
    return ours is not None and theirs is not None and np.array_equal(ours, theirs)


def _compared(path: Path, name: str, data: bytes) -> Fault | None:
    """What was written against what a strict reader finds: --strength 0 gives the input back."""
    logging.disable()  # tifffile's own complaints
    try:
        if name.endswith(".tif"):
            theirs, ours = np.sort(_strict_tiff(data).ravel()), np.sort(tifffile.imread(path).ravel())
            same = np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
            same = same or (ours.dtype == np.uint8 and np.array_equal(ours, np.sort(255 - theirs)))  # white is 0
        else:
            with Image.open(io.BytesIO(data)) as image, Image.open(path) as written:
                same = image.mode not in ("L", "RGB", "P") or np.array_equal(
                    image.convert("RGB"), written.convert("RGB")
                )
    except Exception as error:
        return "wrong", f"exit 0 for a file that a strict reader refuses ({type(error).__name__}: {str(error)[:60]})"
    finally:
        logging.disable(logging.NOTSET)
    return None if same else ("wrong", "exit 0 with other pixels than a strict reader finds")


def _strict_tiff(data: bytes) -> NDArray[np.generic]:
    """All values of a TIFF whose chain of pages ends, and whose every strip and tile is in the file."""
    _check_chain(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        arrays = []
        for page in file.pages:
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                if not offset or not count or offset + count > len(data):
                    raise ValueError(f"{count} bytes at {offset} are not in the file")
            arrays.append(page.asarray())
        series = sum(each.size for each in file.series)
        return (
            np.concatenate([np.ravel(each) for each in arrays])
            if series == sum(a.size for a in arrays)
            else file.asarray()
        )


def _check_chain(data: bytes) -> None:
    if data[:4] != b"II*\0":
        return  # BigTIFF
    place, seen = struct.unpack_from("<I", data, 4)[0], set[int]()
    while place:
        if place in seen or place + 6 > len(data):
            raise ValueError(f"a page at {place}")
        seen.add(place)
        place = struct.unpack_from("<I", data, place + 2 + 12 * struct.unpack_from("<H", data, place)[0])[0]


def hostile(seed: int, count: int) -> list[Trial]:
    """Forged files, then files cut at every part of their length and files with flipped bits; in every place of a file."""
    made = [*forged_rasters(), *forged_tiffs(), *forged_arrays()]
    sound, draw = list(seeds()), random_of(seed, "hostile")
    for i in range(max(0, count - len(made) - len(RANGES))):
        name, turn = sound[i % len(sound)], i // len(sound)
        # Places spread as the golden section does: dense everywhere, whatever their number.
        made.append(flipped(name, draw) if turn % 2 else cut(name, (turn * 0.618034 + 0.37 * i) % 1))
    found: list[Trial] = []
    for what, name, data, allowed in made:
        role = {".npz": "table", ".npy": "kernel"}.get(Path(name).suffix) or _TURNS[len(found) % len(_TURNS)]
        body = partial(_attacked, role, name, data, allowed)
        found.append(Trial("hostile", f"{len(found):03} {role} {name}: {what}", body))
    return found + [Trial("hostile", f"train on {name}", partial(_falsified, name)) for name in RANGES]


# ----------------------------------------------------------------------- pictures whose values are easily mistaken

RANGES = ("16 bits", "floats in 0..1", "floats with NaN", "stacks", "animations", "16 and 8 bits")


def _folder(name: str, arena: Arena, *, turned: bool = False) -> None:
    arena.take(*_COMMON)
    for number, path in enumerate(sorted(arena.file("colors").rglob("*.png"))):
        # Neither black nor white, so that what saturates shows nothing at all.
        values = np.asarray(Image.open(path))[:: -1 if turned else 1].clip(2, 250)
        path.unlink()
        deep, real = values[..., 0].astype(np.uint16) * 257, values[..., 0].astype(np.float32) / 255
        stack = np.stack([values[..., 0], 255 - values[..., 0], values[..., 1]])
        if name == "floats with NaN":
            real[3, 3] = np.nan
        if name == "first pages":
            Image.fromarray(stack[0]).save(path)
        elif name == "animations":
            pages = [Image.fromarray(each) for each in stack]
            pages[0].save(path.with_suffix(".gif"), save_all=True, append_images=pages[1:])
        elif name == "stacks":
            tifffile.imwrite(path.with_suffix(".tif"), stack, photometric="minisblack")
        elif name == "16 and 8 bits" and number % 2:
            Image.fromarray(values).save(path)
        else:
            tifffile.imwrite(path.with_suffix(".tif"), real if "floats" in name else deep)
    arena.run("train", "colors", *TRAINING, "--epochs", 1, "-o", "out.pt", makes=("out.pt",))


def _falsified(name: str, arena: Arena) -> Fault | None:
    """Trained on what it shows, or refused for what it is; not as if it were white, black, or its first page."""
    _folder(name, arena)
    if arena.last is None:
        return None
    said = arena.last.err + arena.last.out
    if arena.last.code:  # what saturates to white cannot be learned, which is no reason to give
        reason = next((line for line in said.splitlines() if line.startswith("preimage: ")), "")
        named = any(word in reason for word in (".tif", ".gif", ".png", "bit", "page", "range"))
        return None if named else ("wrong", f"refused for another reason: {reason}")
    if "NaN" in name:
        return "wrong", "NaN is trained on"
    first = arena.undamaged("train first pages", partial(_folder, "first pages")).file("out.pt")
    if name in ("stacks", "animations") and same_weights(arena.file("out.pt"), first):
        return "wrong", "trained as if on the first pages"
    turned = arena.undamaged(f"train {name} turned", partial(_folder, name, turned=True)).file("out.pt")
    if turned.exists() and same_weights(arena.file("out.pt"), turned):
        return "wrong", "the same as on pictures upside down: all that they show is lost"
    return ("wrong", "mixed depths, and not a word") if name == "16 and 8 bits" and "bit" not in said else None
