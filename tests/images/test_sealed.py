"""A file of ours that is not what was written is known before it is used."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preimage.images.sealed import has_digest, sealed, unsealed, with_digest


def written(content: bytes) -> bytes:
    file = io.BytesIO()
    sealed(lambda through: through.write(content))(file)
    return file.getvalue()


@given(st.binary(max_size=300), st.data())
def test_any_flipped_bit_any_missing_and_any_further_byte_is_noticed(content, data):
    whole = written(content)
    found = unsealed(whole)
    assert found is not None
    assert found.read(len(content)) == content
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    assert unsealed(bytes(flipped)) is None
    assert unsealed(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None
    assert unsealed(whole + b"\0") is None


def test_a_sealed_file_of_torch_is_still_one(tmp_path):
    path = tmp_path / "weights.pt"
    with path.open("wb") as file:
        sealed(lambda through: torch.save({"weights": torch.arange(4)}, through))(file)
    assert torch.load(path, weights_only=True)["weights"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("change", [{"value": 0.4}, {"more": 1}, {"sha256": "0" * 64}])
def test_edited_json_is_noticed(change):
    values = with_digest({"value": 0.3, "scores": [0.1, 0.2]})
    assert has_digest(values)
    assert not has_digest(values | change)
