"""Finding files, hashing and reading them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from polymodal.errors import (
    DamagedMedia,
    MediaError,
    MediaNotFound,
    MediaTooLarge,
    UnsupportedMedia,
)
from polymodal.media.files import find_files, hash_file, printable_name, read_bytes
from polymodal.media.limits import Limits
from polymodal.media.pictures import open_picture
from polymodal.results import ItemError

NAMES = ["b.jpg", "a.JPG", "sub/c.png", "sub/deep/d.webp", "notes.txt", "sub/.hidden.jpg"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in NAMES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def found(*paths: str | Path, recursive: bool = True) -> list[str]:
    """Names of what was found, failures as `kind: input`."""
    items = find_files(list(paths), recursive=recursive)
    return [
        f"{item.kind}: {Path(item.input).name}" if isinstance(item, ItemError) else item.name
        for item in items
    ]


def test_folder_gives_its_pictures_in_order_of_name(photos: Path) -> None:
    assert found(photos) == ["a.JPG", "b.jpg", "c.png", "d.webp"]
    assert found(photos, recursive=False) == ["a.JPG", "b.jpg"]


def test_file_named_directly_is_found_whatever_its_extension(photos: Path) -> None:
    assert found(photos / "notes.txt", photos / "sub" / ".hidden.jpg") == [
        "notes.txt",
        ".hidden.jpg",
    ]


def test_relative_paths_stay_relative(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    assert list(find_files(["photos"], recursive=False)) == [
        Path("photos/a.JPG"),
        Path("photos/b.jpg"),
    ]


def test_nothing_is_found_twice(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    once = found(photos)
    assert found(photos, photos, photos / "b.jpg", "./b.jpg", "*.jpg", "**/*.png") == once


def test_globs_find_pictures(photos: Path) -> None:
    assert found(f"{photos}/*.jpg") == ["b.jpg"]
    assert found(f"{photos}/*.*") == ["a.JPG", "b.jpg"]
    assert sorted(found(f"{photos}/**")) == ["a.JPG", "b.jpg", "c.png", "d.webp"]
    assert found(f"{photos}/**/*.webp") == ["d.webp"]
    assert found(f"{photos}/*.txt") == ["notes.txt"]
    assert found(f"{photos}/s*") == found(photos / "sub")
    assert found(f"{photos}/*.tiff") == ["MediaNotFound: *.tiff"]


def test_glob_passes_over_hidden_files_and_loops_of_links(photos: Path) -> None:
    for name in ("one", "two"):
        (photos / "sub" / name).symlink_to(photos, target_is_directory=True)
    assert sorted(found(f"{photos}/**")) == ["a.JPG", "b.jpg", "c.png", "d.webp"]
    assert found(f"{photos}/sub/.h*") == [".hidden.jpg"]
    assert found(f"{photos}/a**b.jpg") == ["MediaNotFound: a**b.jpg"]


def test_single_path_is_taken_as_one(photos: Path) -> None:
    assert list(find_files(str(photos))) == list(find_files(photos)) == list(find_files([photos]))


def test_name_with_glob_characters_is_that_file(tmp_path: Path) -> None:
    for name in ("[1].jpg", "1.jpg", "what?.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert found(tmp_path / "[1].jpg", tmp_path / "what?.jpg") == ["[1].jpg", "what?.jpg"]


def test_missing_paths_are_items_and_the_rest_is_found(photos: Path) -> None:
    (photos / "gone.jpg").symlink_to(photos / "nowhere")
    items = list(find_files([photos / "none.jpg", photos, "a\0b"]))
    errors = [item for item in items if isinstance(item, ItemError)]
    assert [(Path(item.input).name, item.kind) for item in errors] == [
        ("none.jpg", "MediaNotFound"),
        ("gone.jpg", "MediaNotFound"),
        ("a\0b", "MediaNotFound"),
    ]
    assert errors[0].reason == "no such file"
    assert "is a link to" in errors[1].reason
    assert len(items) == 3 + 4


def test_loops_of_links_end_and_linked_folders_are_followed(photos: Path, tmp_path: Path) -> None:
    (photos / "sub" / "loop").symlink_to(photos, target_is_directory=True)
    (photos / "self.jpg").symlink_to(photos / "self.jpg")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "linked.jpg").write_bytes(b"x")
    (photos / "zlink").symlink_to(outside, target_is_directory=True)
    names = found(photos)
    assert sorted(names) == [
        "MediaNotFound: self.jpg",
        "a.JPG",
        "b.jpg",
        "c.png",
        "d.webp",
        "linked.jpg",
    ]


def test_unreadable_folder_is_an_item(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "sub":  # chmod does not stop root, who may run this test
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert found(photos) == ["a.JPG", "b.jpg", "MediaNotFound: sub"]


def test_unreadable_file_says_so(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    for read in (open_picture, hash_file, read_bytes):
        with pytest.raises(MediaNotFound, match=r"b\.jpg: may not be read: permission denied"):
            read(photos / "b.jpg")


def test_finding_is_lazy(photos: Path) -> None:
    files = find_files([photos])
    first = next(files)
    (photos / "sub" / "new.jpg").write_bytes(b"x")
    assert first == photos / "a.JPG"
    assert photos / "sub" / "new.jpg" in list(files)


@pytest.mark.parametrize(
    "name", ["with space.jpg", "🛍️ sari.jpg", "new\nline.jpg", "-n.jpg", "é.jpg"]
)
def test_odd_names_are_found_hashed_and_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    (path,) = find_files([tmp_path])
    assert isinstance(path, Path)
    assert path == tmp_path / name
    assert hash_file(path) == hashlib.sha256(b"content").hexdigest()
    assert read_bytes(path) == b"content"


def test_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    try:
        path.write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert list(find_files([tmp_path])) == [path]
    with pytest.raises(DamagedMedia, match="is empty") as raised:
        read_bytes(path)
    str(raised.value).encode()
    assert printable_name(path).endswith(r"caf\xe9.jpg")


def test_hash_is_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(3_000_001))
    assert hash_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_size_limit_is_checked_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(10_000_000_000)
    with pytest.raises(MediaTooLarge, match="10,000,000,000 bytes"):
        read_bytes(path)
    path.write_bytes(bytes(100))
    assert len(read_bytes(path, Limits(max_bytes=100))) == 100
    with pytest.raises(MediaTooLarge):
        read_bytes(path, Limits(max_bytes=99))


def test_pipes_and_devices_are_refused_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        for read in (hash_file, read_bytes, open_picture):
            with pytest.raises(UnsupportedMedia, match="a pipe or a device"):
                read(path)


def test_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    for read in (hash_file, read_bytes):
        with pytest.raises(MediaError, match="is a folder"):
            read(tmp_path)
