"""JpegCoefficients: what a JPEG rounds, held against files that libjpeg wrote."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from preimage.errors import InputError
from preimage.images import as_picture
from preimage.operators import JpegCoefficients, rounded

SUBSAMPLINGS = {
    0: (1, 1),
    1: (1, 2),
    2: (2, 2),
}  # Pillow's numbers: (rows, columns) of pixels to one value of Cb and Cr
FLAT = torch.full((8, 8), 16.0)
PIXEL = 0.5 / 255  # decoded pixels are rounded to 8 bits


def photograph(height: int, width: int) -> np.ndarray:
    """A real texture, in the middle of the range: what is clipped in decoding tells less."""
    from skimage import data

    window = data.chelsea()[60 : 60 + height, 100 : 100 + width]
    return (70 + 0.45 * window).round().astype(np.uint8)


def encoded(pixels: np.ndarray, **options) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return Image.open(buffer)


def tensor_of(pixels: np.ndarray) -> torch.Tensor:
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(planes.copy()).movedim(-1, 0)[None].float() / 255


def view_of(image: Image.Image) -> tuple[JpegCoefficients, torch.Tensor]:
    """The operator that the file's own tables make, and the decoded pixels."""
    picture = as_picture(image)
    coding = picture.metadata.quantization
    assert coding is not None
    tables = [torch.tensor(table) for table in coding.tables]
    size = (image.height, image.width)
    view = JpegCoefficients(tables, size, subsampling=coding.subsampling, space=coding.space)
    return view, picture.tensor


def whole_blocks(size: tuple[int, int], subsampling: tuple[int, int], channels: int) -> list[torch.Tensor]:
    """For each channel, (n,) True for coefficients of blocks that lie wholly within the picture: of the others a decoder
    shows only a part."""
    flags = []
    for factors in [(1, 1)] + [subsampling] * (channels - 1):
        rows, columns = (
            torch.arange(1, -(-side // (8 * most)) * most // factor + 1) * 8 * factor <= side
            for side, factor, most in zip(size, factors, subsampling, strict=True)
        )
        flags.append((rows[:, None] & columns).flatten().repeat_interleave(64))
    return flags


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- the transform


@pytest.mark.parametrize(("channels", "space"), [(1, "grey"), (3, "RGB")])
def test_it_keeps_distances(channels, space):
    view = JpegCoefficients([FLAT] * channels, (32, 48), space=space)
    a, b = random(2, channels, 32, 48), random(2, channels, 32, 48, seed=1)
    assert torch.allclose((view(a) - view(b)).norm(dim=1), (a - b).flatten(1).norm(dim=1), rtol=1e-5)


def test_of_colors_it_keeps_the_distances_of_ycbcr():
    view, a = JpegCoefficients([FLAT] * 3, (16, 24)), random(1, 3, 16, 24)
    to_ycbcr = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    planes = torch.einsum("dc,bchw->bdhw", to_ycbcr, a - a.flip(-1))
    assert float((view(a) - view(a.flip(-1))).norm()) == pytest.approx(float(planes.norm()), rel=1e-5)


@pytest.mark.parametrize("level", [0, 100, 128, 255])
def test_a_flat_picture_has_only_its_mean_counted_from_128(level):
    """T.81, A.3.1: samples are shifted by 128; F.1.1.3: the mean of a block is an eighth of its first coefficient."""
    blocks = JpegCoefficients([FLAT], (16, 24))(torch.full((1, 1, 16, 24), level / 255)).reshape(-1, 64)
    assert torch.allclose(blocks[:, 0], torch.full((6,), 8 * (level - 128) / 255), atol=1e-5)
    assert float(blocks[:, 1:].abs().max()) < 1e-5


def test_rows_of_a_block_are_vertical_frequencies():
    across = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    blocks = JpegCoefficients([FLAT], (16, 16))(across).reshape(-1, 8, 8)
    assert float(blocks[:, 1:, :].abs().max()) < 1e-5
    assert float(blocks[:, 0, 1].abs().min()) > 0.1


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (20, 60, 250), (90, 90, 90)])
def test_colors_are_those_of_jfif(color):
    pixels = np.full((8, 8, 3), color, np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("YCbCr"))[0, 0].astype(float) - 128
    means = JpegCoefficients([FLAT] * 3, (8, 8))(tensor_of(pixels)).reshape(3, 64)[:, 0] / 8 * 255
    assert means.tolist() == pytest.approx(expected.tolist(), abs=1)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS.values())
def test_sub_sampled_color_is_the_mean_of_its_pixels(subsampling):
    x = random(1, 3, 32, 32)
    rows, columns = subsampling
    block = torch.nn.functional.avg_pool2d(x, (rows, columns)).repeat_interleave(rows, -2)
    block = block.repeat_interleave(columns, -1)
    view = JpegCoefficients([FLAT] * 3, (32, 32), subsampling=subsampling)
    chroma = slice(32 * 32, None)
    assert torch.allclose(view(x)[:, chroma], view(block)[:, chroma], atol=1e-5)
    assert view(x).shape[1] == 32 * 32 * (1 + 2 / (rows * columns)) == len(view.steps)


def test_steps_are_the_tables_for_each_block_of_each_channel():
    tables = [torch.arange(1.0, 65).reshape(8, 8), torch.full((8, 8), 7.0), torch.full((8, 8), 9.0)]
    steps = JpegCoefficients(tables, (17, 16), subsampling=(2, 2)).steps * 255
    assert torch.equal(steps[:64].reshape(8, 8).round(), tables[0])
    assert steps.reshape(-1, 64)[:, 0].round().tolist() == [1] * 8 + [7] * 2 + [9] * 2


def test_members_are_seen_one_by_one():
    view = JpegCoefficients([FLAT] * 3, (20, 27), subsampling=(2, 2))
    x = random(3, 3, 20, 27)
    assert torch.equal(view(x)[1:2], view(x[1:2]))


# ---------------------------------------------------------------------- held against real files


@pytest.mark.parametrize("size", [(48, 48), (41, 50), (24, 40)])
@pytest.mark.parametrize("quality", [10, 50, 75])
def test_the_original_of_a_grey_file_lies_within_half_a_step(quality, size):
    """That is what quantization is (T.81, A.3.4), but for the encoder's integer arithmetic."""
    pixels = photograph(*size).mean(2).astype(np.uint8)
    view, decoded = view_of(encoded(pixels, quality=quality))
    excess = (view(tensor_of(pixels)) - rounded(view(decoded), view.steps)).abs() - view.steps / 2
    assert float(excess[:, whole_blocks(size, (1, 1), 1)[0]].max()) < 0.2 / 255


@pytest.mark.parametrize("size", [(48, 48), (41, 50)])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("quality", [10, 30, 75])
def test_so_it_does_for_nearly_all_coefficients_of_a_color_file(quality, subsampling, size):
    """Colors are rounded to 8 bits twice more, and sub-sampled ones smoothed by the decoder."""
    pixels = photograph(*size)
    image = encoded(pixels, quality=quality, subsampling=subsampling)
    view, decoded = view_of(image)
    assert view.subsampling == SUBSAMPLINGS[subsampling]
    off = (view(tensor_of(pixels)) - rounded(view(decoded), view.steps)).abs()
    luminance, *colors = whole_blocks(size, view.subsampling, 3)
    outside = off > view.steps / 2 + PIXEL
    assert float(outside[:, torch.cat([luminance, *colors])].float().mean()) < 0.002
    means = outside[0, : len(luminance)][luminance][::64]
    assert not bool(means.any())


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_decoded_pixels_have_multiples_of_the_steps(quality):
    """To within the rounding of pixels to 8 bits, whose deviation is 1 / sqrt(12)."""
    view, decoded = view_of(encoded(photograph(48, 48).mean(2).astype(np.uint8), quality=quality))
    off = view(decoded) - rounded(view(decoded), view.steps)
    assert float(off.square().mean().sqrt()) < 0.32 / 255


def test_a_table_is_not_turned():
    """One of a camera may be coarse across and fine along: Pillow's rows are JpegCoefficients' rows."""
    table = [4 + 9 * (i % 8) for i in range(64)]
    view, decoded = view_of(encoded(photograph(48, 48).mean(2).astype(np.uint8), qtables=[table]))
    off = view(decoded) - rounded(view(decoded), view.steps)
    assert float(off.square().mean().sqrt()) < 0.32 / 255
    turned = view.steps.reshape(-1, 8, 8).transpose(1, 2).flatten()
    assert float((view(decoded) - rounded(view(decoded), turned)).square().mean().sqrt()) > 1 / 255


# ---------------------------------------------------------------------- the nearest picture of the same file

LAYOUTS: dict[str, Callable[[], JpegCoefficients]] = {
    "grey": lambda: JpegCoefficients([FLAT], (32, 48)),
    "RGB": lambda: JpegCoefficients([FLAT] * 3, (32, 48), space="RGB"),
    "4:4:4": lambda: JpegCoefficients([FLAT] * 3, (32, 48)),
    "4:2:2": lambda: JpegCoefficients([FLAT] * 3, (32, 48), subsampling=(1, 2)),
    "4:2:0": lambda: JpegCoefficients([FLAT] * 3, (32, 48), subsampling=(2, 2)),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@each_layout
def test_nearest_has_the_file_s_coefficients(layout):
    view = LAYOUTS[layout]()
    stored, slack = rounded(view(random(2, view.channels, 32, 48)), view.steps), view.steps / 2
    moved = view.nearest(random(2, view.channels, 32, 48, seed=1), stored, slack)
    assert bool(((view(moved) - stored).abs() <= slack + 1e-5).all())


@each_layout
def test_nearest_leaves_alone_what_has_them_already(layout):
    view = LAYOUTS[layout]()
    x = random(1, view.channels, 32, 48)
    stored = rounded(view(x), view.steps)
    assert torch.allclose(view.nearest(x, stored, view.steps / 2), x, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@each_layout
def test_nearest_leads_closer_to_every_picture_of_the_file(layout, seed):
    """Exactly where the coefficients keep distances; nearly where Y, Cb and Cr are no right angles in R, G and B."""
    view = LAYOUTS[layout]()
    stored, slack = rounded(view(random(1, view.channels, 32, 48)), view.steps), view.steps / 2
    inside = view.nearest(random(1, view.channels, 32, 48, seed=10 + seed), stored, slack)
    near = inside + 0.1 * (random(1, view.channels, 32, 48, seed=20 + seed) - 0.5)
    for x in (random(1, view.channels, 32, 48, seed=30 + seed), near):
        before, after = float((x - inside).norm()), float((view.nearest(x, stored, slack) - inside).norm())
        assert after < before * (1 if layout in ("grey", "RGB") else 1.01)


def test_nearest_moves_no_further_than_it_must():
    """One coefficient beyond its interval is brought to the end of it, and nothing else is touched."""
    view = JpegCoefficients([FLAT], (16, 16))
    x = torch.full((1, 1, 16, 16), 128 / 255)
    stored, slack = view(x).clone(), view.steps / 2
    stored[0, 70] += float(view.steps[70])
    moved = view(view.nearest(x, stored, slack)) - view(x)
    expected = torch.zeros(1, 256)
    expected[0, 70] = float(view.steps[70]) / 2
    assert torch.allclose(moved, expected, atol=1e-6)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("tables", [[], [FLAT] * 2, [torch.ones(8, 4)], [FLAT, FLAT, torch.ones(64)]])
def test_tables_that_no_jpeg_has(tables):
    with pytest.raises(InputError, match=re.escape(str([tuple(table.shape) for table in tables]))) as raised:
        JpegCoefficients(tables, (16, 16))
    assert raised.value.code == "shape"


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 3, 16, 24), (1, 3, 24, 16)])
def test_a_picture_of_another_size(shape):
    with pytest.raises(InputError, match=re.escape(str(shape))) as raised:
        JpegCoefficients([FLAT] * 3, (16, 16))(torch.zeros(shape))
    assert raised.value.code == "shape"


def test_it_has_nothing_to_be_fitted_and_lets_gradients_through():
    view, x = JpegCoefficients([FLAT] * 3, (20, 20), subsampling=(2, 2)), random(1, 3, 20, 20).requires_grad_()
    assert not list(view.parameters())
    view(x).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any((0, 1)).all())
