"""Any Pillow mode to plain sRGB pixels: alpha over white, deep pixels scaled, profiles applied.

Notable: Pillow's own `convert("RGB")` clips 16-bit grey, turns transparent pixels into whatever
colour hides beneath them, and ignores colour profiles; each is handled here.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["to_rgb"]

_MAX_PROFILE_BYTES = 4_000_000
_BAND_PIXELS = 1_000_000
_ALPHA_MODES = {"RGBA", "LA", "PA", "RGBa", "La"}
_PROFILE_SPACE = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture as mode RGB in sRGB, transparent parts over white.

    16-bit grey keeps its high byte; 32-bit integers and floats keep their natural range (0..65535,
    0..1 or 0..255) and are stretched from lowest to highest value where they have none.
    """
    if image.mode == "RGB" and not image.info:
        return image
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8bit(np.asarray(image))).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _over_white(image)
    if image.mode not in _PROFILE_SPACE:
        image = image.convert("RGB")
    return _to_srgb(image, image.info.get("icc_profile"))


def _over_white(image: Image.Image) -> Image.Image:
    """A picture with transparency composited over white, in bands: several copies of the whole
    would cost more memory than decoding it did."""
    profile = image.info.get("icc_profile")
    canvas = Image.new("RGB", image.size, "white")
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        band = band if band.mode == "RGBA" else band.convert("RGBA")
        canvas.paste(_to_srgb(band.convert("RGB"), profile), (0, top), band.getchannel("A"))
    return canvas


def _to_8bit(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Deep grey of shape (height, width) to uint8."""
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(pixels.min()), float(pixels.max())
    deep = pixels.dtype.kind == "u" or (pixels.dtype.kind == "i" and low >= 0 and high <= 65535)
    if deep:  # 16 bits: the high byte, as Pillow does for 16-bit colour
        scaled = np.right_shift(pixels, 8)
    else:
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        elif low >= 0 and high <= 255:
            low, high = 0.0, 255.0
        scaled = (pixels.astype(np.float32) - low) * (255.0 / max(high - low, 1e-12))
        scaled = np.rint(np.clip(scaled, 0, 255))
    grey: NDArray[np.uint8] = scaled.astype(np.uint8)
    return grey


def _to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    """Mode L, RGB or CMYK to RGB through its colour profile, where it has a usable one.

    A damaged profile does not cost the picture: it is read as if it had none.
    """
    plain = image if image.mode == "RGB" else image.convert("RGB")
    if not isinstance(profile, bytes) or not 128 <= len(profile) <= _MAX_PROFILE_BYTES:
        return plain
    if not _needs_conversion(profile, _PROFILE_SPACE[image.mode]):
        return plain
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return transform.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return plain


@lru_cache(maxsize=16)
def _needs_conversion(profile: bytes, space: str) -> bool:
    """Whether the profile is readable, describes `space`, and is anything but sRGB."""
    from PIL import ImageCms

    try:
        core = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
        description = core.profile_description or ""
        return core.xcolor_space.strip() == space and not description.startswith("sRGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False
