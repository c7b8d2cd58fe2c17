"""The deep image prior in under 100 lines of plain PyTorch: the published denoising setting, and nothing else.

    python examples/tiny.py                      # a 256-pixel crop of a CC0 photograph, sigma 25
    python examples/tiny.py --size 512 512 --steps 20

An untrained hourglass network is fitted to one noisy picture. It learns the picture before it learns the noise, so that
the average of its outputs, stopped in time, is cleaner than what it was given (Ulyanov, Vedaldi, Lempitsky, CVPR 2018).
"""

import argparse
import statistics
import time

import torch
from torch import nn


def conv(a, b, kernel=3, stride=1):
    return nn.Conv2d(a, b, kernel, stride, kernel // 2, padding_mode="reflect")


def block(a, b, kernel=3, stride=1):
    return nn.Sequential(conv(a, b, kernel, stride), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True))


class Level(nn.Module):
    """Half the size and back, around the next level, beside a narrow skip branch."""

    def __init__(self, a: int, width: int, skip: int, inner: nn.Module):
        super().__init__()
        self.skip = block(a, skip, 1)
        self.down = nn.Sequential(block(a, width, 3, 2), block(width, width))
        self.inner = inner
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear")
        self.up = nn.Sequential(nn.BatchNorm2d(width + skip), block(width + skip, width), block(width, width, 1))

    def forward(self, x):
        return self.up(torch.cat([self.skip(x), self.enlarge(self.inner(self.down(x)))], 1))


def hourglass(code=32, out=3, width=128, skip=4, levels=5):
    net = nn.Identity()
    for level in reversed(range(levels)):
        net = Level(code if level == 0 else width, width, skip, net)
    return nn.Sequential(net, nn.Conv2d(width, out, 1), nn.Sigmoid())


def psnr(a, b):
    return -10 * torch.log10((a - b).square().mean()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=1800)
    options = parser.parse_args()
    from skimage import data, transform

    photo = (
        torch.tensor(transform.resize(data.astronaut(), options.size, anti_aliasing=True)).movedim(-1, 0)[None].float()
    )
    torch.manual_seed(0)
    noisy = (photo + 25 / 255 * torch.randn_like(photo)).clamp(0, 1)
    height, width = (-(-side // 32) * 32 for side in options.size)
    code = 0.1 * torch.rand(1, 32, height, width)
    net = hourglass()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    average, seconds = None, []
    for step in range(1, options.steps + 1):
        begin = time.perf_counter()
        optimizer.zero_grad()
        out = net(code + torch.randn_like(code) / 30)[..., : options.size[0], : options.size[1]]
        (out - noisy).square().mean().backward()
        optimizer.step()
        average = out.detach() if average is None else 0.99 * average + 0.01 * out.detach()
        seconds.append(time.perf_counter() - begin)
        if step % 50 == 0 or step == options.steps:
            print(
                f"step {step}: {psnr(average, photo):.2f} dB (noisy {psnr(noisy, photo):.2f}), "
                f"median step {statistics.median(seconds):.3f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
