"""Data sets as tables: a CSV or TSV with a line per image, its file, its class, and perhaps its part and its group.

The columns of HAM10000's metadata (image_id, dx) and of ISIC's challenges (image, and a column of 0 and 1 for each class) are
known, as are file names without an extension, and images in folders below the table's or the data root.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from preimage.classifiers.data_sets import TRAIN, DataSet, part_of, stack_of_files
from preimage.errors import InputError
from preimage.images.files import read_text
from preimage.images.formats import SUFFIXES

TABLES = (".csv", ".tsv")
LABELS = "class_index"  # the column of the class, unless another is named
# Others that are taken where there is none of that name, in this order, and in whatever case.
_OTHER_LABELS = ("dx", "label", "class", "class_name", "diagnosis", "target", "category")
FILES = "filename"
_OTHER_FILES = (
    "image",
    "image_id",
    "image_name",
    "isic_id",
    "file",
    "file_name",
    "filepath",
    "file_path",
    "path",
    "image_path",
)
_GROUPS = ("lesion_id", "patient_id", "subject_id", "case_id", "patient", "lesion")
_MOST_TABLE = 2**30  # bytes

Row = dict[str, str]


def read_table(
    path: Path,
    label_column: str = LABELS,
    split_column: str | None = None,
    group: str | None = None,
    data_root: Path | None = None,
) -> DataSet:
    """A CSV or TSV, in UTF-8, with a column `filename`, relative to it; the other arguments are those of read_labelled.

    Example:
        >>> rows = ("filename,class_index,animal", "1.png,0,cat", "2.png,1,dog", "3.png,1,dog")
        >>> _ = Path("labels.csv").write_text(chr(10).join(rows))
        >>> read_table(Path("labels.csv")).classes
        ['cat', 'dog']
    """
    rows = _rows(path)
    file = _column(rows[0], FILES, _OTHER_FILES)
    wanted = _column(rows[0], label_column, _OTHER_LABELS if label_column == LABELS else ())
    one_hot = [] if wanted in rows[0] or label_column != LABELS else _one_hot(rows, (file, split_column, group))
    for column in (file, *(() if one_hot else (wanted,)), split_column, group):
        if column is not None and column not in rows[0]:
            raise InputError(f"{path} has no column {column!r}: its columns are {', '.join(rows[0])}", code="not-found")
    for number, row in enumerate(rows, 2):
        if not row[file] or not (one_hot or row[wanted]):
            empty = f"{path}, line {number}: {file if not row[file] else wanted} is empty"
            raise InputError(f"{empty}: fill it, or remove the line", code="unreadable")
    values = _of_columns(path, rows, one_hot) if one_hot else [row[wanted] for row in rows]
    names = [name for name in one_hot if name in values] or _in_order(values)
    parts = [TRAIN if split_column is None else _part(row[split_column] or "", path) for row in rows]
    groups = [(group and row[group]) or row[file] for row in rows]
    files = _files(path, [row[file] for row in rows], data_root)
    return DataSet(
        partial(stack_of_files, files),
        [names.index(each) for each in values],
        groups,
        parts,
        names if one_hot else _class_names(names, rows, wanted),
        tuple(_remarks(rows, file, wanted, one_hot, names, group)),
    )


def _rows(path: Path) -> list[Row]:
    try:
        text = io.StringIO(read_text(path, most=_MOST_TABLE), newline="")
        rows = list(csv.DictReader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except csv.Error as error:
        raise InputError(f"{path} is not a table of text: give a CSV in UTF-8", code="unreadable") from error
    if any(None in row for row in rows):
        number = next(number for number, row in enumerate(rows, 2) if None in row)
        raise InputError(f"{path}, line {number}: more columns than the header has: correct it", code="unreadable")
    if not rows:
        raise InputError(f"{path} has no rows: give a header and a line per image", code="unreadable")
    return rows


def _column(columns: Iterable[str], name: str, others: Sequence[str]) -> str:
    """The column of a name, else the first of others that there is, in whatever case; else the name."""
    known = {str(column).lower(): column for column in reversed(list(columns))}
    return name if name in known.values() else next((known[other] for other in others if other in known), name)


def _part(value: str, path: Path) -> str:
    part = part_of(value)
    if part is None:
        raise InputError(
            f"{path}: the part of an image must be train, validation (val) or test, got {value!r}: correct the column"
        )
    return part


# ---------------------------------------------------------------------- classes


def _in_order(values: Sequence[str]) -> list[str]:
    """Classes in the order of their numbers, or of the alphabet."""
    return sorted(set(values), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _one_hot(rows: list[Row], others: Iterable[str | None]) -> list[str]:
    """The columns that hold 0 and 1 alone, if these are two or more: one for each class."""
    columns = [name for name in rows[0] if name not in others and all(_bit(row[name]) is not None for row in rows)]
    return columns if len(columns) > 1 else []


def _bit(text: str | None) -> bool | None:
    """Whether a text is 1; None: neither 0 nor 1, as "0.0" and "1" are."""
    try:
        return {0.0: False, 1.0: True}.get(float(text or "nan"))
    except ValueError:
        return None


def _of_columns(path: Path, rows: list[Row], columns: list[str]) -> list[str]:
    found: list[str] = []
    for number, row in enumerate(rows, 2):
        own = [name for name in columns if _bit(row[name])]
        if len(own) != 1:
            which = f"is of {len(own)} classes ({', '.join(own)})" if own else f"is of none of {', '.join(columns)}"
            way = "each image has one class: correct the line or remove it, or name a column by --label-column"
            raise InputError(f"{path}, line {number}: the image {which}: {way}", code="class")
        found += own
    return found


def _class_names(names: list[str], rows: list[Row], label_column: str) -> list[str]:
    """Words of another column that match numbered classes one to one, if there are any; else the numbers."""
    if not all(name.isdecimal() for name in names):
        return names
    for column in rows[0]:
        pairs = {(row[label_column], row[column]) for row in rows}
        words = dict(pairs)
        if column != label_column and len(pairs) == len(names) == len(set(words.values())):
            return [words[name] for name in names]
    return names


def _remarks(
    rows: list[Row], file: str, label: str, one_hot: list[str], names: list[str], group: str | None
) -> Iterable[str]:
    """Which columns were taken without being named, and which should be."""
    if (file, label) != (FILES, LABELS):
        classes = f"the columns {', '.join(one_hot)}" if one_hot else f"the column {label}"
        yield f"images are named by the column {file}, classes by {classes}"
    if left := [name for name in one_hot if name not in names]:
        yield f"no image is of {', '.join(left)}: left out of the classes"
    for column in rows[0]:
        if group is None and str(column).lower() in _GROUPS and max(Counter(row[column] for row in rows).values()) > 1:
            yield f"several images share a {column}: --group {column} keeps them in one part"


# ---------------------------------------------------------------------- files


def _files(table: Path, names: Sequence[str], root: Path | None) -> list[Path]:
    """The file of each row: as it is named, or of that name in a folder below, or with an extension of an image."""
    below: dict[str, list[Path]] | None = None
    found: list[Path] = []
    for line, name in enumerate(names, 2):
        file = _below(table, name, root, line)
        if not file.is_file() and Path(name).name != name:
            alike = [each for suffix in SUFFIXES if (each := file.with_name(file.name + suffix)).is_file()]
            file = alike[0] if len(alike) == 1 else file
        elif not file.is_file():
            below = _all_below(table.parent if root is None else root) if below is None else below
            file = _one(table, name, below.get(name, []), line, table.parent if root is None else root) or file
        found.append(file)
    return found


def _all_below(root: Path) -> dict[str, list[Path]]:
    """All images below a folder, by their names with and without extension."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() in SUFFIXES:
            found[file.name].append(file)
            found[file.stem].append(file)
    return found


def _one(table: Path, name: str, files: list[Path], line: int, root: Path) -> Path | None:
    """The one file of a name; None where a whole file name is not found, which reading it will say."""
    if len(files) == 1:
        return files[0]
    if files:
        two = f"{table}, line {line}: {name} may be {files[0]} or {files[1]}"
        raise InputError(f"{two}: leave one of them there, or name the folder in the table", code="option")
    if Path(name).suffix.lower() in SUFFIXES:
        return None
    nothing = f"{table}, line {line}: there is no image {name} (.jpg, .png, ...) below {root}"
    raise InputError(f"{nothing}: give the folder of the images by --data-root FOLDER", code="not-found")


def _below(table: Path, name: str, root: Path | None, line: int) -> Path:
    """The file of a row, which must be below the table's folder, or below the root that allows others."""
    file, allowed = table.parent / name, table.parent if root is None else root
    # A link in the folder is its owner's; behind one, ".." leads elsewhere than it seems.
    placed = os.path.realpath if ".." in Path(name).parts else os.path.abspath
    if Path(placed(file)).is_relative_to(placed(allowed)):
        return file
    if Path(name).name == name:
        return allowed / name  # the images are elsewhere than their table
    outside = f"{table}, line {line}: {name} is outside of the folder {allowed}"
    raise InputError(f"{outside}: allow one that holds all images by --data-root FOLDER", code="option")
