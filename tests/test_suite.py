from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import polymodal as pm
from tests.tasks.pictures import plain, save


@pytest.fixture
def suite() -> pm.Suite:
    return pm.Suite(pm.MockEmbedder())


def test_a_suite_loads_nothing_until_it_is_used() -> None:
    suite = pm.Suite("no such model")
    with pytest.raises(pm.ModelUnavailable, match="no such model"):
        suite.embedder()


def test_one_picture_gives_one_result_and_raises(suite: pm.Suite) -> None:
    assert suite.classify(plain("red"), ["red", "blue"]).label == "red"
    assert isinstance(suite.moderate(plain("red")), pm.Verdict)
    with pytest.raises(pm.MediaNotFound, match="nowhere"):
        suite.classify("nowhere.jpg", ["red", "blue"])
    with pytest.raises(pm.MediaNotFound):
        suite.moderate("nowhere.jpg")
    with pytest.raises(pm.MediaNotFound):
        suite.match("nowhere.jpg", "red")


def test_an_array_is_one_picture(suite: pm.Suite) -> None:
    assert suite.classify(np.asarray(plain("blue")), ["red", "blue"]).label == "blue"


def test_a_list_gives_a_list_with_failures_in_place(suite: pm.Suite) -> None:
    found = suite.classify([plain("red"), b"", plain("blue")], ["red", "blue"])
    assert isinstance(found, list)
    assert isinstance(found[1], pm.ItemError)
    assert [item.label for item in found if isinstance(item, pm.Classification)] == ["red", "blue"]
    verdicts = suite.moderate([plain("red"), "nowhere.jpg"])
    assert [type(verdict) for verdict in verdicts] == [pm.Verdict, pm.ItemError]
    assert suite.classify([], ["red"]) == []


def test_an_iterator_gives_an_iterator_that_reads_only_a_little_ahead(suite: pm.Suite) -> None:
    read = 0

    def endless() -> Iterator[object]:
        nonlocal read
        while True:
            read += 1
            yield plain("red")

    stream = suite.classify(endless(), ["red", "blue"])  # type: ignore[arg-type]
    assert next(stream).label == "red"  # type: ignore[attr-defined]
    assert read < 200
    stream.close()  # type: ignore[attr-defined]


def test_labels_are_embedded_once_for_many_calls(suite: pm.Suite) -> None:
    for seed in range(4):
        suite.classify(plain("red", seed), ["red", "blue"])
    assert suite.embedder().texts_seen == 4  # type: ignore[attr-defined]


def test_labels_may_come_from_a_file(suite: pm.Suite, tmp_path: Path) -> None:
    (tmp_path / "labels.toml").write_text('warm = ["red", "orange"]\ncold = ["blue", "cyan"]')
    assert suite.classify(plain("orange"), tmp_path / "labels.toml").label == "warm"


def test_labels_or_a_probe_but_not_both_nor_neither(suite: pm.Suite) -> None:
    with pytest.raises(pm.UsageError, match="either labels or a probe"):
        suite.classify(plain("red"))
    with pytest.raises(pm.UsageError, match="either labels or a probe"):
        suite.classify(plain("red"), ["red"], probe="p")
    with pytest.raises(pm.UsageError, match="go with labels"):
        suite.classify(plain("red"), probe="p", multi_label=True)


def test_a_probe_is_trained_saved_and_used(suite: pm.Suite, tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        for seed in range(4):
            save(plain(colour, seed), tmp_path / "photos" / colour / f"{seed}.png")
    probe = suite.probe(tmp_path / "photos")
    path = probe.save(tmp_path / "colours.probe")
    assert suite.classify(plain("blue", 9), probe=path).label == "blue"
    assert suite.classify(plain("red", 9), probe=probe).label == "red"
    with pytest.raises(pm.SpaceMismatch):
        pm.Suite(pm.MockEmbedder("other")).classify(plain("red"), probe=path)


def test_pairs_are_matched_from_a_list_and_from_a_table(suite: pm.Suite, tmp_path: Path) -> None:
    path = save(plain("red"), tmp_path / "red.png")
    (tmp_path / "pairs.csv").write_text("image,text\nred.png,red\nred.png,blue\nnone.png,red\n")
    from_table = suite.match_pairs(tmp_path / "pairs.csv", threshold=0.5)
    listed = suite.match_pairs([(path, "red"), (path, "blue"), ("none.png", "red")], threshold=0.5)
    for found in (from_table, listed):
        answers = [item.matches if isinstance(item, pm.Match) else None for item in found]
        assert answers == [True, False, None]
    assert suite.match(path, "red").probability > 0.9


def test_texts_alone_may_be_one_text(suite: pm.Suite) -> None:
    assert suite.embed(texts="red").vectors.shape == (1, 64)
    assert suite.embed(images=plain("red")).vectors.shape == (1, 64)


def test_limits_of_the_suite_reach_every_verb() -> None:
    suite = pm.Suite(pm.MockEmbedder(), limits=pm.Limits(max_pixels=100))
    (found,) = suite.classify([plain("red")], ["red"])
    assert isinstance(found, pm.ItemError)
    assert found.kind == "MediaTooLarge"
    assert suite.embed(images=[plain("red")]).errors[0].kind == "MediaTooLarge"
    with pytest.raises(pm.MediaTooLarge):
        suite.moderate(plain("red"))


def test_a_wrong_device_is_refused() -> None:
    with pytest.raises(pm.UsageError, match="'tpu'"):
        pm.Suite(device="tpu").embedder()  # type: ignore[arg-type]


def test_cache_and_journal_live_in_the_home_and_nothing_is_made_before_it_is_used(
    tmp_path: Path,
) -> None:
    suite = pm.Suite(home=tmp_path / "home")
    assert suite.cache is not None
    assert suite.journal is not None
    assert suite.cache is suite.cache
    assert suite.cache.path.parent == suite.journal.path.parent == tmp_path / "home"
    assert not (tmp_path / "home").exists()


def test_cache_and_journal_are_off_when_asked_and_elsewhere_when_named(tmp_path: Path) -> None:
    off = pm.Suite(cache=False, journal=False)
    assert off.cache is None
    assert off.journal is None
    named = pm.Suite(cache=tmp_path / "c", journal=pm.Journal(tmp_path / "j"))
    assert named.cache is not None
    assert named.journal is not None
    assert (named.cache.path, named.journal.path) == (tmp_path / "c", tmp_path / "j")
