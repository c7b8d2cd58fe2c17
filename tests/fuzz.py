"""Damage valid files of every format at random, and read them: an InputError of one line or a picture, and nothing else.

    python -m tests.fuzz --seconds 600                 # `make fuzz`
    python -m tests.fuzz --seed 7 --only 1234          # one case again

`python -m tests.robustness --kind hostile` forges what is known to hurt, and runs whole commands; this draws what nobody thought
of, and calls the readers alone. Each case is read in a forked process, which a library may crash: a signal, another exception,
more than a gigabyte or more than 20 seconds is a finding, and its file is kept in out/fuzz. A case is known by
seed and number alone. Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import select
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

OUT = Path("out/fuzz")
SECONDS, MEMORY = 20.0, 2**30  # of one case
NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
Case = tuple[str, bytes]


@cache
def seeds() -> dict[str, bytes]:
    """Valid files by their names: those of the torture tests, and the formats and texts that these do not have."""
    import io
    import json

    import numpy as np
    import tifffile
    from PIL import Image

    from tests.cli.tiny import TINY, pictures
    from tests.robustness.pictures import seeds as rasters
    from tests.robustness.pictures import written

    found = {name: data for name, data in rasters().items() if not name.endswith(".npz")}
    noisy = pictures(24, 32)[1]
    deep = noisy.astype(np.uint16) * 257
    cmyk = np.dstack([noisy, noisy[..., :1]])
    found["still.avif"] = written(lambda file: Image.fromarray(noisy).save(file, "avif"))
    found["cmyk.jpg"] = written(lambda file: Image.frombytes("CMYK", (32, 24), cmyk.tobytes()).save(file, "jpeg"))
    found["cmyk.tif"] = written(lambda file: tifffile.imwrite(file, cmyk, photometric="separated", metadata=None))
    found["lzw.tif"] = written(lambda file: Image.fromarray(noisy).save(file, "tiff", compression="tiff_lzw"))
    found["jpeg.tif"] = written(lambda file: Image.fromarray(noisy).save(file, "tiff", compression="jpeg"))
    found["planes.tif"] = written(
        lambda file: tifffile.imwrite(file, deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    )
    found["predictor.tif"] = written(lambda file: tifffile.imwrite(file, deep, compression="zlib", predictor=True))
    found["exif.jpg"] = written(lambda file: Image.fromarray(noisy).save(file, "jpeg", exif=_exif()))
    try:
        import pillow_heif

        still = pillow_heif.from_bytes("RGB", (32, 24), noisy.tobytes())
        found["still.heic"] = written(lambda file: still.save(file, quality=80))
    except ImportError:
        pass
    try:
        from astropy.io import fits

        found["sky.fits"] = written(lambda file: fits.PrimaryHDU(noisy[..., 0].astype(np.float32)).writeto(file))
    except ImportError:
        pass
    table = io.StringIO()
    np.savetxt(table, np.full((5, 5), 1 / 25))
    found["kernel.txt"] = table.getvalue().encode()
    found["recipe.json"] = json.dumps(TINY).encode()
    return found


def _exif() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "a drawing", 0x0131: "nobody"})
    return exif.tobytes()


def case(seed: int, number: int) -> Case:
    """Name and bytes of a case."""
    draw = random.Random(f"{seed} {number}")
    files = seeds()
    name = draw.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, 9))):
        change = draw.choice(CHANGES)
        data = change(data, draw) if data else data
    if name.endswith(".png") and draw.random() < 0.8:  # else most would end at the checksum
        data = with_checksums(data)
    return name, bytes(data)


def _place(data: bytearray, draw: random.Random, room: int = 1) -> int:
    """Half of them in the first 300 bytes, where headers are; a quarter in the last, where TIFF and zip have theirs."""
    last = max(0, len(data) - room)
    where = draw.random()
    if where < 0.5:
        return draw.randint(0, min(last, 300))
    return draw.randint(max(0, last - 300), last) if where < 0.75 else draw.randint(0, last)


def flip(data: bytearray, draw: random.Random) -> bytearray:
    data[_place(data, draw)] ^= 1 << draw.randrange(8)
    return data


def number(data: bytearray, draw: random.Random) -> bytearray:
    """A field of one, two, four or eight bytes holds a number at the edge of something."""
    kind = draw.choice("BHIQ")
    size = struct.calcsize(kind)
    place = _place(data, draw, size)
    value = (draw.choice(NUMBERS) + draw.choice((0, 0, 0, -1, 1))) % 2 ** (8 * size)
    data[place : place + size] = struct.pack(draw.choice("<>") + kind, value)[: len(data) - place]
    return data


def cut(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randint(0, len(data))]


def drop(data: bytearray, draw: random.Random) -> bytearray:
    place = _place(data, draw)
    del data[place : place + draw.choice((1, 2, 4, 12, 100))]
    return data


def double(data: bytearray, draw: random.Random) -> bytearray:
    place, length = _place(data, draw), draw.choice((1, 2, 4, 12, 100, 1000))
    data[place:place] = data[place : place + length]
    return data


def fill(data: bytearray, draw: random.Random) -> bytearray:
    place, length = _place(data, draw), draw.choice((2, 4, 12, 64))
    data[place : place + length] = bytes([draw.choice((0, 255, draw.randrange(256)))]) * min(length, len(data) - place)
    return data


def move(data: bytearray, draw: random.Random) -> bytearray:
    """A part of the file in the place of another."""
    here, there, length = _place(data, draw), _place(data, draw), draw.choice((2, 4, 8, 12, 64))
    data[here : here + length] = data[there : there + length]
    return data


def splice(data: bytearray, draw: random.Random) -> bytearray:
    """The beginning of this file and the end of another."""
    other = seeds()[draw.choice(sorted(seeds()))]
    return data[: draw.randint(0, len(data))] + other[draw.randint(0, len(other)) :]


CHANGES: tuple[Callable[[bytearray, random.Random], bytearray], ...]
CHANGES = (flip, flip, flip, number, number, number, number, cut, drop, double, fill, move, move, splice)


def with_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks have the checksums of what is in them, as far as their lengths are true."""
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return data


def read_all(path: Path) -> str:
    """Read a file in the ways that commands do: "picture" or "refused"; whatever else is raised is a finding."""
    from preimage.errors import InputError
    from preimage.images import read
    from preimage.operators import read_kernel
    from preimage.recipes import read_recipe_file
    from preimage.restore.denoise import recipes

    ways: list[Callable[[], Any]]
    if path.suffix == ".json":
        ways = [lambda: read_recipe_file(path, recipes())]
    elif path.suffix in (".npy", ".txt"):
        ways = [lambda: read_kernel(path)]
    else:
        ways = [lambda: read(path), lambda: read(path, missing=True), lambda: read(path, salvage=True)]
        ways += [lambda: read(path, page="all"), lambda: read_kernel(path)]
    results = []
    for way in ways:
        try:
            found = way()
        except InputError as error:
            if not error.code or "\n" in str(error) or len(str(error)) > 2000:
                raise ValueError(f"no message of one line: {str(error)[:300]!r}") from error
            results.append("refused")
            continue
        tensor = getattr(found, "tensor", None)
        if tensor is not None:
            inside = (tensor >= 0) & (tensor <= 1)
            # Bright sources are beyond, and so may be what stands for a missing value or an outlier in one.
            if not bool((inside if found.unfitted is None else inside | (found.unfitted & tensor.isfinite())).all()):
                raise ValueError("values outside of 0 to 1, or NaN")
            found.to_array(tensor)
        results.append("read")
    return "read" if "read" in results else "refused"


class Reader:
    """A forked process that reads cases, until one of them ends it."""

    def __init__(self, seed: int, folder: Path) -> None:
        asked, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._ask)
            try:
                _serve(seed, folder, asked, answer)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answer)

    def verdict(self, number: int) -> str:
        """What became of a case."""
        os.write(self._ask, struct.pack("q", number))
        if not select.select([self._answers], [], [], SECONDS)[0]:
            self.end()
            return f"more than {SECONDS:.0f} seconds"
        size = os.read(self._answers, 4)
        if len(size) == 4:
            return os.read(self._answers, struct.unpack("i", size)[0]).decode("utf-8", "replace")
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return f"crash: {signal.Signals(ended).name}" if ended else "crash: the process ended"

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        for descriptor in (self._ask, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._ask = self._answers = -1

    @property
    def is_there(self) -> bool:
        return self.pid > 0


def _serve(seed: int, folder: Path, asked: int, answer: int) -> None:
    """Read the cases that are asked for; what libraries print goes nowhere."""
    warnings.simplefilter("ignore")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    while len(token := os.read(asked, 8)) == 8:
        name, data = case(seed, struct.unpack("q", token)[0])
        path = folder / name
        path.write_bytes(data)
        before = _peak()
        try:
            verdict = read_all(path)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            verdict = f"{type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
        if (grown := _peak() - before) > MEMORY:
            verdict = f"{grown / 1e9:.1f} GB of memory, {verdict}"
        said = verdict.encode()
        os.write(answer, struct.pack("i", len(said)) + said)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def fuzz(seed: int, *, seconds: float = 1e9, count: int = 2**62, out: Path = OUT) -> tuple[Counter[str], list[str]]:
    """Cases from 0 on, until the time or their number is up: the counts of verdicts, and a line for each finding."""
    import torch

    torch.set_num_threads(1)  # a forked process could wait for threads that it does not have
    seeds()
    counts: Counter[str] = Counter()
    findings: list[str] = []
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="preimage-fuzz-") as folder:
        read_all(_first(Path(folder)))  # everything is imported before the first process is forked
        reader = Reader(seed, Path(folder))
        number = 0
        while number < count and time.monotonic() < until:
            verdict = reader.verdict(number)
            if verdict not in ("read", "refused"):
                name, data = case(seed, number)
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{seed}-{number}-{name}").write_bytes(data)
                findings.append(f"--seed {seed} --only {number} ({name}): {verdict}")
                print(findings[-1], flush=True)
            counts[verdict if verdict in ("read", "refused") else "finding"] += 1
            number += 1
            if not reader.is_there:
                reader.end()
                reader = Reader(seed, Path(folder))
        reader.end()
    return counts, findings


def _first(folder: Path) -> Path:
    for name, data in seeds().items():
        path = folder / name
        path.write_bytes(data)
        if read_all(path) != "read":
            raise ValueError(f"{name} is not valid")
    return folder / "rgb.png"


def main() -> int:
    """1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damage files, and read them.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--count", type=int, default=2**62)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time, which is printed")
    parser.add_argument("--only", type=int, help="one case, in this process, with its traceback")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    if asked.only is not None:
        name, data = case(seed, asked.only)
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / name
        path.write_bytes(data)
        print(read_all(path))
        return 0
    counts, findings = fuzz(seed, seconds=asked.seconds, count=asked.count)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(f"seed {seed}: {sum(counts.values())} cases of {len(seeds())} files: {told}; files of findings in {OUT}")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
