from __future__ import annotations

import pickle
from pathlib import Path
from typing import get_args

import pytest

from preimage import errors
from preimage.errors import ErrorCode, InputError, MissingExtra


@pytest.mark.parametrize(
    "error", [InputError("a.png is damaged", code="unreadable"), MissingExtra.of("timm", "explain")]
)
def test_an_error_keeps_message_and_code_on_its_way_to_another_process(error):
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), copy.code) == (type(error), str(error), error.code)


def test_a_value_out_of_its_range_is_the_default_code():
    assert InputError("steps must be at least 1, got 0").code == "invalid-value"


def test_an_absent_package_can_be_caught_as_import_error_and_as_input_error():
    for kind in (ImportError, InputError, ValueError):
        with pytest.raises(kind, match=r"pip install 'preimage\[explain\]'") as caught:
            raise MissingExtra.of("timm", "explain")
        assert caught.value.code == "missing-extra"


def test_each_code_is_documented():
    lines = Path(errors.__file__).read_text(encoding="utf-8").splitlines()
    for code in get_args(ErrorCode):
        assert any(line.startswith(f'    "{code}",  # ') for line in lines), code
