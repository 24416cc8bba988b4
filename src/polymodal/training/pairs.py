"""Pictures with texts: from a table, from folders named after classes, from WebDataset shards.

Notable: shards are indexed once (where each member lies), so every format is read in any order and
a run resumes at the exact sample. What cannot be used is left out by name, never silently.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import MediaError, UsageError
from polymodal.media.files import PICTURE_EXTENSIONS
from polymodal.media.pictures import Picture, open_picture
from polymodal.media.tables import path_column, read_rows

__all__ = ["Pair", "Pairs", "Place", "open_pairs"]

CAPTION_COLUMNS = ("captions", "caption", "text", "title", "description")
TEMPLATES = ("a photo of a {}.",)
SHOWN = 5


@dataclass(frozen=True)
class Place:
    """A picture within a shard."""

    shard: Path
    start: int
    size: int

    def read(self) -> bytes:
        """The picture's file as it is in the shard."""
        with self.shard.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


@dataclass(frozen=True)
class Pair:
    """A picture and the texts that fit it.

    Attributes:
        name: of the picture, for messages.
        captions: one is drawn each time.
        group: equal for pictures that fit each other's texts (one class, the same caption).
    """

    picture: Path | Place
    name: str
    captions: tuple[str, ...]
    group: int

    def open(self, target_px: int | None = None) -> Picture:
        """The picture.

        Raises:
            MediaError: see `open_picture`.
        """
        source = self.picture.read() if isinstance(self.picture, Place) else self.picture
        return open_picture(source, target_px=target_px, name=self.name)


@dataclass(frozen=True)
class Pairs:
    """All that a data set offers.

    Attributes:
        source: where it came from.
        items: in the order of the source.
        skipped: a line for each item that was left out: its name and why.
        classes: of class folders, by group; () otherwise.
    """

    source: str
    items: tuple[Pair, ...]
    skipped: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def fingerprint(self) -> str:
        """Of names, sizes and texts: a changed data set has another."""
        digest = hashlib.sha256()
        for item in self.items:
            size = item.picture.size if isinstance(item.picture, Place) else _size(item.picture)
            digest.update(json.dumps([item.name, size, item.captions]).encode())
        return digest.hexdigest()[:16]


def open_pairs(source: str | os.PathLike[str], *, classes: str | None = None) -> Pairs:
    """The data set at `source`.

    Args:
        source: a CSV, JSON or JSON-lines table with a column of pictures (relative to the table)
            and one of captions (a text or a list of texts); a `.tar` shard or a folder of shards in
            WebDataset's layout (`KEY.jpg` beside `KEY.txt` or `KEY.json`); or a folder with a
            folder of pictures for each class.
        classes: for class folders, a JSON file `{folder: description or list of them}`; without it
            a class is called as its folder.

    Raises:
        UsageError: nothing there, no captions, or one class or caption alone.
    """
    path = Path(source).expanduser()
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path] * (path.suffix == ".tar")
    if classes is not None and (shards or not path.is_dir()):
        raise UsageError(f"descriptions of classes are for class folders, and {path} is none.")
    names: tuple[str, ...] = ()
    if shards:
        rows, skipped = _from_shards(shards)
    elif path.is_dir():
        rows, skipped, names = _from_folders(path, classes)
    else:
        rows, skipped = _from_table(path)
    items = _grouped(rows, names)
    if not items:
        shown = "; ".join(skipped[:SHOWN])
        raise UsageError(f"{path} has no usable pair of picture and text. {shown}".rstrip())
    if len({item.group for item in items}) < 2:
        what = f"the class {names[items[0].group]!r}" if names else f"{items[0].captions[0]!r}"
        raise UsageError(
            f"every picture in {path} has the same text ({what}): a contrastive loss learns from"
            " differences, so give it two classes or captions at least."
        )
    return Pairs(str(path), tuple(items), tuple(skipped), names)


@dataclass(frozen=True)
class _Row:
    picture: Path | Place
    name: str
    captions: tuple[str, ...]
    key: str


def _grouped(rows: Iterable[_Row], names: Sequence[str]) -> list[Pair]:
    """Pairs of the rows; rows of one picture are joined."""
    joined: dict[Path | Place, _Row] = {}
    for row in rows:
        before = joined.get(row.picture)
        captions = (*(before.captions if before else ()), *row.captions)
        joined[row.picture] = _Row(row.picture, row.name, tuple(dict.fromkeys(captions)), row.key)
    keys = {name: number for number, name in enumerate(names)}
    return [
        Pair(row.picture, row.name, row.captions, keys.setdefault(row.key, len(keys)))
        for row in joined.values()
    ]


def _texts(value: Any) -> tuple[str, ...]:
    """The captions of a cell that are not blank."""
    each = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in each if isinstance(text, str) and text.strip())


def _key(captions: Sequence[str]) -> str:
    return "\n".join(captions)


def _from_table(path: Path) -> tuple[list[_Row], list[str]]:
    rows, skipped = read_rows(path), []
    if not rows:
        raise UsageError(f"{path} has no rows.")
    column = path_column(rows, str(path))
    found = {name.lower(): name for row in rows for name in row}
    captions = next((found[name] for name in CAPTION_COLUMNS if name in found), None)
    if captions is None:
        raise UsageError(
            f"{path} has no column of captions: name it one of {', '.join(CAPTION_COLUMNS)}"
            f" (found: {', '.join(found.values())})."
        )
    usable = []
    for number, row in enumerate(rows, 1):
        name = str(row.get(column, ""))
        texts = _texts(row.get(captions))
        picture = path.parent / name
        if not name:
            skipped.append(f"row {number}: names no picture")
        elif not texts:
            skipped.append(f"{name}: its caption is empty")
        elif not picture.is_file():
            skipped.append(f"{name}: there is no such file")
        else:
            usable.append(_Row(picture, name, texts, _key(texts)))
    return usable, skipped


def _from_folders(path: Path, classes: str | None) -> tuple[list[_Row], list[str], tuple[str, ...]]:
    names = tuple(sorted(each.name for each in path.iterdir() if each.is_dir()))
    said = _descriptions(path, names, classes)
    rows, skipped = [], []
    for name in names:
        files = [each for each in sorted((path / name).iterdir()) if each.is_file()]
        pictures = [each for each in files if each.suffix.lower() in PICTURE_EXTENSIONS]
        if not pictures:
            skipped.append(f"{name}: the folder has no pictures")
        rows += [_Row(each, f"{name}/{each.name}", said[name], name) for each in pictures]
    return rows, skipped, names


def _descriptions(
    path: Path, names: Sequence[str], classes: str | None
) -> dict[str, tuple[str, ...]]:
    """What the class in each folder is called."""
    if classes is None:
        return {name: tuple(each.format(name) for each in TEMPLATES) for name in names}
    try:
        given = json.loads(Path(classes).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the descriptions of classes in {classes}: {error}") from None
    if not isinstance(given, dict):
        raise UsageError(f"{classes} is no JSON object of folder names to descriptions.")
    said = {str(name): _texts(value) for name, value in given.items()}
    missing = [name for name in names if not said.get(name)]
    if missing:
        raise UsageError(f"{classes} describes no class {missing[0]!r}, a folder in {path}.")
    return said


def _from_shards(shards: Sequence[Path]) -> tuple[list[_Row], list[str]]:
    rows: list[_Row] = []
    skipped: list[str] = []
    for shard in shards:
        samples: dict[str, dict[str, Any]] = {}
        try:
            with tarfile.open(shard, "r:") as tar:
                for key, suffix, value in _members(tar, shard):
                    samples.setdefault(key, {})[suffix] = value
        except (OSError, tarfile.TarError) as error:
            skipped.append(f"{shard.name}: cannot be read to its end ({error})")
        for key, sample in samples.items():
            name = f"{shard.name}/{key}"
            picture = sample.get("picture")
            texts = _texts(sample.get("txt")) or _texts(_captions(sample.get("json")))
            if picture is None:
                skipped.append(f"{name}: has no picture")
            elif not texts:
                skipped.append(f"{name}: its caption is empty")
            else:
                rows.append(_Row(picture, name, texts, _key(texts)))
    return rows, skipped


def _members(tar: tarfile.TarFile, shard: Path) -> Iterator[tuple[str, str, Any]]:
    """Key, kind and content of what the shard's samples are made of."""
    for member in tar:
        if not member.isfile():
            continue
        folder, _, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        key, suffix = (f"{folder}/{stem}" if folder else stem), suffix.lower()
        if f".{suffix}" in PICTURE_EXTENSIONS:
            yield key, "picture", Place(shard, member.offset_data, member.size)
        elif suffix in {"txt", "json"}:
            file = tar.extractfile(member)
            text = file.read().decode("utf-8", "replace") if file else ""
            yield key, suffix, text


def _captions(text: str | None) -> Any:
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    if not isinstance(value, Mapping):
        return None
    return next((value[name] for name in CAPTION_COLUMNS if name in value), None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise MediaError(str(error.strerror).lower(), str(path)) from error
