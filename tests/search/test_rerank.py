"""Search with the first hits ordered anew: by a judge, a generator, another embedder."""

from pathlib import Path

import pytest

import polymodal as pm
from polymodal.errors import UsageError
from polymodal.runtime.judging import Judged
from tests.search.store_shop import draw, open_shop

COLOURS = ("red", "orange", "yellow", "green", "blue")


class Backwards:
    """Likes best what the search liked least."""

    provenance = pm.Provenance("backwards", "1")

    def __init__(self):
        self.seen = []

    def judge(self, cases):
        for place, case in enumerate(cases):
            self.seen.append((Path(case.image).stem, case.text))
            yield case, Judged(place / len(cases))


@pytest.fixture
def shop(tmp_path):
    with open_shop(tmp_path / "shop") as shop:
        shop.add([draw(tmp_path / "p" / f"{name}.png", name) for name in COLOURS])
        yield shop


def names(result):
    return [Path(hit.path).stem for hit in result]


def test_the_first_hits_come_in_the_judges_order_and_the_rest_as_found(shop):
    plain = shop.search("red", k=5)
    judge = Backwards()
    again = shop.search("red", k=5, rerank=judge, top=3)
    assert names(again) == [*names(plain)[2::-1], *names(plain)[3:]]
    assert judge.seen == [(name, "red") for name in names(plain)[:3]]
    assert [hit.first_score for hit in again.hits[:3]] == [h.score for h in plain.hits[2::-1]]
    assert again.hits[0].score == pytest.approx(2 / 3)
    assert again.hits[4].first_score is None
    assert again.ranked_by == judge.provenance
    assert "first 3 hits are ordered by backwards@1" in again.notes[-1]
    assert plain.ranked_by is None


def test_what_a_page_shows_is_cut_after_the_hits_are_ordered(shop):
    whole = shop.search("red", k=5, rerank=Backwards())
    assert names(shop.search("red", k=2, rerank=Backwards())) == names(whole)[:2]
    assert names(shop.search("red", k=2, offset=2, rerank=Backwards())) == names(whole)[2:4]


def test_a_hit_whose_picture_is_gone_stands_behind_and_a_note_names_it(shop, tmp_path):
    (tmp_path / "p" / "red.png").unlink()
    generator = pm.MockGenerator(["yes"])
    suite = pm.Suite(pm.MockEmbedder(), home=tmp_path, cache=False)
    suite.generator = lambda name: generator
    shop._senses = suite.senses()
    found = shop.search("red", k=5, rerank="openai:any")
    assert names(found)[-1] == "red"
    assert found.hits[-1].first_score is None
    assert "1 of them could not be judged" in found.notes[-1]
    assert "red.png" in found.notes[-1]


def test_a_generators_yes_comes_before_its_no(shop, tmp_path):
    def answer(conversation, options):
        colour = pm.MockGenerator().generate([conversation])[0].text.split()[1]
        return "yes" if colour == "blue" else "no"

    suite = pm.Suite(pm.MockEmbedder(), home=tmp_path)
    suite.generator = lambda name: pm.MockGenerator(answer)
    shop._senses = suite.senses()
    plain = names(shop.search("red", k=5))
    found = shop.search("red", k=5, rerank="openai:any")
    assert names(found) == ["blue", *(name for name in plain if name != "blue")]
    assert suite.journal.calls(verb="judge")


def test_only_words_can_be_reranked_by(shop, tmp_path):
    with pytest.raises(UsageError, match="needs words"):
        shop.search(image=tmp_path / "p" / "red.png", rerank=Backwards())
    with pytest.raises(UsageError, match="1 hit or more"):
        shop.search("red", rerank=Backwards(), top=0)
    with pytest.raises(UsageError, match="cannot rerank"):
        shop.search("red", rerank="starter")
