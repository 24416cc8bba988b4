"""The folder of bad and odd files: the good ones open, each bad one fails alone and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from polymodal.errors import MediaError, MediaNotFound
from polymodal.media.files import find_files, hash_file, printable_name
from polymodal.media.pictures import Picture, open_picture
from polymodal.results import ItemError
from tests.media.nasty import NastyFolder, make_nasty_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> NastyFolder:
    return make_nasty_folder(tmp_path_factory.mktemp("nasty"))


def outcomes(root: Path) -> dict[str, str]:
    """What becomes of each file found, by printable name."""
    found: dict[str, str] = {}
    for item in find_files([root]):
        if isinstance(item, ItemError):
            found[item.input] = item.kind
            continue
        try:
            assert isinstance(open_picture(item, target_px=224), Picture)
            found[printable_name(item)] = "good"
        except MediaError as error:
            assert error.name == printable_name(item)
            assert error.reason
            found[printable_name(item)] = type(error).__name__
    return found


def test_every_file_of_the_folder_opens_or_fails_as_it_must(folder: NastyFolder) -> None:
    expected = {printable_name(path): "good" for path in folder.good}
    expected |= {printable_name(path): error.__name__ for path, error in folder.bad.items()}
    assert outcomes(folder.root) == expected


def test_good_pictures_of_the_folder_all_differ(folder: NastyFolder) -> None:
    assert len({hash_file(path) for path in folder.good}) == len(folder.good)


def test_file_that_vanishes_after_listing_fails_alone(tmp_path: Path) -> None:
    folder = make_nasty_folder(tmp_path)
    listed = list(find_files([tmp_path]))
    folder.vanishing.unlink()
    assert folder.vanishing in listed
    with pytest.raises(MediaNotFound, match=r"vanishing\.jpg: no such file"):
        open_picture(folder.vanishing)
    with pytest.raises(MediaNotFound):
        hash_file(folder.vanishing)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.jpg", r"is empty \(0 bytes\)"),
        ("zeros.jpg", "nothing but zero bytes"),
        ("truncated.jpg", "is a JPEG that is truncated or corrupt"),
        ("only a start.jpg", "is a JPEG without picture data"),
        ("renamed pdf.jpg", "looks like a PDF document"),
        ("text.png", "looks like text"),
        ("phone.heic", "looks like a HEIC picture, which is not read here: convert it to JPEG"),
        ("bomb.png", r"60,000 x 60,000 pixels, more than the limit of 200 megapixels"),
        ("dangling.jpg", "is a link to .*no such target.jpg, which does not exist"),
    ],
)
def test_reason_tells_a_person_what_is_wrong(folder: NastyFolder, name: str, reason: str) -> None:
    with pytest.raises(folder.bad[folder.root / name], match=f"{name}: .*{reason}"):
        open_picture(folder.root / name)
