"""A folder of images as jobs: plain data that can be written, sent elsewhere, and done twice without harm.

python examples/batch.py [out]
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

from preimage import InputError, Job, run_job
from preimage.jobs.job import RunOptions


def main(out: str = "out", *, side: int = 128, steps: int | None = None) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = folder / "in"
    inputs.mkdir(exist_ok=True)
    for name, photo in (("cat", data.chelsea()), ("cup", data.coffee())):
        Image.fromarray(photo[60 : 60 + side, 150 : 150 + side]).save(inputs / f"{name}.png")

    options = {"sigma": 10.0} | ({"steps": steps} if steps else {})
    for path in sorted(inputs.iterdir()):
        job = Job("denoise", options, str(path), {"output": str(folder / path.name)}, RunOptions(overwrite=True))
        (folder / f"{path.stem}.job.json").write_text(job.to_json(), encoding="utf-8")  # any machine can do it
        try:
            outcome = run_job(job)
            print(path.name, outcome.state)
        except InputError as error:  # one image that cannot be used is no reason to stop
            print(path.name, error.code, error)


if __name__ == "__main__":
    main(*sys.argv[1:2])
