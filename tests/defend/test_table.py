"""A table that survives kill -9 and several writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli.tiny import ENVIRONMENT

from preimage.defend.table import Table
from preimage.errors import InputError

COLUMNS, KEY = ("name", "number", "said"), ("name", "number")
WRITER = """
import sys
from preimage.defend.table import Table
table = Table(sys.argv[1], columns=("name", "number", "said"), key=("name", "number"))
for k in range(40):
    table.append([{"name": name, "number": str(k), "said": sys.argv[2]} for name in ("a", "b")])
"""


def row(name: str, number: int, said: str = "") -> dict[str, str]:
    return {"name": name, "number": str(number), "said": said}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "rows.csv", columns=COLUMNS, key=KEY)


def test_rows_come_back_as_they_were(table):
    rows = [row("a", 1, 'says "no", \n twice'), row("ü", 2)]
    table.append(rows)
    table.append([row("b", 3)])
    assert Table(table.path, columns=COLUMNS, key=KEY).rows() == [*rows, row("b", 3)]
    assert table.known() == {("a", "1"), ("ü", "2"), ("b", "3")}


def test_no_row_comes_twice(table):
    table.append([row("a", 1, "first")])
    table.append([row("a", 1, "second"), row("a", 2)])
    assert table.rows() == [row("a", 1, "first"), row("a", 2)]


@pytest.mark.parametrize("torn", [b"a,2,half a ro", b"a", b'"a'])
def test_a_torn_last_line_is_dropped(table, torn):
    table.append([row("a", 1)])
    whole = table.path.read_bytes()
    table.path.write_bytes(whole + torn)
    assert table.rows() == [row("a", 1)]
    table.append([row("a", 2)])
    assert table.path.read_bytes() == whole + b"a,2,\n"


def test_a_torn_header_is_written_anew(table):
    table.path.write_bytes(b"name,num")
    assert table.rows() == []
    table.append([row("a", 1)])
    assert table.path.read_bytes() == b"name,number,said\na,1,\n"


@pytest.mark.parametrize("content", [b"other,columns\n1,2\n", b"my notes"])
def test_another_file_is_left_alone(table, content):
    table.path.write_bytes(content)
    with pytest.raises(InputError, match="give another name"):
        Table(table.path, columns=COLUMNS, key=KEY)
    assert table.path.read_bytes() == content


def test_places_that_cannot_be(tmp_path):
    for path, words in ((tmp_path / "nowhere" / "rows.csv", "does not exist"), (tmp_path / "rows.txt", ".csv")):
        with pytest.raises(InputError, match=words):
            Table(path, columns=COLUMNS, key=KEY)


def test_two_processes_write_every_row_once(table):
    command = [sys.executable, "-c", WRITER, str(table.path)]
    both = [subprocess.Popen([*command, who], env=ENVIRONMENT) for who in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    assert len(table.rows()) == 80
    assert len(table.known()) == 80
