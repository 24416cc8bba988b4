"""One picture in, upright sRGB pixels out, or a `MediaError` that says why not.

Notable: what a file is is read from its content; limits are checked against the header before
anything is decoded; the header is checked and cleaned (`headers`) before Pillow sees it; a picture
is decoded completely or refused, never filled up with grey; no state of Pillow is changed, so a
program that uses Pillow itself notices nothing. Safe to call from several threads.
"""

from __future__ import annotations

import importlib
import io
import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from polymodal.errors import DamagedMedia, MediaError, MediaTooLarge, UnsupportedMedia
from polymodal.media.colour import to_rgb
from polymodal.media.files import read_bytes
from polymodal.media.headers import Header, read_header
from polymodal.media.inputs import Together, picture_name
from polymodal.media.limits import DEFAULT_LIMITS, Limits
from polymodal.media.orientation import exif_orientation
from polymodal.media.sniff import looks_like, picture_format
from polymodal.profiling import profiled

__all__ = [
    "DEFAULT_LIMITS",
    "ImageInput",
    "Limits",
    "Picture",
    "Together",
    "open_picture",
    "picture_name",
]

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
"""A path, an encoded file's bytes, a PIL image, or an array: (height, width), (height, width, 3)
or (height, width, 4), uint8 or floats in 0..1."""

_PLUGINS = {
    # The classes, not Image.open: that warns about large pictures and guesses among formats.
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
}

_PYTHON_CODECS = {"bmp_rle", "ppm"}
"""Pillow decodes these in Python: a third of a megapixel to a megapixel a second."""
_PYTHON_CODEC_MAX_PIXELS = 1_000_000

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what undoes it."""

_UNSUPPORTED_WORDS = (
    "unsupported",
    "not supported",
    "not yet supported",
    "cannot handle",
    "unknown pixel mode",
    "not installed",
)


@dataclass(frozen=True)
class Picture:
    """An opened picture.

    Attributes:
        image: mode RGB, sRGB, upright, transparent parts over white; may be smaller than the
            original where `target_px` allowed it.
        width_px: of the original, upright.
        height_px: of the original, upright.
        format: "JPEG", "PNG", ...; "array" for an array, "image" for a PIL image made in memory.
        name: what messages and results call it.
    """

    image: Image.Image
    width_px: int
    height_px: int
    format: str
    name: str


def open_picture(
    source: ImageInput,
    *,
    target_px: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    name: str | None = None,
) -> Picture:
    """Open a picture from a path, bytes, a PIL image or an array; the first frame of an animation.

    Args:
        target_px: the caller needs no more than this on the shorter side; a large JPEG is then
            decoded at 1/2, 1/4 or 1/8 of its size, never below this. For 12 megapixels to a model's
            224 pixels, decoding and resizing together take a fifth of the time (measured).
        limits: what is refused before it is decoded.
        name: what to call it in messages and results, where bytes came from a file, say.

    Raises:
        MediaNotFound: no such file, a dangling link, or no permission.
        UnsupportedMedia: the content is no picture of a known format.
        DamagedMedia: the content is empty, truncated or corrupt.
        MediaTooLarge: over a limit.
    """
    name = picture_name(source) if name is None else name
    try:
        if isinstance(source, Image.Image):
            return _from_image(source, limits, name)
        if isinstance(source, np.ndarray):
            return _from_array(source, limits, name)
        if isinstance(source, (str, os.PathLike)):
            return _from_bytes(read_bytes(source, limits), target_px, limits, name)
        if isinstance(source, (bytes, bytearray, memoryview)):
            return _from_bytes(bytes(source), target_px, limits, name)
    except MediaError as error:
        if error.name:
            raise
        raise type(error)(error.reason, name) from error.__cause__
    except MemoryError as error:
        raise MediaTooLarge("does not fit in memory", name) from error
    kind = type(source).__name__
    raise UnsupportedMedia(f"is {kind}, not a path, bytes, a PIL image or a numpy array", name)


def _check_size(width_px: int, height_px: int, limits: Limits, bytes_per_pixel: int = 4) -> None:
    """Raise `MediaTooLarge` for a size that a header declares."""
    pixels = width_px * height_px
    size = f"is {width_px:,} x {height_px:,} pixels"
    if pixels > limits.max_pixels:
        raise MediaTooLarge(
            f"{size}, more than the limit of {limits.max_pixels / 1e6:,.0f} megapixels"
            " (Limits.max_pixels)"
        )
    if max(width_px, height_px) > limits.max_side_px:
        raise MediaTooLarge(
            f"{size}, and no side may be longer than {limits.max_side_px:,} (Limits.max_side_px)"
        )
    if pixels * bytes_per_pixel > limits.max_memory_bytes:
        raise MediaTooLarge(
            f"{size}, which take about {pixels * bytes_per_pixel / 1e9:,.1f} GB to decode in this"
            f" format; the limit is {limits.max_memory_bytes / 1e9:,.1f} GB"
            " (Limits.max_memory_bytes)"
        )


@profiled("decode")
def _from_bytes(data: bytes, target_px: int | None, limits: Limits, name: str) -> Picture:
    """Sniff, check the header, decode, turn upright, convert."""
    if len(data) > limits.max_bytes:
        raise MediaTooLarge(
            f"has {len(data):,} bytes, more than the limit of {limits.max_bytes:,}"
            " (Limits.max_bytes)"
        )
    if not data:
        raise DamagedMedia("is empty (0 bytes)")
    kind = picture_format(data)
    if kind is None:
        if not data.strip(b"\0"):
            raise DamagedMedia("holds nothing but zero bytes")
        raise UnsupportedMedia(
            f"is not a picture that can be read: it looks like {looks_like(data)}"
        )
    try:
        header = read_header(data, kind)
        if header.width_px:
            _check_size(header.width_px, header.height_px, limits, header.bytes_per_pixel)
        return _decode(header, kind, target_px, limits, name)
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # Pillow raises what it likes on bytes it does not like
        raise _translated(error, kind) from error


def _decode(header: Header, kind: str, target_px: int | None, limits: Limits, name: str) -> Picture:
    image = _open_lazily(header.data, kind)
    width_px, height_px = image.size  # of a TIFF already upright, and load() turns its pixels
    _check_size(width_px, height_px, limits, header.bytes_per_pixel)
    if width_px * height_px > _PYTHON_CODEC_MAX_PIXELS and _PYTHON_CODECS.intersection(
        tile[0] for tile in image.tile
    ):
        raise MediaTooLarge(
            f"is {width_px:,} x {height_px:,} pixels in a variant of {kind} that decodes slowly,"
            f" for which the limit is {_PYTHON_CODEC_MAX_PIXELS / 1e6:.0f} megapixels:"
            " convert it to PNG"
        )
    if target_px is not None and kind == "JPEG":
        image.draft(None, (max(1, target_px), max(1, target_px)))
    image.load()
    orientation = header.orientation or exif_orientation(image.info.get("exif"))
    if orientation >= 5:
        width_px, height_px = height_px, width_px
    upright = _clean(to_rgb(_turned(image, orientation)))
    return Picture(upright, width_px, height_px, kind, name)


def _open_lazily(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Pillow's image object, header parsed, nothing decoded."""
    module, name = _PLUGINS[kind]
    try:
        plugin: type[ImageFile.ImageFile] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UnsupportedMedia(f"is {kind}, which the installed Pillow cannot read") from error
    return plugin(io.BytesIO(data))


def _translated(error: Exception, kind: str) -> MediaError:
    """Pillow's exception as one of ours."""
    if isinstance(error, Image.DecompressionBombError):
        return MediaTooLarge(f"is a {kind} larger than Pillow decodes: {error}")
    words = str(error).strip().rstrip(".") or type(error).__name__
    if any(word in words.lower() for word in _UNSUPPORTED_WORDS):
        return UnsupportedMedia(f"is a {kind} of a variant that cannot be read ({words})")
    return DamagedMedia(f"is a {kind} that is truncated or corrupt ({words})")


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _clean(image: Image.Image) -> Image.Image:
    """Without metadata that says how to read pixels which have been read that way already."""
    image.info.clear()
    return image


def _from_image(image: Image.Image, limits: Limits, name: str) -> Picture:
    """A PIL image, which may not be decoded yet; it is not changed."""
    _check_size(image.width, image.height, limits)
    if not image.width or not image.height:
        raise DamagedMedia("has no pixels")
    kind = image.format or "image"
    try:
        image.load()
        orientation = exif_orientation(image.info.get("exif"))
        upright = _turned(image, orientation)
        rgb = to_rgb(upright)
    except MemoryError:
        raise
    except Exception as error:  # a file opened lazily fails only now
        raise _translated(error, kind) from error
    return Picture(rgb, rgb.width, rgb.height, kind, name)


def _from_array(pixels: NDArray[Any], limits: Limits, name: str) -> Picture:
    """An array of grey, RGB or RGBA pixels."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in {2, 3} or (pixels.ndim == 3 and pixels.shape[2] not in {3, 4}):
        raise UnsupportedMedia(
            f"has shape {pixels.shape}, not (height, width), (height, width, 3) or"
            " (height, width, 4)"
        )
    if not pixels.size:
        raise DamagedMedia("has no pixels")
    _check_size(pixels.shape[1], pixels.shape[0], limits)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # also refuses NaN
            raise UnsupportedMedia("holds floats outside 0..1: scale them, or pass uint8")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    elif pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise UnsupportedMedia(f"holds {pixels.dtype}: pass uint8, or floats in 0..1")
    rgb = to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
    return Picture(rgb, rgb.width, rgb.height, "array", name)
