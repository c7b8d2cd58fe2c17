"""The process that reads pictures: `python -m preimage.studio.probe MEMORY prompt|nice`.

A line of JSON in, a line of JSON out: {"value": ..., "bytes": n} and n bytes, or {"error": ..., "code": ...}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from preimage.errors import InputError
from preimage.jobs.failures import explain
from preimage.jobs.job import Job, restores
from preimage.jobs.places import checked, usual_name
from preimage.studio import facts, results, seen
from preimage.studio.limits import limit_memory
from preimage.studio.looks import Region

Answer = tuple[Any, bytes]
_OPTIONAL = ("figure", "film", "html", "strengths", "array")


class Probe:
    """Answers to requests, by the method of their name."""

    def __init__(self, memory: int) -> None:
        self.kept: seen.Kept = seen.Kept(memory)

    def device(self) -> Answer:
        from preimage.engine.devices import choose_device

        return str(choose_device("auto")), b""

    def facts(self, path: str, pixels: int) -> Answer:
        seen.check_claims(Path(path), pixels)
        found, picture = facts.facts_of(Path(path))
        self.kept.keep(Path(path), picture)  # it is looked at next
        if found["width"] * found["height"] * found["pages"] > pixels:
            raise InputError(f"all pages together have more than {pixels} pixels: take some of them", code="size")
        return found, b""

    def seconds(self, path: str, of: dict[str, Any], threads: int) -> Answer:
        return facts.seconds_of(Path(path), of, threads), b""

    def view(self, path: str, query: dict[str, Any]) -> Answer:
        page = int(query["page"]) if str(query.get("page", "")).isdigit() else None
        low, high = results.real(query, "low"), results.real(query, "high")
        region = Region.of(query)
        place = Path(path)
        try:
            picture = self.kept.picture(place, page)
        except InputError as error:
            if page != 1 or "pages" not in str(error):
                raise
            picture = self.kept.picture(place, None)
        return {"size": picture.values.shape[1::-1]}, picture.png(region, low, high)

    def claims(self, path: str, pixels: int) -> Answer:
        seen.check_claims(Path(path), pixels)
        return {}, b""

    def mask(self, path: str, of: str, pixels: int) -> Answer:
        seen.check_claims(Path(path), pixels)
        facts.check_mask(Path(path), Path(of))
        facts.painted(Path(path))
        return {}, b""

    def check(self, job: str, out: str, stem: str) -> Answer:
        """The files that a job will write, and what they are called; what is wrong with it is said now."""
        asked = Job.from_json(job)
        chosen = asked.spec.options(**asked.options)
        paths: dict[str, str] = {}
        names: dict[str, str] = {}
        for output in asked.spec.outputs:
            if (output.when is not None and not output.when(chosen)) or output.name == "uncertainty":
                continue
            if output.default is None and output.name not in _OPTIONAL:
                continue
            name = usual_name(output, asked, stem)
            suffix = ".npz" if output.name == "array" else Path(name).suffix
            names[output.name] = f"{Path(name).stem}{suffix}"
            paths[output.name] = str(Path(out) / f"{output.name}{suffix}")
        whole = replace(asked, outputs=paths, run=replace(asked.run, overwrite=True))
        checked(whole)
        return {"job": replace(whole, run=asked.run).to_json(), "names": names, "restores": restores(asked.spec)}, b""

    def job_view(self, folder: str, name: str, query: dict[str, Any]) -> Answer:
        return {}, results.view(Path(folder), name, query, self.kept)

    def histogram(self, folder: str, query: dict[str, Any]) -> Answer:
        return results.histograms(Path(folder), query, self.kept), b""

    def blend(self, folder: str, strength: float, target: str, allow_code: bool) -> Answer:
        results.write_blend(Path(folder), strength, Path(target), allow_code=allow_code)
        return {}, b""

    def classify(self, classifier: str, path: str, page: int | None) -> Answer:
        return facts.classified(classifier, Path(path), page), b""

    def rows(self, out: str, task: str) -> Answer:
        """The pictures of a folder run, by their records."""
        from preimage.folders.results import records_in

        found = [
            {"name": place.name, "state": record.state, "error": record.error, "seconds": record.report.get("seconds")}
            for place, record in records_in(Path(out))
            if record.task == task
        ]
        return found, b""

    def written(self, out: str, name: str, task: str) -> Answer:
        """The main result of one picture of a folder run, below its output folder."""
        from preimage.folders.records import Place

        record = Place(Path(out), name, task).read()
        found = None if record is None else record.written.get("output")
        return [None if found is None else found.path], b""

    def answer(self, request: dict[str, Any]) -> Answer:
        method: Callable[..., Answer] = getattr(self, request.pop("what"))
        return method(**request)


def main() -> int:
    """Answer until there are no more requests."""
    answers: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends the input
    warnings.simplefilter("ignore")
    memory = int(sys.argv[1])
    if sys.argv[2] == "nice" and hasattr(os, "nice"):
        os.nice(10)
    limit_memory(memory)
    probe = Probe(memory)
    for line in sys.stdin.buffer:
        try:
            value, data = probe.answer(json.loads(line))
            head: dict[str, Any] = {"value": value, "bytes": len(data)}
        except Exception as error:
            data = b""
            code = error.code if isinstance(error, InputError) else type(error).__name__
            head = {"error": explain(error), "code": code}
        answers.write(json.dumps(head).encode() + b"\n" + data)
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
