from __future__ import annotations

from pathlib import Path

import pytest
from scipy.special import expit

import polymodal as pm
from polymodal.errors import MediaNotFound, UsageError
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.mock import MockEmbedder
from polymodal.results import Match
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.cascade_file import Cascade, Tier
from polymodal.tasks.judges import MatchJudge
from polymodal.tasks.match import match, read_pairs
from tests.tasks.pictures import plain, save


def run(pairs: list[tuple[object, str]], threshold: float | None = None) -> list[object]:
    texts = TextVectors(MockEmbedder())
    stream = match(texts, pairs, limits=DEFAULT_LIMITS, threshold=threshold)  # type: ignore[arg-type]
    return [outcome for _, outcome in stream]


def test_probability_is_the_logistic_function_of_the_cosine() -> None:
    (found,) = run([(plain("red"), "a red thing")])
    assert isinstance(found, Match)
    calibration = MockEmbedder().calibration
    logit = calibration.match_scale * found.cosine + calibration.match_bias
    assert found.probability == pytest.approx(expit(logit))
    assert found.matches is None


def test_a_threshold_answers_yes_or_no() -> None:
    right, wrong = run([(plain("red"), "red"), (plain("red"), "blue")], 0.5)
    assert isinstance(right, Match)
    assert isinstance(wrong, Match)
    assert (right.matches, wrong.matches) == (True, False)


def test_one_missing_picture_fails_alone() -> None:
    found = run([(plain("red"), "red"), ("nowhere.jpg", "blue"), (plain("blue"), "blue")])
    assert [type(outcome) for outcome in found] == [Match, MediaNotFound, Match]


def test_a_text_of_many_pairs_is_embedded_once() -> None:
    texts = TextVectors(MockEmbedder())
    pairs = [(plain("red", seed), "a red square") for seed in range(5)]
    list(match(texts, pairs, limits=DEFAULT_LIMITS))
    assert texts.embedder.texts_seen == 1  # type: ignore[attr-defined]


def test_a_table_embeds_each_picture_and_each_text_once(tmp_path: Path) -> None:
    for name in ("red", "blue"):
        save(plain(name), tmp_path / f"{name}.png")
    rows = ["image,text"]
    rows += [f"{name}.png,{text}" for text in ("red", "blue", "a wall") for name in ("red", "blue")]
    rows += ["gone.png,red", "gone.png,blue"] + ["red.png,a wall"] * 50
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    embedder = MockEmbedder()
    found = pm.Suite(embedder).match_pairs(tmp_path / "pairs.csv")
    assert (embedder.images_seen, embedder.texts_seen) == (2, 3)
    kinds = [getattr(each, "kind", "match") for each in found]
    assert kinds == ["match"] * 6 + ["MediaNotFound"] * 2 + ["match"] * 50
    alone = [
        pm.Suite(MockEmbedder()).match(*pair) for pair in read_pairs(tmp_path / "pairs.csv")[:6]
    ]
    assert [each.cosine for each in found[:6]] == [each.cosine for each in alone]  # type: ignore[union-attr]


def test_pictures_in_memory_are_known_by_themselves() -> None:
    red, blue = plain("red"), plain("blue")
    texts = TextVectors(MockEmbedder())
    pairs = [(red, "red"), (blue, "red"), (red, "blue"), (blue, "blue")]
    found = [each for _, each in match(texts, pairs, limits=DEFAULT_LIMITS)]
    assert texts.embedder.images_seen == 2  # type: ignore[attr-defined]
    right = [each.cosine for each in found if isinstance(each, Match)]
    assert right[0] > right[1] < right[3] > right[2]


def test_a_cascade_is_fitted_with_each_picture_embedded_once(tmp_path: Path) -> None:
    pictures = [save(plain(name), tmp_path / f"{name}.png") for name in ("red", "blue")]
    embedder = MockEmbedder()
    tier = Tier(name="mock", by="embedder")
    cascade = Cascade(name="c", task="match", tiers=(tier,))
    judge = MatchJudge(TextVectors(embedder), DEFAULT_LIMITS)
    cases = [
        (str(path), f"{text} wall {number}", text == path.stem)
        for number in range(20)
        for path in pictures
        for text in ("red", "blue")
    ]
    fitted = pm.Suite(MockEmbedder()).cascade(cascade, judges={"mock": judge}).fit(cases)
    assert fitted.report.cases == 80
    assert embedder.images_seen == 2 + 1  # once more to load the model before the clock


def test_a_pair_that_lacks_a_part_fails_alone() -> None:
    found = run([(plain("red"), " "), (plain("red"), "red"), ("", "red"), (plain("blue"), "blue")])
    assert [type(outcome) for outcome in found] == [UsageError, Match, UsageError, Match]
    assert "text is empty" in str(found[0])
    assert "no picture" in str(found[2])
    assert [each.text for each in found if isinstance(each, Match)] == ["red", "blue"]


@pytest.mark.parametrize("threshold", [-1, 1.5])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        run([(plain("red"), "red")], threshold)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "image,text\na.jpg,red\nb.jpg,blue\n"),
        ("p.csv", "id,caption,path\n1,red,a.jpg\n2,blue,b.jpg\n"),
        ("p.csv", "picture,text\na.jpg,red\nb.jpg,blue\n"),
        ("p.csv", "file_name,text\na.jpg,red\nb.jpg,blue\n"),
        ("p.jsonl", '{"image": "a.jpg", "text": "red"}\n{"image": "b.jpg", "text": "blue"}\n'),
    ],
)
def test_pairs_are_read_by_column_name(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    pairs = read_pairs(tmp_path / name)
    assert pairs == [(str(tmp_path / "a.jpg"), "red"), (str(tmp_path / "b.jpg"), "blue")]


def test_a_table_without_texts_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,price\na.jpg,3\n")
    with pytest.raises(UsageError, match="has no text column: it has image, price"):
        read_pairs(tmp_path / "p.csv")


def test_what_a_row_lacks_is_empty_in_its_pair(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,text\na.jpg,\n,red\n")
    assert read_pairs(tmp_path / "p.csv") == [(str(tmp_path / "a.jpg"), ""), ("", "red")]


def test_a_table_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sku,text\n7,red\n")
    with pytest.raises(UsageError, match=r"p\.csv has no column for the pictures"):
        read_pairs(tmp_path / "p.csv")


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("image,text\n")
    with pytest.raises(UsageError, match="no rows"):
        read_pairs(tmp_path / "p.csv")
