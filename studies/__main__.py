"""`python -m studies NAME`: regenerate a table or figure of the documentation."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from preimage.errors import InputError
from preimage.ray_cluster import Slots, check_shared, connection
from studies import AT_IMAGENET, STUDIES, study, summary
from studies.harness import SCALES, StudyError


def share(text: str) -> tuple[int, int]:
    """ "2/4" -> (1, 4)."""
    number, _, workers = text.partition("/")
    if not (number.isdigit() and workers.isdigit() and 1 <= int(number) <= int(workers)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, as 1/4, got {text!r}")
    return int(number) - 1, int(workers)


def without(options: list[str], arguments: list[str]) -> list[str]:
    """Arguments without some options and their values.

    Example:
        >>> without(["--workers"], ["blur", "--workers", "2", "--scale=smoke"])
        ['blur', '--scale=smoke']
    """
    kept = list(arguments)
    for name in options:
        for place in reversed([k for k, word in enumerate(kept) if word.partition("=")[0] == name]):
            del kept[place : place + (1 if "=" in kept[place] else 2)]
    return kept


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


def shared_on(address: str, workers: int, arguments: list[str]) -> int:
    """The same by tasks of a cluster of Ray, whose machines know this folder by the same path."""
    command = [sys.executable, "-m", "studies", *arguments]
    here = str(Path.cwd())
    with connection(address) as ray:
        slots = Slots.of(ray.cluster_resources(), None, None)
        task = ray.remote(num_cpus=slots.threads, num_gpus=slots.gpus, max_retries=3)(measured)
        return max(
            ray.get([task.remote([*command, "--worker", f"{k}/{workers}"], here) for k in range(1, workers + 1)])
        )


def measured(command: list[str], here: str) -> int:
    """A share, in a process of its own in the folder of the project."""
    check_shared(here)
    return subprocess.run(command, cwd=here).returncode


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
    parser.add_argument("--ray", help="auto or HOST:PORT of a cluster of Ray, on which the --workers are its tasks")
    parser.add_argument("--classifier", help="of --scale imagenet: another than EfficientNet-Lite0, as of `preimage`")
    given = parser.parse_args(arguments)
    if given.name is None:
        print("\n".join(f"{name:<{max(map(len, STUDIES))}}  {summary(name)}" for name in STUDIES))
        return 0
    if given.workers < 1 or (given.workers > 1 and given.worker != (0, 1)):
        parser.error(f"--workers must be at least 1, and without --worker, got {given.workers}")
    options = {key: value for key, value in vars(given).items() if key not in ("name", "workers", "ray")}
    try:
        if given.workers > 1 or given.ray:
            words = without(["--workers", "--ray"], list(sys.argv[1:] if arguments is None else arguments))
            code = shared_on(given.ray, given.workers, words) if given.ray else shared(given.workers, words)
            if code:
                return code
        print(study(given.name, **options))
    except (InputError, StudyError) as error:
        print(f"python -m studies: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
