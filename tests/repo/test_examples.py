"""The examples run as their headers say, on the starter."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("red", (200, 30, 40)), ("blue", (30, 60, 200))):
        Image.new("RGB", (80, 60), colour).save(folder / f"{name}.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "shop.csv").write_text(
        "image,title\npictures/red.jpg,Red cloth\npictures/broken.jpg,Blue cloth\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("search_folder.py", ["pictures", "a red picture"], "2 new, 0 known, 1 failed"),
        ("check_listings.py", ["shop.csv"], "Blue cloth"),
        ("sort_uploads.py", ["pictures", "pictures/sorted", "sky", "cloth"], ""),
    ],
)
def test_an_example_runs(name, arguments, expected, pictures, monkeypatch):
    monkeypatch.setenv("POLYMODAL_HOME", str(pictures / "home"))
    ran = subprocess.run(
        [sys.executable, REPOSITORY / "examples" / name, *arguments],
        cwd=pictures,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert expected in ran.stdout
    assert len(list((pictures / "pictures").rglob("*.jpg"))) == (5 if "sort" in name else 3)
