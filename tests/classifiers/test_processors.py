"""Image processors of transformers: a classifier's input equals what AutoImageProcessor makes, within rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from classifiers.small import refused
from classifiers.test_resizing import ROUNDING, SIZES, photo, tensor
from torch import nn

from preimage.classifiers import Classifier, load_classifier
from preimage.classifiers.processors import preprocessing_of

FAMILIES = {  # of the processor, and how it is configured
    "vit": ("ViTImageProcessor", {}),
    "vit, not normalized": ("ViTImageProcessor", {"do_normalize": False, "size": {"height": 96, "width": 128}}),
    "vit, not rescaled": ("ViTImageProcessor", {"do_rescale": False, "image_mean": [127] * 3, "image_std": [128] * 3}),
    "deit": ("DeiTImageProcessor", {}),
    "deit, without its crop": ("DeiTImageProcessor", {"do_center_crop": False, "size": {"height": 224, "width": 224}}),
    "bit": ("BitImageProcessor", {}),
    "bit, wide": ("BitImageProcessor", {"size": {"shortest_edge": 97}, "crop_size": {"height": 64, "width": 96}}),
    "clip": ("CLIPImageProcessor", {}),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    "convnext, cut less": ("ConvNextImageProcessor", {"size": {"shortest_edge": 192}, "crop_pct": 0.95}),
    "convnext, squeezed": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "efficientnet": ("EfficientNetImageProcessor", {}),
    "efficientnet, offset": (
        "EfficientNetImageProcessor",
        {
            "rescale_offset": True,
            "rescale_factor": 1 / 127.5,
            "include_top": False,
            "do_normalize": False,
            "resample": 0,
        },
    ),
    "levit": ("LevitImageProcessor", {}),
    "mobilenet v1": ("MobileNetV1ImageProcessor", {}),
    "mobilenet v2": ("MobileNetV2ImageProcessor", {"resample": 1}),
    "mobilevit": ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}),
    "mobilevit, with a black margin": ("MobileViTImageProcessor", {}),
    "mobilevit, red first": ("MobileViTImageProcessor", {"do_flip_channel_order": False}),
    "poolformer": ("PoolFormerImageProcessor", {}),
    "pvt": ("PvtImageProcessor", {}),
    "beit": ("BeitImageProcessor", {}),
    "beit, cut": (
        "BeitImageProcessor",
        {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
    ),
    "segformer": ("SegformerImageProcessor", {"size": {"height": 128, "width": 128}}),
    "siglip": ("SiglipImageProcessor", {}),
}


def made(name: str, changes: dict):
    import transformers

    kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    return kind(**changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_input_is_the_processor_s(family):
    processor = made(*FAMILIES[family])
    classifier = Classifier(nn.Flatten(), 2, **vars(preprocessing_of(processor, family)))
    for size in SIZES:
        image = photo(*size)
        own = torch.as_tensor(np.asarray(processor(images=image, return_tensors="np")["pixel_values"]))
        found = classifier.prepared(tensor(image))
        assert found.shape == own.shape
        assert float(((found - own) * classifier.std).abs().max()) < ROUNDING, size


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("TextNetImageProcessor", {}),  # keeps the proportions of each image
        ("BitImageProcessor", {"do_center_crop": False}),
        ("PerceiverImageProcessor", {}),  # cuts before it resizes
        ("Siglip2ImageProcessor", {}),
        ("ImageGPTImageProcessor", {}),
    ],
)
def test_one_that_does_something_else_is_one_line_with_the_way_out(name, changes):
    error = refused("classifier", preprocessing_of, made(name, changes), "hf:model")
    assert all(word in error for word in ("hf:model", "Classifier(", name))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_model_of_a_folder_gets_what_its_processor_makes(order, tmp_path):
    from transformers import AutoImageProcessor, ResNetConfig, ResNetForImageClassification

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_labels=3)
        ResNetForImageClassification(config).save_pretrained(tmp_path)
    changes = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    made("MobileViTImageProcessor", {**changes, "do_flip_channel_order": order == "bgr"}).save_pretrained(tmp_path)
    classifier = load_classifier(f"hf:{tmp_path}")
    assert classifier.channel_order == order
    own = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(images=photo(100, 150), return_tensors="pt")
    model = ResNetForImageClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = model(**own).logits
        found = classifier(tensor(photo(100, 150)))
        flipped = classifier(tensor(photo(100, 150)).flip(1))
    assert float((found - expected).abs().max()) < 0.02 * float(expected.std())
    assert float((flipped - expected).abs().max()) > float((found - expected).abs().max())
