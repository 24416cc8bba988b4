"""From what a user types to files, and from files to bytes.

Notable: a path that cannot be used is an `ItemError` among the results, never an exception; order
is by name and the same everywhere; a file is opened once, so its size is checked on what is read;
pipes and devices are refused instead of waited for.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

from polymodal.errors import (
    DamagedMedia,
    MediaError,
    MediaNotFound,
    MediaTooLarge,
    UnsupportedMedia,
)
from polymodal.media.limits import DEFAULT_LIMITS, Limits
from polymodal.profiling import profiled
from polymodal.results import ItemError

__all__ = [
    "PICTURE_EXTENSIONS",
    "find_files",
    "hash_file",
    "open_regular",
    "printable_name",
    "read_bytes",
]

_EXTENSIONS = "jpg jpeg jpe jfif mpo png apng webp gif bmp tif tiff avif ppm pgm pbm pnm heic heif"
PICTURE_EXTENSIONS = frozenset(f".{extension}" for extension in _EXTENSIONS.split())
"""What a folder yields. HEIC cannot be read, and is named as a failure instead of passed over."""

_BLOCK_BYTES = 1 << 18
"""Of a file that is hashed. `hashlib.file_digest` clears so much memory first, for any file."""
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def find_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    recursive: bool = True,
    extensions: frozenset[str] = PICTURE_EXTENSIONS,
) -> Iterator[Path | ItemError]:
    """Files, folders and globs to files, lazily, in order of name, each file once.

    A file named directly is yielded whatever its extension. A folder yields the files in it with
    one of the `extensions` and, when `recursive`, those below it; so does a glob (`photos/**`),
    unless it ends in an extension of its own (`scans/*.dat`). Hidden files and folders are passed
    over. Links are followed, each folder once, so that a loop of links ends.

    Yields:
        Paths as the user would write them (relative ones stay relative), or an `ItemError` for a
        path that is missing, a dangling link, a folder that may not be read, or a glob that
        matches nothing.
    """
    walk = _Walk(recursive, extensions)
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        yield from walk.expand(os.fspath(path))


class _Walk:
    """The state of one `find_files`: what was seen already."""

    def __init__(self, recursive: bool, extensions: frozenset[str]) -> None:
        self.recursive = recursive
        self.extensions = extensions
        self.files: set[str] = set()
        self.folders: set[tuple[int, int]] = set()

    def expand(self, path: str) -> Iterator[Path | ItemError]:
        """One argument of the user."""
        try:
            status = os.stat(path)  # noqa: PTH116 - names Path would normalise stay as typed
        except (OSError, ValueError) as error:
            if glob.has_magic(path) and not os.path.lexists(path):
                yield from self._glob(path)
            else:
                yield _failed(path, _not_found(path, error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._folder(path)
        else:
            yield from self._file(path)

    def _file(self, path: str) -> Iterator[Path]:
        absolute = os.path.abspath(path)  # noqa: PTH100 - links stay links
        if absolute not in self.files:
            self.files.add(absolute)
            yield Path(path)

    def _glob(self, pattern: str) -> Iterator[Path | ItemError]:
        found = _matches(pattern)
        any_file = bool(Path(pattern).suffix) and not glob.has_magic(Path(pattern).suffix)
        for path in found:
            if path.is_dir():
                if "**" not in pattern:
                    yield from self._folder(str(path))
            elif any_file or self._is_wanted(path.name):
                yield from self._link_or_file(str(path))
        if not found:
            yield _failed(
                pattern, MediaNotFound("no file matches this pattern", printable_name(pattern))
            )

    def _folder(self, path: str) -> Iterator[Path | ItemError]:
        try:
            status = os.stat(path)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in self.folders:
                return
            self.folders.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield _failed(path, _not_found(path, error))
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if self.recursive:
                    yield from self._folder(entry.path)
            elif self._is_wanted(entry.name):
                yield from self._link_or_file(entry.path)

    def _is_wanted(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in self.extensions  # noqa: PTH122

    def _link_or_file(self, path: str) -> Iterator[Path | ItemError]:
        try:
            os.stat(path)  # noqa: PTH116
        except OSError as error:
            yield _failed(path, _not_found(path, error))
        else:
            yield from self._file(path)


def _matches(pattern: str) -> list[Path]:
    """What a glob matches, by name. `**` does not follow links, where it could run in circles."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base, rest = Path(*parts[:first]), list(parts[first:])
    if rest[-1] == "**":  # everything below; pathlib would give folders only
        rest.append("*")
    hidden_wanted = any(part.startswith(".") for part in rest)
    try:
        found = [
            path
            for path in base.glob("/".join(rest))
            if hidden_wanted
            or not any(part.startswith(".") for part in path.parts[len(base.parts) :])
        ]
    except (OSError, ValueError, NotImplementedError):  # such as `**` within a name
        return []
    return sorted(set(found), key=os.fsencode)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a folder that may not be entered
        return False


def _failed(path: str, error: MediaError) -> ItemError:
    return ItemError.of(printable_name(path), error)


def printable_name(path: str | os.PathLike[str]) -> str:
    """The path as text that can be printed anywhere: bytes that are not UTF-8 become `\\xff`."""
    return os.fsencode(os.fspath(path)).decode("utf-8", "backslashreplace")


def _not_found(path: str | os.PathLike[str], error: Exception) -> MediaNotFound:
    """What the operating system's refusal means to the user."""
    text = os.fspath(path)
    if text.startswith(("http://", "https://")):
        reason = "is a URL, and nothing is fetched from the network: download it and pass the file"
    elif isinstance(error, PermissionError):
        reason = "may not be read: permission denied"
    elif isinstance(error, FileNotFoundError) and os.path.islink(text):  # noqa: PTH114
        target = printable_name(os.readlink(text))  # noqa: PTH115
        reason = f"is a link to {target}, which does not exist"
    elif isinstance(error, (FileNotFoundError, NotADirectoryError)):
        reason = "no such file"
    else:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
    return MediaNotFound(reason, printable_name(path))


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """A regular file, open for reading; a pipe or a device would block or never end.

    Raises:
        MediaNotFound: the file is missing or may not be read.
        UnsupportedMedia: it is not a regular file.
    """
    try:
        file = os.fdopen(os.open(path, _OPEN_FLAGS), "rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, IsADirectoryError):
            raise UnsupportedMedia("is a folder, not a file", printable_name(path)) from error
        raise _not_found(path, error) from error
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UnsupportedMedia(f"is {kind}, not a file", printable_name(path))
    return file


@profiled("open")
def hash_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the whole file, in hex.

    Raises:
        MediaNotFound: the file is missing or may not be read.
        UnsupportedMedia: it is not a regular file.
    """
    try:
        digest = hashlib.sha256()
        with open_regular(path) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise _not_found(path, error) from error


@profiled("open")
def read_bytes(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The file's content, read once.

    Raises:
        MediaNotFound: the file is missing, vanished or may not be read.
        MediaTooLarge: it has more than `limits.max_bytes`.
        DamagedMedia: it is empty.
        UnsupportedMedia: it is not a regular file.
    """
    name = printable_name(path)
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes <= limits.max_bytes:
                data = file.read(size_bytes + 1)
                if len(data) > size_bytes:  # it is being written to
                    data += file.read(limits.max_bytes + 1 - len(data))
                    size_bytes = len(data)
    except OSError as error:
        raise _not_found(path, error) from error
    if size_bytes > limits.max_bytes:
        raise MediaTooLarge(
            f"has {size_bytes:,} bytes, more than the limit of {limits.max_bytes:,}"
            " (Limits.max_bytes)",
            name,
        )
    if not data:
        raise DamagedMedia("is empty (0 bytes)", name)
    return data
