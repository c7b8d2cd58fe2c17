"""Phi: the forward operator, from the image x to the measurement y.

    y = Phi(x) + noise        mask:  y = m x        down-sampling:  y = (k * x) at every f-th pixel        blur:  y = k * x

An operator is any callable from (b, c, h, w) to the shape of the target; there is no base class. Those here are linear
nn.Modules: `.to(device)` moves them, and one with `trainable=True` is fitted together with the image. The
kernels k are plain tensors (kh, kw) of unit sum, made by the functions of `kernels` or read by `read_kernel`.
"""

from preimage.operators.beads import without_background
from preimage.operators.blur import Blur, gaussian_blurred
from preimage.operators.compose import Composed, compose, noiseless
from preimage.operators.downsample import Downsample
from preimage.operators.jpeg import JpegCoefficients, rounded
from preimage.operators.kernel_files import read_kernel
from preimage.operators.kernels import bicubic, box, check_kernel, gaussian, lanczos2, motion
from preimage.operators.mask import Mask

__all__ = [
    "Blur",
    "Composed",
    "Downsample",
    "JpegCoefficients",
    "Mask",
    "bicubic",
    "box",
    "check_kernel",
    "compose",
    "gaussian",
    "gaussian_blurred",
    "lanczos2",
    "motion",
    "noiseless",
    "read_kernel",
    "rounded",
    "without_background",
]
