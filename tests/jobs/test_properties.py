"""Jobs: any valid options of every task come back from JSON as they were; what was mangled is a job or one line."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from preimage.errors import InputError
from preimage.jobs.forms import form_of
from preimage.jobs.job import Job, RunOptions, run_options_of
from preimage.registry import TASKS, task_named

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
rubbish = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)


def values_of(options: Any, each: Any) -> st.SearchStrategy[Any]:
    """All values that an option has in a job, within its range."""
    stated = each.metadata["option"]

    def of(member: Any) -> st.SearchStrategy[Any]:
        low, high = stated.minimum, stated.maximum
        if get_origin(member) is Literal:
            return st.sampled_from(get_args(member))
        if get_origin(member) is tuple:
            kinds = get_args(member)
            if kinds[-1] is ...:
                return st.lists(of(kinds[0]), max_size=3).map(tuple)
            return st.tuples(*map(of, kinds))
        if member is int:
            least = None if low is None else int(low) + stated.exclusive
            return st.integers(-(2**31) if least is None else least, 2**31 - 1 if high is None else int(high))
        if member is float:
            return st.floats(low, high, exclude_min=stated.exclusive, allow_nan=False, allow_infinity=False)
        if member is Path:
            return names
        return {bool: st.booleans(), str: names, type(None): st.none()}[member]

    return st.one_of(*map(of, form_of(options, each)))


@st.composite
def jobs(draw: Any, name: str) -> Job:
    task = task_named(name)
    own = {each.name: each for each in fields(task.options) if "option" in each.metadata}  # type: ignore[arg-type]
    stated = [each for each in own.values() if each.metadata["option"].kind != "python"]
    options = {each.name: draw(values_of(task.options, each)) for each in stated if draw(st.booleans())}
    run: dict[str, Any] = {}
    for each in fields(RunOptions):
        if each.name in run_options_of(task) and draw(st.booleans()):
            run[each.name] = draw(values_of(RunOptions, each))
    run |= {key: Path(run[key]) for key in ("report", "reference") if run.get(key)}
    outputs = {output.name: draw(names) for output in task.outputs if draw(st.booleans())}
    digest = draw(st.one_of(st.none(), st.text("0123456789abcdef", min_size=64, max_size=64)))
    return Job(name, options, draw(st.one_of(st.none(), names)), outputs, RunOptions(**run), digest)


@pytest.mark.parametrize("name", TASKS)
def test_any_job_goes_through_json_and_back(name: str) -> None:
    @examples(25)
    @given(jobs(name))
    def holds(job: Job) -> None:
        text = job.to_json()
        again = Job.from_json(text)
        assert again == job
        assert again.to_json() == text
        assert {key: type(value) for key, value in again.options.items()} == {
            key: type(value) for key, value in job.options.items()
        }

    holds()


@st.composite
def mangled(draw: Any) -> str:
    """The JSON of a job with something changed, added or taken away, or its text cut or changed."""
    whole = json.loads(draw(jobs(draw(st.sampled_from(sorted(TASKS))))).to_json())
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from([whole, *(each for each in whole.values() if isinstance(each, dict))]))
        key = draw(st.sampled_from([*part, "new", "two\nlines"])) if part else "new"
        if draw(st.booleans()) and key in part:
            del part[key]
        else:
            part[key] = draw(rubbish)
    text = json.dumps(whole)
    if draw(st.booleans()):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text(max_size=2)) + text[place + draw(st.integers(0, 3)) :]
    return text


def is_job_or_line(text: str) -> None:
    try:
        job = Job.from_json(text)
    except InputError as error:
        assert error.code  # noqa: PT017 (either of the two is right)
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 3000  # noqa: PT017
    else:
        assert Job.from_json(job.to_json()) == job


@examples(150)
@given(mangled())
def test_a_mangled_job_is_a_job_or_one_line(text: str) -> None:
    is_job_or_line(text)


@examples(60)
@given(st.one_of(st.text(max_size=40), rubbish.map(json.dumps)))
def test_what_is_no_job_is_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Job.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 2, "task": ' + "9" * 5000 + "}", "\ud800", '{"a":1,"a":2}']
)
def test_what_a_parser_may_stumble_over_is_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Job.from_json(text)
    assert "\n" not in str(caught.value)
