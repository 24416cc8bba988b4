"""Result pages: self-contained, safe whatever files are called, and valid for a reader's parser."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from polymodal.cli.pages import Card, Group, Section, render_page

ATTACK = "<script>alert(1)</script>\"onerror=alert(2) 'x'.png"


class Elements(HTMLParser):
    """Collects every element with its attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.text = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def attack(polymodal, pictures, tmp_path):
    """The page of a search in which names, metadata and the query try to be markup."""
    name = ATTACK.replace("/", "-")
    (pictures / "red.png").rename(pictures / name)
    row = {"path": name, "title": "<img src=x onerror=alert(3)>", "<b>": "</style><i>"}
    (pictures / "shop.jsonl").write_text(json.dumps(row) + "\n")
    added = polymodal("add", pictures, "--metadata", pictures / "shop.jsonl", "-c", "./shop")
    assert added.code == 0, added
    ran = polymodal("search", "red <b>bold</b>", "-c", "./shop", "--html", "page.html")
    assert ran.code == 0, ran
    assert "page.html" in ran.stderr
    return (tmp_path / "page.html").read_text()


def test_untrusted_text_never_becomes_markup(attack):
    page = Elements(attack)
    allowed = (
        "html head meta title style body header div a nav main section h2 p ul li img span dl dt"
        " dd bdi footer"
    )
    assert {tag for tag, _ in page.elements} <= set(allowed.split())
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
    text = "".join(page.text)
    assert "<img src=x onerror=alert(3)>" in text
    assert "red <b>bold</b>" in text


def test_pages_need_no_network_and_forbid_scripts(attack):
    page = Elements(attack)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy
    for image in page.all("img"):
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert image["alt"]
    for link in page.all("a"):
        assert link["href"].startswith(("file:///", "#"))
    assert "url(" not in attack
    assert "@import" not in attack


def test_thumbnails_are_small_and_metadata_free(attack):
    data = re.findall(r"data:image/jpeg;base64,([^\"]+)", attack)
    assert len(data) == 5
    for encoded in data:
        packed = base64.b64decode(encoded)
        assert len(packed) < 40_000
        with Image.open(io.BytesIO(packed)) as image:
            assert max(image.size) <= 300
            assert not image.getexif()


def test_scores_and_metadata_stand_under_the_pictures(polymodal, pictures, tmp_path):
    polymodal("add", pictures, "--metadata", pictures / "shop.csv", "-c", "./shop")
    query = "shirt under 1200 rupees"
    polymodal("search", query, "-c", "./shop", "--html", "page.html", "-q")
    text = " ".join(Elements((tmp_path / "page.html").read_text()).text)
    for words in (query, "Red shirt", "Green shirt", "price", "500", "price < 1200"):
        assert words in text
    assert "Blue shirt" not in text


def test_every_kind_of_result_has_a_page(polymodal, pictures, tmp_path):
    with Image.open(pictures / "red.png") as image:
        image.resize((48, 36)).save(pictures / "red-small.jpg")
    polymodal("add", pictures, "-c", "./shop")
    for name, arguments in {
        "queries": ["search", "--query", "red", "--query", "blue", "-c", "./shop"],
        "similar": ["similar", pictures / "red.png", "-c", "./shop"],
        "classes": ["classify", pictures, "-l", "red", "-l", "blue"],
        "moderation": ["moderate", pictures],
        "duplicates": ["duplicates", "-c", "./shop", "--threshold", "0.9"],
    }.items():
        ran = polymodal(*arguments, "--html", f"{name}.html", "-q")
        assert ran.code == 0, ran
        page = Elements((tmp_path / f"{name}.html").read_text())
        assert page.all("img"), name
    assert len(Elements((tmp_path / "queries.html").read_text()).all("section")) == 2


def test_a_picture_that_is_gone_leaves_its_words(tmp_path):
    card = Card(str(tmp_path / "gone.png"), "Gone")
    page = render_page("title", [Section("heading", [Group([card])])])
    assert "cannot be opened" in page
    assert "<img" not in page


def test_a_page_of_very_many_pictures_shows_the_first_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("polymodal.cli.pages.MOST_CARDS", 3)
    cards = [Card(str(tmp_path / f"{number}.png"), f"picture {number}") for number in range(5)]
    groups = [Group(cards[:2], "first"), Group(cards[2:], "second")]
    page = render_page("title", [Section("heading", groups)])
    assert "The first 3 of 5 are shown." in page
    assert page.count("<li class") == 3


def test_a_page_that_cannot_be_written_is_a_clear_error(polymodal, pictures, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ran = polymodal("classify", pictures, "-l", "red", "-l", "blue", "--html", "file/page.html")
    assert ran.code == 1
    assert "cannot write file/page.html" in ran.stderr
    assert "Traceback" not in ran.stderr
