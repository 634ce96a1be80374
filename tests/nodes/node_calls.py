"""A node called as ComfyUI calls it: keywords, defaults, inside inference mode; and what is asked of the outcome."""

from __future__ import annotations

import math

import pytest
import torch
from portrait_rig.core.errors import UserError


def call(node, **inputs):
    """The node's outputs for some inputs, the others at their defaults."""
    defaults = {i.id: i.options["default"] for i in node.GET_SCHEMA().inputs if "default" in i.options}
    with torch.inference_mode():
        return node.EXECUTE_NORMALIZED(**{**defaults, **inputs}).args


def outputs(node, **inputs):
    """What `call` gives, by the names of the outputs."""
    return dict(zip(node.RETURN_NAMES, call(node, **inputs), strict=True))


def refuses(words, node, **inputs):
    """The node raises one sentence with these words."""
    with pytest.raises(UserError, match=words) as caught:
        call(node, **inputs)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def is_image(value, frames, height, width, channels=3):
    """Whether it is what ComfyUI calls an image."""
    return (
        tuple(value.shape) == (frames, height, width, channels)
        and value.dtype == torch.float32
        and value.is_contiguous()
        and value.min() >= 0
        and value.max() <= 1
    )


def nan_like(image):
    """The image with a pixel that is no number."""
    bad = image.clone()
    bad[:, 0, 0] = math.nan
    return bad
