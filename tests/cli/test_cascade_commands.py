"""cascade fit and run as commands: JSON lines, reports, pages, failures in their place."""

import json
import tomllib

import pytest
from PIL import Image

from polymodal.cli.cascades import fit_words
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
    ran = cascade(polymodal, *words, "--html", "curve.html", "--json")
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
    words = ["fit", "listing.toml", shop, "-o", "mine.toml", "--html", "curve.html"]
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
