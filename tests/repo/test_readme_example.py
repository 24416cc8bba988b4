"""The Python of the documents runs as it stands there."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.media import papers

REPOSITORY = Path(__file__).resolve().parents[2]
COLOURS = {"red dress": (200, 30, 40), "blue mug": (30, 60, 200), "green bag": (40, 150, 60)}


def example(page, number=0):
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    return blocks[number]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The files that the examples speak of, in the current folder; named collections are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    for folder in ("photos", "img"):
        (tmp_path / folder).mkdir()
        for number, colour in enumerate(COLOURS.values(), 1):
            Image.new("RGB", (80, 80), colour).save(tmp_path / folder / f"{number}.jpg")
    for number, name in enumerate("ab", 1):
        Image.new("RGB", (80, 80), (number * 90, 20, 20)).save(tmp_path / f"{name}.jpg")
    rows = [f"{n}.jpg,{title},{n * 900}" for n, title in enumerate(COLOURS, 1)]
    (tmp_path / "products.csv").write_text("\n".join(["file,title,price", *rows]) + "\n")
    return tmp_path


def test_the_readme_s_example_is_short_and_runs(shop, capsys):
    code = example("README.md")
    assert len(code.strip().splitlines()) <= 12
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert "red dress" in lines[0]
    assert not any("2700" in line for line in lines), "under 2000 rupees"


def test_the_quick_start_s_example_runs(shop, capsys):
    exec(compile(example("docs/quickstart.md"), "quickstart.md", "exec"), {})
    out = capsys.readouterr().out
    assert "(3, " in out
    assert "price < 2000" in out


def test_a_model_of_one_s_own_is_as_short_as_the_document_says(shop):
    names = {}
    exec(compile(example("docs/models.md"), "models.md", "exec"), names)
    Image.new("RGB", (8, 8), "white").save("white.png")
    Image.new("RGB", (8, 8), "black").save("black.png")
    with names["suite"].collection("./light") as collection:
        collection.add(["white.png", "black.png"])
        assert collection.search("something bright", k=1).hits[0].path.endswith("white.png")


def test_a_generator_of_your_own_answers_and_refuses_as_the_page_says(shop):
    names = {}
    exec(compile(example("docs/models.md", 1), "docs/models.md", "exec"), names)
    shouter, pm = names["Shouter"](), names["pm"]
    assert isinstance(shouter, pm.Generator)
    assert shouter.generate([[pm.Message.user("hello")]])[0].text == "HELLO"
    picture = pm.ImagePart(Image.new("RGB", (8, 8)))
    with pytest.raises(pm.UsageError, match="takes text, no image"):
        shouter.generate([[pm.Message.user(picture)]])


def test_the_journal_can_be_read_and_written_as_its_page_says(shop, capsys):
    names = {}
    for number in (0, 1, 0):
        exec(compile(example("docs/cache-and-journal.md", number), "page", "exec"), names)
    assert capsys.readouterr().out.splitlines() == ["0", "red 0.9", "0"]


def test_the_documents_page_s_examples_run(shop):
    pytest.importorskip("rapidocr", reason="OCR needs the extra documents")
    (shop / "contract.pdf").write_bytes(papers.text_pdf([[(50, 200, 12, "Between Anna and Bo")]]))
    papers.drawn(papers.RECEIPT).save("receipt.jpg")
    names = {}
    exec(compile(example("docs/documents.md"), "documents.md", "exec"), names)
    assert names["reading"].text == "Between Anna and Bo"
    exec(compile(example("docs/documents.md", 1), "documents.md", "exec"), names)
    assert names["found"].value.merchant == "MERIDIAN BOOK STORE SDN BHD"
    assert str(names["found"].value.total) == "21.90"
