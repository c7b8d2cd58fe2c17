"""`python -m studies NAME`: regenerate a table or figure of the documentation."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from preimage.errors import InputError
from studies import AT_IMAGENET, STUDIES, study, summary
from studies.harness import SCALES, StudyError


def share(text: str) -> tuple[int, int]:
    """ "2/4" -> (1, 4)."""
    number, _, workers = text.partition("/")
    if not (number.isdigit() and workers.isdigit() and 1 <= int(number) <= int(workers)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, as 1/4, got {text!r}")
    return int(number) - 1, int(workers)


def shared(workers: int, arguments: list[str]) -> int:
    """Let so many processes measure a share of the cases each; their rows are kept as they come. The largest exit code."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    own = {"env": dict(os.environ, OMP_NUM_THREADS=threads), "stdout": 2}  # what they say is not the text
    command = [sys.executable, "-m", "studies", *arguments]
    processes = [subprocess.Popen([*command, "--worker", f"{k}/{workers}"], **own) for k in range(1, workers + 1)]
    try:
        return max(process.wait() for process in processes)
    except KeyboardInterrupt:  # which they were sent as well
        for process in processes:
            process.wait()
        raise


def main(arguments: list[str] | None = None) -> int:
    """Run one study, or list all of them."""
    scales = "smoke: seconds, to see that it works; small: at most two hours on two cores; paper: all of it; imagenet: "
    scales += f"{', '.join(AT_IMAGENET)} at 224 pixels"
    parser = argparse.ArgumentParser("python -m studies", description=main.__doc__)
    parser.add_argument("name", nargs="?", help="study to run; without it they are listed")
    parser.add_argument("--scale", choices=SCALES, default="small", help=scales)
    parser.add_argument("--data", type=Path, help="folder of the real pictures (default: PREIMAGE_DATA)")
    parser.add_argument("--output", type=Path, help="folder for results (default: docs, else out); its rows are kept")
    parser.add_argument(
        "--worker", type=share, default=(0, 1), help="K/N: K-th of N shares; without it once at the end"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes, each of which measures a share of the cases")
    parser.add_argument("--classifier", help="of --scale imagenet: another than EfficientNet-Lite0, as of `preimage`")
    given = parser.parse_args(arguments)
    if given.name is None:
        print("\n".join(f"{name:<{max(map(len, STUDIES))}}  {summary(name)}" for name in STUDIES))
        return 0
    if given.workers < 1 or (given.workers > 1 and given.worker != (0, 1)):
        parser.error(f"--workers must be at least 1, and without --worker, got {given.workers}")
    if given.workers > 1:
        words = list(sys.argv[1:] if arguments is None else arguments)
        place = next(k for k, word in enumerate(words) if word.partition("=")[0] == "--workers")
        del words[place : place + (1 if "=" in words[place] else 2)]
        if code := shared(given.workers, words):
            return code
    options = {key: value for key, value in vars(given).items() if key not in ("name", "workers")}
    try:
        print(study(given.name, **options))
    except (InputError, StudyError) as error:
        print(f"python -m studies: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
