"""Which of a classifier's classes those of a data set are: by name, by synset id of ImageNet, or by index."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from preimage.classifiers.arguments import suggestion
from preimage.classifiers.libraries import IMAGENET, imported_timm
from preimage.errors import InputError

_SYNSET = re.compile(r"(n\d{8})(?!\d)")
_NUMBERED = re.compile(r"\d+[ .]+(?=[^\W\d])")  # 001.Black_footed_Albatross


def indices_of(own: Sequence[str], classes: Sequence[str], data: str) -> list[int]:
    """The index of each class of a data set among a classifier's classes.

    Example:
        >>> indices_of(["Golden_Retriever", "1"], ["cat", "goldfish, Carassius auratus", "golden retriever"], "dogs")
        [2, 1]

    Names are compared without regard to case, hyphens and underscores, and with each of several names that commas separate.
    If none is found, and there are as many, they are taken in their order.

    Args:
        own, classes: names of the data set's and of the classifier's classes.
        data: name of the data set, for messages.

    Raises:
        InputError: one that is none of the classifier's, may be two of them, or is the same as another.
    """
    known = _Known(classes)
    found = [known.index(name) for name in own]
    missing = [name for name, index in zip(own, found, strict=True) if index is None]
    if len(missing) == len(own) == len(classes):
        return list(range(len(own)))
    if missing:
        of = f"{len(missing)} of the {len(own)} classes of {data} are none of the classifier's {len(classes)} classes"
        near = suggestion(missing[0], known.names_like(missing[0]))
        raise InputError(f"{of}, {missing[0]!r} for one{near} (name, synset id or index name them)", code="class")
    indices = [index for index in found if index is not None]
    first: dict[int, str] = {}
    for name, index in zip(own, indices, strict=True):
        if first.setdefault(index, name) != name:
            pair = f"{first[index]!r} and {name!r} of {data} are both the classifier's {classes[index]!r}"
            raise InputError(f"{pair}: join them, or name one of them otherwise", code="class")
    return indices


def is_alike(one: str, other: str) -> bool:
    """Whether two names differ in case, hyphens and underscores alone."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


class _Known:
    """A classifier's classes by everything that may name them."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.whole: dict[str, list[int]] = defaultdict(list)
        self.parts: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(classes):
            self.whole[_plain(name)].append(index)
            for part in name.split(",") if "," in name else ():
                self.parts[_plain(part)].append(index)
        self._synsets: list[str] | None = None

    def index(self, name: str) -> int | None:
        """The index of the class of a name; None: there is none."""
        plain = _plain(name)
        for each in dict.fromkeys((plain, _NUMBERED.sub("", plain, count=1))):
            for names in (self.whole, self.parts):
                if len(found := names.get(each, [])) > 1:
                    two = " and ".join(map(str, found[:2]))
                    raise InputError(f"{name!r} names several classes, {two}: give the index of one", code="class")
                if found:
                    return found[0]
        if synset := _SYNSET.match(plain):
            return self.synsets.index(synset[1]) if synset[1] in self.synsets else None
        return int(plain) if plain.isdecimal() and int(plain) < len(self.classes) else None

    @property
    def synsets(self) -> list[str]:
        """The synset ids of the classes of ImageNet, if these are its 1000 in their usual order."""
        if self._synsets is None:
            # Known by one of them that all sets of names call alike, or by their number where they have no names.
            usual = len(self.classes) == IMAGENET and (self.classes[1] == "1" or "goldfish" in self.classes[1].lower())
            self._synsets = [str(each) for each in imported_timm().data.ImageNetInfo().label_names()] if usual else []
        return self._synsets

    def names_like(self, name: str) -> Sequence[str]:
        """What a name that was not found is compared with."""
        synsets = self.synsets if _SYNSET.match(_plain(name)) else []
        return synsets or self.classes
