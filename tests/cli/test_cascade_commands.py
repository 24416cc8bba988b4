"""cascade fit and run as commands: JSON lines, reports, pages, failures in their place."""

import io
import json
import re
import tomllib
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageColor

from polymodal.cli.cascades import fit_words
from polymodal.cli.shapes import Circle, Drawing, Label, Line, to_png, to_svg
from polymodal.results_cascades import CascadeFit, CurvePoint, TierFit
from tests.cli.conftest import COLOURS

LISTING = """\
task = "match"
[[tiers]]
name = "colours"
by = "embedder"
model = "mock"
{thresholds}
[[tiers]]
name = "views"
by = "views"
model = "mock"
"""


@pytest.fixture
def shop(pictures, tmp_path):
    """A table of pictures with what they are said to show, and whether that is true."""
    rows = []
    for number in range(60):
        names = list(COLOURS)
        name = names[number % len(names)]
        file = pictures / f"{name}-{number}.png"
        Image.new("RGB", (64 + number, 48), COLOURS[name]).save(file)
        said = name if number % 2 else names[(number + 1) % len(names)]
        rows.append({"image": str(file), "text": said, "label": "yes" if said == name else "no"})
    table = tmp_path / "pairs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "listing.toml").write_text(LISTING.format(thresholds=""))
    (tmp_path / "sure.toml").write_text(LISTING.format(thresholds="accept = 0.9\nreject = 0.1"))
    return table


def cascade(polymodal, *words, **options):
    return polymodal("cascade", *words, mock=False, **options)


def test_a_fitted_cascade_is_saved_and_runs(polymodal, shop, tmp_path):
    words = ["fit", "listing.toml", shop, "-o", "mine.toml", "--target-precision", "0.8"]
    ran = cascade(polymodal, *words, "--curve", "curve.html", "--json")
    assert ran.code == 0
    (found,) = ran.lines
    assert found["cases"] == 60
    assert found["right"] == 1
    assert [tier["tier"] for tier in found["tiers"]] == ["colours", "views"]
    saved = tomllib.loads((tmp_path / "mine.toml").read_text())
    assert saved["tiers"][0]["accept"] == found["tiers"][0]["accept"]
    assert saved["fitted"] == "60 cases of pairs.jsonl, target precision 0.8"
    page = (tmp_path / "curve.html").read_text()
    assert "<svg" in page
    assert "views alone" in page
    run = cascade(polymodal, "run", "mine.toml", shop, "--json")
    *decisions, report = run.lines
    assert all(line["matches"] == line["label"] for line in decisions)
    assert set(decisions[0]) == {"input", "text", "matches", "tier", "score", "scores", "label"}
    assert (report["cases"], report["right"], report["labelled"]) == (60, 60, 60)
    assert run.stderr == ""


def test_the_curve_is_drawn_alike_on_a_page_and_as_a_picture(polymodal, shop, tmp_path):
    words = ["fit", "listing.toml", shop, "-o", "mine.toml", "--target-precision", "0.8"]
    for name in ("curve.html", "curve.png"):
        ran = cascade(polymodal, *words, "--curve", name, "--json")
        assert ran.code == 0
        assert name in ran.stderr
    page = (tmp_path / "curve.html").read_text()
    assert page.count("<title>views alone: ") == 1
    style = page[page.index(":root") :]
    accent = re.search(r"--accent: (#\w+)", style)[1]
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', page).groups())
    with Image.open(tmp_path / "curve.png") as drawn:
        assert drawn.size == (2 * width, 2 * height)
        colours = {colour: count for count, colour in drawn.getcolors(drawn.width * drawn.height)}
    assert colours[ImageColor.getrgb(accent)] > 100  # the line and its dots
    assert colours[ImageColor.getrgb("#ffffff")] > 0.9 * 4 * width * height
    assert len(colours) > 20  # edges are smooth


def test_a_picture_has_every_shape_where_the_page_has_it():
    drawing = Drawing(
        60,
        40,
        (
            Line("rule", ((5, 10), (55, 10))),
            Line("path", ((10, 30), (30, 30))),
            Circle("alone", (45, 30), 5, "a < b"),
            Label("words", (10, 22)),
        ),
        "all of it",
    )
    root = ElementTree.fromstring(to_svg(drawing))
    (circle,) = root.iter("circle")
    assert (circle.get("cx"), circle.get("cy"), circle[0].text) == ("45.0", "30.0", "a < b")
    assert [line.get("points") for line in root.iter("polyline")] == [
        "5.0,10.0 55.0,10.0",
        "10.0,30.0 30.0,30.0",
    ]
    (label,) = root.iter("text")
    assert (label.text, label.get("x"), label.get("y")) == ("words", "10.0", "22.0")
    with Image.open(io.BytesIO(to_png(drawing))) as drawn:
        assert drawn.getpixel((90, 60)) == (255, 255, 255)  # a ring is hollow
        assert sum(drawn.getpixel((80, 60))) < 150  # and dark around
        red, green, _ = drawn.getpixel((40, 60))
        assert green > 2 * red  # the path is green
        assert drawn.getpixel((60, 20)) != (255, 255, 255) == drawn.getpixel((60, 26))
        words = drawn.crop((20, 26, 100, 44)).convert("L")
        assert words.getextrema()[0] < 140
        assert drawn.crop((100, 26, 120, 44)).convert("L").getextrema() == (255, 255)


def test_a_person_reads_where_cases_stopped_and_what_was_saved(polymodal, shop):
    ran = cascade(polymodal, "run", "sure.toml", shop)
    assert ran.code == 0
    assert "does not match" in ran.stdout
    assert "right: 60 of 60 (100.0%)" in ran.stdout
    lines = ran.stdout.splitlines()
    (tier,) = [line.split() for line in lines if line.startswith("colours")]
    assert tier[1] == "60"
    assert max(map(len, lines)) < 80


def test_a_page_shows_which_tier_decided_what(polymodal, shop, pictures, tmp_path):
    Image.new("RGB", (64, 48), "grey").save(pictures / "grey & co.png")
    with shop.open("a") as table:
        row = {"image": str(pictures / "grey & co.png"), "text": "<b>red</b>", "label": "no"}
        table.write(json.dumps(row) + "\n")
    ran = cascade(polymodal, "run", "sure.toml", shop, "--html", "run.html", "--json")
    *decisions, report = ran.lines
    page = (tmp_path / "run.html").read_text()
    for tier in report["tiers"]:
        told = f"decided by {tier['tier']} ({tier['decided']})"
        assert (told in page) == bool(tier["decided"])
    assert page.count('<li class="card">') == len(decisions) == 61
    assert page.count('class="tag bad"') == sum(not line["matches"] for line in decisions)
    assert "&lt;b&gt;red&lt;/b&gt;" in page
    assert "grey &amp; co.png" in page
    assert f"score of colours</dt><dd>{decisions[0]['scores']['colours']:.2f}" in page
    assert "right: 61 of 61" in page
    assert "run.html" in ran.stderr


def test_one_bad_picture_fails_alone(polymodal, shop, pictures):
    with shop.open("a") as table:
        table.write(json.dumps({"image": "gone.png", "text": "red", "label": "yes"}) + "\n")
        table.write(json.dumps({"image": str(pictures / "red.png"), "label": "no"}) + "\n")
    ran = cascade(polymodal, "run", "sure.toml", shop, "--json")
    assert ran.code == 1
    assert [line.get("kind") for line in ran.lines[-3:-1]] == ["MediaNotFound", "UsageError"]
    assert ran.lines[-1]["cases"] == 62
    assert "gone.png" in ran.stderr


def test_moderation_takes_pictures(polymodal, pictures):
    ran = cascade(
        polymodal, "run", "moderation", pictures / "red.png", pictures / "no.png", "--json"
    )
    assert ran.code == 1
    assert set(ran.lines[0]) == {"input", "approved", "tier", "score", "scores"}
    assert ran.lines[1]["kind"] == "MediaNotFound"
    assert ran.lines[2]["tiers"][0]["tier"] == "measured"
    assert "no thresholds" not in ran.stderr  # it rejects, and never accepts


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "listing.toml", "pictures"], "is no table"),
        (["run", "listin", "pairs.jsonl"], "did you mean 'listing'"),
        (["run", "sure.toml", "pairs.jsonl", "--budget", "1"], "costs money"),
        (["fit", "listing.toml", "pairs.jsonl", "-o", "x", "--target-precision", "2"], "share"),
        (["run", "sure.toml", "nowhere.csv"], "cannot read the table"),
        (["fit", "listing.toml", "pairs.jsonl", "-o", "x", "--curve", "x.jpg"], "no .png and no"),
    ],
)
def test_wrong_usage_is_said(polymodal, shop, words, complaint):
    ran = cascade(polymodal, *words)
    assert ran.code == 2
    assert complaint in ran.stderr


def test_an_unfitted_cascade_says_so(polymodal, shop):
    ran = cascade(polymodal, "run", "listing.toml", shop)
    assert "has no thresholds" in ran.stderr


def test_a_page_names_nothing_unescaped(polymodal, shop, tmp_path):
    text = (tmp_path / "listing.toml").read_text().replace('"views"', '"<b>top</b>"', 1)
    (tmp_path / "listing.toml").write_text(text)
    words = ["fit", "listing.toml", shop, "-o", "mine.toml", "--curve", "curve.html"]
    assert cascade(polymodal, *words).code == 0
    assert "<b>" not in (tmp_path / "curve.html").read_text()


@pytest.mark.parametrize(("accept", "said"), [(0.7, "too few to be sure"), (None, "can be sure")])
def test_thresholds_that_decide_are_not_said_to_save_nothing(
    accept: float | None, said: str
) -> None:
    """Half of the cases, on which is counted, may be too few for a threshold that all give."""
    first = TierFit("first", accept, None, 0.0, 0.9, 0.01, 0.0)
    top = TierFit("top", 0.5, None, 1.0, 0.9, 0.1, 0.0)
    point = CurvePoint("cascade", 0.9, 0.11, 0.0, target=0.8)
    count = (72, 80)
    found = CascadeFit(80, 0.8, (first, top), count, count, count, (0, 0), (0, 0), (point,))
    (line,) = [each for each in fit_words(found) if "be sure" in each]
    assert said in line
    assert ("those of all cases" in line) == (accept is not None)
