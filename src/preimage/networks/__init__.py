"""g: untrained networks whose structure is the prior.

A network is an nn.Module from a code (1, c_in, h, w) to a picture (1, c_out, h, w). h and w must be multiples
of its `stride`; the image is `scale` times as large as the code (1 unless it is a decoder).
"""

from preimage.networks.deep_decoder import DeepDecoder
from preimage.networks.pixels import Pixels
from preimage.networks.resnet import ResNet
from preimage.networks.skip import SkipNet
from preimage.networks.spectrum import Spectrum
from preimage.networks.unet import UNet

__all__ = ["DeepDecoder", "Pixels", "ResNet", "SkipNet", "Spectrum", "UNet"]
