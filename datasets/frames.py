"""Bringing digits of any native size to 28 x 28 pixels, once, when a domain is prepared."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 28
"""Height and width of every prepared image."""
BOX = 20
"""MNIST's digits were scaled into a box of this size before being centred in the frame."""

Frame = Literal["keep", "box", "stretch"]
"""``keep``: already 28 x 28.  ``box``: the longer side becomes 20 pixels, the aspect ratio is kept and black pixels are
added around it, for sets whose digits fill their frame.  ``stretch``: resized to 28 x 28."""


def to_frame(images: NDArray[np.uint8], frame: Frame, top: int) -> NDArray[np.uint8]:
    """Images as 28 x 28.

    Args:
        images: uint8 (N, H, W, C), C in {1, 3}, values in 0 .. ``top``.
        frame: how; see ``Frame``.
        top: the native value of white.

    Returns:
        uint8 (N, 28, 28, C), values in 0 .. 255.

    Raises:
        ValueError: a value above ``top``, or ``keep`` on images of another size.
    """
    if images.size and int(images.max()) > top:
        raise ValueError(f"a pixel of {int(images.max())} where {top} is white")
    scaled = images if top == 255 else _rescaled(images, top)
    if frame == "keep":
        if images.shape[1:3] != (SIDE, SIDE):
            raise ValueError(f"images of {images.shape[1:3]} where {(SIDE, SIDE)} was expected")
        return scaled
    out = np.zeros((len(images), SIDE, SIDE, images.shape[3]), dtype=np.uint8)
    height, width = (SIDE, SIDE) if frame == "stretch" else _boxed(images.shape[1], images.shape[2])
    upper, left = (SIDE - height) // 2, (SIDE - width) // 2
    for image, place in zip(scaled, out, strict=True):
        place[upper : upper + height, left : left + width] = _resized(image, height, width)
    return out


def _rescaled(images: NDArray[np.uint8], top: int) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = np.floor(images * (255 / top) + 0.5).astype(np.uint8)
    return scaled


def _boxed(height: int, width: int) -> tuple[int, int]:
    factor = BOX / max(height, width)
    return round(height * factor), round(width * factor)


def _resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    # Pillow's bilinear filter widens its support when it shrinks an image, so nothing aliases.
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[2])
