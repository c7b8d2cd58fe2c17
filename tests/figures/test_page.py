"""The page of an explanation: all in one file, nothing loaded, no name that could be taken for HTML."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
import torch
from classifiers.small import Tiny, tiny
from explain.small import BRIEF, estimated, picture
from PIL import Image

from preimage.classifiers import Classifier
from preimage.errors import InputError
from preimage.explain.counterfactual import counterfactual
from preimage.explain.invert import invert
from preimage.explain.maximize import maximize
from preimage.explain.recover import recover
from preimage.figures.page import explanation_page, save_page

SETTINGS = {"recipe": BRIEF, "device": "cpu"}


class Read(HTMLParser):
    """Tags that are open, what is loaded, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.loaded, self.text, self.tags = [], [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def changed():
    return counterfactual(picture(), classifier=tiny(), count=2, **SETTINGS).run()


def test_nothing_is_loaded_from_anywhere(changed):
    page = explanation_page(changed)
    read = Read(page)
    assert read.open == []
    assert len(read.loaded) == len(changed.panels) + 1
    assert all(value.startswith("data:image/png;base64,") for value in read.loaded)
    plain = re.sub(r"data:image/png;base64,[\w+/=]*", "", page)
    assert not re.search(r"https?://|//\w|@import|url\(", plain)
    assert "script" not in read.tags


def test_pictures_numbers_settings_and_limits_are_there(changed):
    read = Read(explanation_page(changed, title="A title", settings={"input": "lesion.jpg"}))
    words = ["A title", *changed.panels, *changed.limits, changed.reason, *changed.remarks, "lesion.jpg", "SkipNet"]
    for word in words:
        assert word in read.text, word
    for name in changed.numbers:
        assert name.replace("_", " ") in read.text, name
    assert read.text.count("seconds") == 1
    picture_of = base64.b64decode(read.loaded[0].split(",")[1])
    assert Image.open(io.BytesIO(picture_of)).size == (32, 32)


def test_names_are_no_html():
    names = ["<b>bold</b>", "R&D", "\"quoted' >"]
    classifier = Classifier(Tiny(), names, (0.5,) * 3, (0.25,) * 3)
    one = counterfactual(picture(), classifier=classifier, **SETTINGS).run()
    page = explanation_page(one, title="<script>alert(1)</script> & more", settings={"a<b": "<i>", "c": {"<u>": "<u>"}})
    read = Read(page)
    assert read.open == []
    assert not {"b", "script", "i", "u"} & set(read.tags)
    assert "<script>alert(1)</script> & more" in read.text
    for name in (names[one.prediction], names[one.target]):
        assert name in read.text
    assert next(iter(one.panels)) in read.text


@pytest.mark.parametrize(
    "run",
    [
        lambda: recover(picture()[:1], classifier=estimated(), **SETTINGS),
        lambda: invert(picture(), layers=["block1", "head"], classifier=tiny(), **SETTINGS),
        lambda: maximize(classifier=tiny(), target=2, size=(32, 32), **SETTINGS),
    ],
)
def test_every_task_has_a_page(run):
    one = run().run()
    read = Read(explanation_page(one))
    assert read.open == []
    assert len(read.loaded) == len(one.panels) + 1
    assert "preimage" in read.text


def test_a_page_is_written_whole_or_not_at_all(changed, tmp_path):
    path = save_page(changed, tmp_path / "a.html")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    with pytest.raises(InputError, match="exists already"):
        save_page(changed, path)
    save_page(changed, path, overwrite=True)
    with pytest.raises(InputError, match="written as HTML"):
        save_page(changed, tmp_path / "a.png")
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]


def test_numbers_that_are_none_are_no_trouble(changed):
    changed.numbers["gain"] = float("nan")
    changed.numbers["known"] = None
    assert "nan" in Read(explanation_page(changed)).text
    assert torch.isfinite(changed.image).all()
