"""Result and History: written in kind, blended, drawn, shown in a notebook."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from matplotlib.figure import Figure
from PIL import Image
from specimens import THIN, clean, fit_of, noisy

from preimage.engine.result import Result
from preimage.errors import InputError
from preimage.history import History
from preimage.restore.denoise import denoise

BRIEF = replace(THIN, steps=4)


def eight_bit(side: int = 20, channels: int = 3) -> np.ndarray:
    return (noisy(side, channels)[0].movedim(0, -1).numpy() * 255).round().astype(np.uint8)


def denoised(image: object, **options) -> Result:
    return denoise(image, recipe=BRIEF, noise="gaussian", device="cpu", **options).run()


@pytest.mark.parametrize("shape", [(20, 20), (20, 20, 1), (20, 20, 3), (20, 20, 2)])
def test_an_8_bit_array_comes_back_as_one_of_its_shape(shape):
    image = eight_bit(channels=shape[2] if len(shape) == 3 else 1).reshape(shape)
    result = denoised(image)
    array = result.to_array()
    assert (array.dtype, array.shape) == (np.uint8, shape)
    pixels = (result.image[0].movedim(0, -1).clamp(0, 1) * 255).numpy().reshape(shape)
    assert np.abs(array - pixels).max() <= 0.5 + 1e-4


def test_a_16_bit_file_comes_back_in_its_own_range(tmp_path):
    counts = (100 + 135 * noisy(20, 1)[0, 0].numpy()).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", counts)
    result = denoised(tmp_path / "in.tif")
    assert result.save(tmp_path / "out.tif") == tmp_path / "out.tif"
    written = tifffile.imread(tmp_path / "out.tif")
    assert (written.dtype, written.shape) == (np.uint16, counts.shape)
    assert np.array_equal(written, result.to_array())
    assert result.picture is not None
    low, high = result.picture.units()
    assert np.abs(written - (low + result.image[0, 0].numpy() * (high - low))).max() <= 0.51


def test_a_float_tensor_comes_back_as_it_was_arranged():
    for image in (noisy(20), noisy(20)[0], noisy(20, 1)[0, 0]):
        result = denoised(image)
        array = result.to_array()
        assert (array.dtype, array.shape) == (np.float32, tuple(image.shape))
        assert np.allclose(array.ravel(), result.image.numpy().ravel(), atol=1e-6)


def test_a_path_may_be_text_and_is_never_overwritten_unasked(tmp_path):
    Image.fromarray(eight_bit()).save(tmp_path / "in.png")
    result = denoised(str(tmp_path / "in.png"))
    place = str(tmp_path / "out.png")
    assert result.save(place) == Path(place)
    with Image.open(place) as written:
        assert np.array_equal(np.asarray(written), result.to_array())
    with pytest.raises(InputError, match="exists already"):
        result.save(place)
    assert result.save(place, overwrite=True) == Path(place)
    with pytest.raises(InputError, match="is the input itself"):
        result.save(tmp_path / "in.png", overwrite=True)


def test_a_fit_of_a_bare_tensor_can_be_written_too(tmp_path):
    result = fit_of(noisy(20), BRIEF).run()
    assert result.picture is None
    assert result.to_array().shape == (1, 3, 20, 20)
    with Image.open(result.save(tmp_path / "out.png")) as written:
        assert (written.size, written.mode) == ((20, 20), "RGB")


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_blended_lies_between_input_and_result(strength):
    result = denoised(noisy(20))
    expected = strength * result.image + (1 - strength) * noisy(20)
    assert torch.allclose(result.blended(strength), expected, atol=1e-6)
    assert torch.equal(result.blended(1), result.image)
    bare = fit_of(noisy(20), BRIEF).run()
    assert torch.equal(bare.blended(0.5), bare.image)


def test_plot_is_a_figure_of_before_after_and_difference(tmp_path):
    figure = denoised(noisy(20)).plot()
    assert isinstance(figure, Figure)
    titles = [axes.get_title() for axes in figure.get_axes()]
    assert titles[:3] == ["before", "after", "difference"]
    figure.savefig(tmp_path / "figure.png", dpi=30)
    without = [axes.get_title() for axes in fit_of(noisy(20), BRIEF).run().plot().get_axes()]
    assert "after" in without
    assert "before" not in without


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (5, "RGB")])
def test_a_notebook_shows_the_picture_and_the_reason(channels, mode):
    result = denoised(noisy(20, channels))
    shown = result._repr_html_()
    assert f"denoise: {result.reason}" in shown
    encoded = re.search(r"data:image/png;base64,([^\"]+)", shown)
    assert encoded is not None
    with Image.open(io.BytesIO(base64.b64decode(encoded[1]))) as picture:
        assert (picture.size, picture.mode) == ((20, 20), mode)
        first = np.asarray(picture).reshape(20, 20, -1)[..., 0]
    assert np.abs(first - 255 * result.image[0, 0].clamp(0, 1).numpy()).max() <= 0.51


def test_a_result_says_what_to_repeat_it_with():
    fit = denoise(noisy(20), recipe=BRIEF, noise="gaussian", sigma=0.1, seed=7, restarts=2, device="cpu")
    result = fit.run()
    assert (result.task, result.seed, result.device, result.precision) == ("denoise", 7, "cpu", "float32")
    assert (result.recipe, result.steps, result.threads) == (replace(BRIEF, restarts=2), 4, torch.get_num_threads())
    assert len(result.kept_step) == len(result.weights) == 2
    assert result.seconds > 0
    again = denoise(
        noisy(20), recipe=result.recipe, noise="gaussian", sigma=0.1, seed=7, restarts=2, device="cpu"
    ).run()
    assert torch.equal(again.image, result.image)


def test_a_result_aliases_nothing_of_the_fit():
    """What is done to it, or to the fit, later shows in neither."""
    fit = denoise(noisy(20), recipe=replace(THIN, steps=8), noise="gaussian", restarts=2, device="cpu")
    for step in fit:
        if step.index == 4:
            break
    early = fit.result()
    image, length = early.image.clone(), len(early.history)
    weights = {k: v.clone() for k, v in early.weights[0]["network"].items()}
    early.image.add_(1)
    early.weights[0]["code"].add_(1)
    late = fit.run()
    plain = denoise(noisy(20), recipe=replace(THIN, steps=8), noise="gaussian", restarts=2, device="cpu").run()
    assert torch.equal(late.image, plain.image)
    assert torch.equal(early.image, image + 1)
    assert len(early.history) == length
    assert all(torch.equal(early.weights[0]["network"][k], v) for k, v in weights.items())
    assert (early.reason_code, late.reason_code) == ("interrupted", plain.reason_code)


def test_a_notebook_shows_text_as_text():
    result = replace(denoised(noisy(20)), reason="<script>alert(1)</script> & more")
    assert "<script>" not in result._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in result._repr_html_()


def test_history_holds_each_term_of_each_step_and_member():
    history = History(["data", "regularizer"])
    assert len(history) == 0
    assert history.to_dict() == {"step": [], "data": [], "regularizer": [], "events": []}
    history.append(torch.tensor([[1.0, 2.0], [0.5, 0.25]]), [])
    history.append(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), ["step 2: something happened"])
    assert len(history) == 2
    assert history["data"].tolist() == [[1, 2], [3, 4]]
    assert history["regularizer"].tolist() == [[0.5, 0.25], [0, 1]]
    assert history["loss"].tolist() == [[1.5, 2.25], [3, 5]]
    assert history.to_dict() == {
        "step": [1, 2],
        "data": [[1, 2], [3, 4]],
        "regularizer": [[0.5, 0.25], [0, 1]],
        "events": ["step 2: something happened"],
    }
    with pytest.raises(ValueError, match="other"):
        history["other"]
    copied = History(["data", "regularizer"])
    copied.load_state_dict(history.state_dict())
    assert copied.to_dict() == history.to_dict()
    copied.append(torch.zeros(2, 2), ["more"])
    assert len(copied) == 3


def test_history_of_a_fit_with_a_penalty():
    result = denoised(noisy(20), tv=1e-6, restarts=2)
    history = result.history
    assert history.names == ["squared", "total_variation"]
    assert history["loss"].shape == (4, 2)
    assert torch.allclose(history["loss"], history["squared"] + history["total_variation"])
    assert float(history["total_variation"].min()) > 0
    assert history.to_dict()["step"] == [1, 2, 3, 4]


def test_the_picture_is_never_that_of_another(tmp_path):
    """Channels of the result must be those of what was read."""
    result = denoised(noisy(20))
    with pytest.raises(InputError, match="3 channels"):
        replace(result, image=clean(20, 1)).to_array()


def test_what_leaves_0_to_1_is_written_as_black_and_white(tmp_path):
    image = (
        torch.tensor([[-1.0, 0.5], [1.0, 2.0]]).repeat_interleave(16, 0).repeat_interleave(16, 1).expand(1, 3, 32, 32)
    )
    replace(fit_of(noisy()).run(), image=image, picture=None).save(tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png"))[::16, ::16, 0].tolist() == [[0, 128], [255, 255]]
