"""What bytes really are, whatever the file's name says.

Notable: only these formats ever reach a decoder; PostScript, FITS and the other formats Pillow
knows are never tried, since some of them start programs or read other files.
"""

from __future__ import annotations

__all__ = ["PICTURE_FORMATS", "looks_like", "picture_format"]

PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
"""Names as Pillow gives them."""

_PICTURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_PPM_MAGIC = {b"P4", b"P5", b"P6", b"Pf"}
_PLAIN_PPM_MAGIC = {b"P1", b"P2", b"P3"}
"""Pixels as decimal text: a hostile one keeps Pillow's parser busy for hours."""
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"}
_OTHERS = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    (b"\0\0\x02\0", "a cursor (CUR)"),
    (b"DDS ", "a DirectDraw texture"),
    (b"qoif", "a QOI picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"FLV\x01", "a Flash video"),
    (b"ID3", "an MP3 recording"),
    (b"fLaC", "a FLAC recording"),
    (b"OggS", "an Ogg recording"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program (ELF)"),
    (b"MZ", "a program (Windows)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
)
_RIFF = {b"WAVE": "a WAV recording", b"AVI ": "an AVI video"}
_MARKUP = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "a web page (HTML)"),
    (b"<html", "a web page (HTML)"),
    (b"<?xml", "an XML document"),
    (b"{\\rtf", "an RTF document"),
)


def picture_format(data: bytes) -> str | None:
    """The picture format that a file's first bytes announce, one of `PICTURE_FORMATS`."""
    for magic, name in _PICTURES:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":  # reserved; "BM" alone may begin a text
        return "BMP"
    if data[4:8] == b"ftyp" and {b"avif", b"avis"} & _brands(data):
        return "AVIF"
    if data[:2] in _PPM_MAGIC and data[2:3].isspace():
        return "PPM"
    return None


def _brands(data: bytes) -> set[bytes]:
    """What an ISO media file says it is compatible with."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[start : start + 4] for start in (8, *range(16, end, 4))}


def looks_like(data: bytes) -> str:
    """What content that is no picture looks like, as a phrase ("a PDF document")."""
    head = data[:16]
    for magic, meaning in _OTHERS:
        if data.startswith(magic):
            return meaning
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "a RIFF file")
    if head[4:8] == b"ftyp":
        if _HEIC_BRANDS & _brands(data):
            return "a HEIC picture, which is not read here: convert it to JPEG"
        return "an MP4 or QuickTime video"
    if head[:2] in _PLAIN_PPM_MAGIC and head[2:3].isspace():
        return "a PPM in plain text, which is not read here: convert it to PNG"
    return _textual(data[:4096])


def _textual(start: bytes) -> str:
    """A kind of text, or what is left."""
    markup = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, meaning in _MARKUP:
        if markup.startswith(magic):
            return "an SVG drawing" if b"<svg" in markup else meaning
    return "text" if _is_text(start) else "binary data of no known kind"


def _is_text(start: bytes) -> bool:
    """Whether bytes are UTF-8 (perhaps cut within a character) without control characters."""
    for cut in range(4):
        try:
            text = start[: len(start) - cut].decode()
        except UnicodeDecodeError:
            continue
        return bool(text) and all(char.isprintable() or char.isspace() for char in text)
    return False
