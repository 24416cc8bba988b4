"""Cascades: thresholds that hold what they promise, cases that stop where they should, files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import polymodal as pm
from polymodal.errors import (
    BudgetExceeded,
    ItemsFailed,
    ModelError,
    PolymodalError,
    StorageError,
    UsageError,
)
from polymodal.results_cascades import Decision
from polymodal.runtime.intervals import binomial_tail
from polymodal.runtime.judging import Case, Judged
from polymodal.suite_judging import OpenCascade
from polymodal.tasks.cascade_cases import read_cases
from polymodal.tasks.cascade_file import Cascade, Tier, cascade_names, open_cascade, save_cascade
from polymodal.tasks.cascade_fit import Cut, choose, replay
from tests.tasks.pictures import plain


class Knowing:
    """A judge that gives the scores it was told, by the case's text; keeps what it is asked."""

    provenance = pm.Provenance("knowing", "1")

    def __init__(self, scores: dict[str, float | PolymodalError], *, cost_usd: float = 0.0) -> None:
        self.scores = scores
        self.cost_usd = cost_usd
        self.asked: list[str] = []

    def judge(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Judged | PolymodalError]]:
        for case in cases:
            self.asked.append(case.text)
            score = self.scores[case.text]
            yield case, score if isinstance(score, PolymodalError) else Judged(score, self.cost_usd)


def cascade(*tiers: Tier) -> Cascade:
    return Cascade(name="test", task="match", tiers=tiers)


CHEAP = Tier(name="cheap", by="embedder", accept=0.9, reject=0.1)
TOP = Tier(name="top", by="embedder")


def opened(cheap: Knowing, top: Knowing, *tiers: Tier) -> OpenCascade:
    return OpenCascade(cascade(*(tiers or (CHEAP, TOP))), (cheap, top))


def test_only_the_undecided_go_up() -> None:
    cheap = Knowing({"yes": 0.95, "no": 0.05, "unsure": 0.5, "edge": 0.9})
    top = Knowing({"unsure": 0.7})
    cases = [(plain("red"), text) for text in ("yes", "unsure", "no", "edge")]
    running = opened(cheap, top).run(cases)
    found = list(running)
    assert top.asked == ["unsure"]
    assert [(each.yes, each.tier) for each in found if isinstance(each, Decision)] == [
        (True, "cheap"),
        (True, "top"),
        (False, "cheap"),
        (True, "cheap"),
    ]
    assert found[1].scores == {"cheap": 0.5, "top": 0.7}  # type: ignore[union-attr]
    report = running.report
    assert [(tier.asked, tier.decided) for tier in report.tiers] == [(4, 3), (1, 1)]


def test_a_case_that_fails_at_a_tier_fails_alone() -> None:
    cheap = Knowing({"a": 0.5, "b": 0.5, "c": 0.95})
    top = Knowing({"a": BudgetExceeded("not sent: it could cost more"), "b": 0.2})
    running = opened(cheap, top).run([(plain("red"), text) for text in "abc"])
    found = list(running)
    assert [type(each) for each in found] == [pm.ItemError, Decision, Decision]
    assert found[0].kind == "BudgetExceeded"  # type: ignore[union-attr]
    assert [tier.failed for tier in running.report.tiers] == [0, 1]


def test_what_is_saved_is_counted_against_asking_the_top_about_everything() -> None:
    cheap = Knowing({"sure": 0.95, "unsure": 0.5})
    top = Knowing({"unsure": 0.9}, cost_usd=0.02)
    running = opened(cheap, top).run([(plain("red"), t) for t in ["sure"] * 9 + ["unsure"]])
    list(running)
    report = running.report
    assert report.cost_usd == pytest.approx(0.02)
    assert report.top_cost_usd == pytest.approx(0.2)
    assert report.to_dict()["saved_usd"] == pytest.approx(0.18)


def test_time_is_saved_by_the_share_that_fitting_measured() -> None:
    cheap = Knowing({"sure": 0.95, "unsure": 0.5})
    tiers = (
        CHEAP.model_copy(update={"seconds": 0.1}),
        Tier(name="top", by="embedder", seconds=1.0),
    )
    cases = [(plain("red"), text) for text in ["sure"] * 9 + ["unsure"]]
    running = opened(cheap, Knowing({"unsure": 0.9}), *tiers).run(cases)
    list(running)
    report = running.report
    assert report.top_seconds is not None
    # Ten at 0.1 s and one at 1 s, of ten at 1 s each; both as fast as they were here.
    assert report.seconds / report.top_seconds == pytest.approx(2.0 / 10.0)


def test_results_stream_out_before_the_input_ends() -> None:
    class Everything(dict[str, float]):
        def __missing__(self, text: str) -> float:
            return 0.95

    taken = []

    def cases() -> Iterator[tuple[object, str]]:
        for number in range(100_000):
            taken.append(number)
            yield plain("red"), str(number)

    running = iter(opened(Knowing(Everything()), Knowing({})).run(cases()))
    next(running)
    assert len(taken) < 1000


@pytest.mark.parametrize(
    ("correct", "total", "share"),
    [
        (50, 50, 0.95),
        (98, 100, 0.9),
        (3, 9, 0.5),
        (800, 1000, 0.95),
        (9_620, 10_000, 0.95),
        (0, 5, 0.9),
    ],
)
def test_the_tail_is_that_of_the_binomial_distribution(
    correct: int, total: int, share: float
) -> None:
    assert binomial_tail(correct, total, share) == pytest.approx(
        stats.binom.sf(correct - 1, total, share), rel=1e-9
    )


def noisy(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a cheap and a better judge, whose probabilities are what they say."""
    truth = rng.random(cases) < 0.5
    logit = np.where(truth, 2.2, -2.2) + rng.normal(size=cases) * 1.7
    better = np.where(truth, 4.0, -4.0) + rng.normal(size=cases) * 1.7
    return stats.logistic.cdf(np.stack([logit, better], 1)), truth


def test_thresholds_hold_their_target_on_cases_they_never_saw() -> None:
    rng = np.random.default_rng(0)
    fresh, truth = noisy(rng, 100_000)
    rounds, chosen, missed = 40, 0, 0
    for _ in range(rounds):
        cut = choose(*noisy(rng, 1200), target=0.9)[0]
        if cut.accept is not None:
            chosen += 1
            missed += truth[fresh[:, 0] >= cut.accept].mean() < 0.9
        if cut.reject is not None:
            chosen += 1
            missed += (~truth)[fresh[:, 0] <= cut.reject].mean() < 0.9
    assert chosen > rounds
    # 95 % of the time is promised: of 80, four may miss, by chance a few more.
    assert missed <= 8


def test_a_target_that_few_cases_cannot_show_leaves_all_to_the_top() -> None:
    scores, truth = noisy(np.random.default_rng(1), 60)
    assert choose(scores, truth, 0.99)[0] == Cut(None, None)


def test_a_tier_that_is_always_right_decides_everything() -> None:
    truth = np.arange(400) % 2 == 0
    scores = np.stack([np.where(truth, 0.8, 0.2), np.full(400, 0.5)], 1)
    cuts = choose(scores, truth, 0.95)
    yes, tiers = replay(scores, cuts)
    assert (yes == truth).all()
    assert not tiers.any()


def test_fitting_gains_on_the_cheap_tier_at_less_than_the_price_of_the_top() -> None:
    scores, truth = noisy(np.random.default_rng(2), 2000)
    texts = [str(number) for number in range(len(truth))]
    cheap = Knowing(dict(zip(texts, map(float, scores[:, 0]), strict=True)))
    top = Knowing(dict(zip(texts, map(float, scores[:, 1]), strict=True)), cost_usd=0.01)
    pictures = [plain("red", seed) for seed in range(8)]
    cases = [
        (pictures[n % 8], t, bool(y)) for n, (t, y) in enumerate(zip(texts, truth, strict=True))
    ]
    fitted = opened(cheap, top).fit(cases, target_precision=0.95)
    report = fitted.report
    assert report.priced
    assert report.cost_share < 0.9
    assert report.tiers[0].alone < report.right[0] / report.cases
    assert report.early[0] / report.early[1] > 0.93
    assert fitted.cascade.tiers[1].cost_usd == pytest.approx(0.01)
    assert 0.0 < fitted.cascade.tiers[0].reject < fitted.cascade.tiers[0].accept < 1.0  # type: ignore[operator]


def test_a_case_that_a_tier_cannot_judge_is_left_out_of_the_fit_and_named() -> None:
    scores = {str(n): 0.9 if n % 2 else 0.1 for n in range(60)}
    broken = {**scores, "7": UsageError("cannot be judged")}
    cases = [(plain("red", n), str(n), bool(n % 2)) for n in range(60)]
    fitted = opened(Knowing(scores), Knowing(broken)).fit(cases, target_precision=0.8)
    assert [each.reason for each in fitted.errors] == ["cannot be judged"]
    assert fitted.report.cases == 59


def test_a_tier_that_fails_on_all_is_named_with_its_first_reason() -> None:
    names = [str(n) for n in range(60)]
    scores: dict[str, float | PolymodalError] = dict.fromkeys(names, 0.5)
    broken: dict[str, float | PolymodalError] = {
        each: ModelError("openai:x", "rejected", f"the key is revoked ({each}).") for each in names
    }
    cases = [(plain("red", n), str(n), bool(n % 2)) for n in range(60)]
    with pytest.raises(ItemsFailed) as told:
        opened(Knowing(scores), Knowing(broken)).fit(cases)
    assert str(told.value) == (
        "fitting needs 40 cases or more that every tier judges, some true and some not; these are"
        " 0, 0 of them true. The tier 'top' failed on 60 of 60 cases, at first with:"
        " openai:x: the key is revoked (0). Mend that and fit again, or fit without that tier."
    )
    assert told.value.exit_code == 1
    some = {each: broken[each] if int(each) < 30 else 0.5 for each in names}
    with pytest.raises(ItemsFailed, match=r"these are 30, 15 .* 'top' failed on 30 of 60 cases"):
        opened(Knowing(scores), Knowing(some)).fit(cases)


@pytest.mark.parametrize(
    ("labels", "target", "complaint"),
    [
        ([True] * 60, 0.9, "some true and some not"),
        ([True, False] * 5, 0.9, "needs 40 cases"),
        ([True, False] * 30, 1.5, "share from 0.5 to 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    labels: list[bool], target: float, complaint: str
) -> None:
    judge = Knowing({"x": 0.5})
    cases = [(plain("red"), "x", label) for label in labels]
    with pytest.raises(UsageError, match=complaint):
        opened(judge, judge).fit(cases, target_precision=target)


def test_a_written_cascade_is_read_as_it_was(tmp_path: Path) -> None:
    whole = Cascade(
        name='a "quoted" name',
        description="ä, ü and a tab\t",
        task="moderate",
        policy="photo-quality",
        fitted="on 12 cases",
        tiers=(
            Tier(name="one", by="measured", reject=0.1 + 0.2, seconds=1e-05),
            Tier(name="two", by="generator", model="openai:x@http://y", accept=0.5, cost_usd=0.0),
        ),
    )
    save_cascade(whole, tmp_path / "c.toml")
    assert open_cascade(tmp_path / "c.toml") == whole
    with pytest.raises(StorageError, match="cannot write"):
        save_cascade(whole, tmp_path / "nowhere" / "c.toml")


@pytest.mark.parametrize("name", ["listing", "moderation"])
def test_the_cascades_that_ship_are_fitted(name: str) -> None:
    assert name in cascade_names()
    found = open_cascade(name)
    assert found.fitted
    assert any(tier.accept is not None or tier.reject is not None for tier in found.tiers[:-1])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('task = "match"', "tiers: a cascade needs at least one table"),
        ('task = "match"\n[[tiers]]\nname = "a"\nby = "embedder"\nacept = 0.9', "'accept'"),
        ('task = "match"\n[[tiers]]\nname = "a"\nby = "measured"', "judges a policy"),
        ('task = "moderate"\n[[tiers]]\nname = "a"\nby = "embedder"', "needs one"),
        (
            'task = "match"\n[[tiers]]\nname = "a"\nby = "views"\nreject = 0.2\naccept = 0.1',
            r"must lie under accept \(0.1\)",
        ),
        ("task =", "is not TOML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_its_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(UsageError, match=complaint) as error:
        open_cascade(tmp_path / "wrong.toml")
    assert "wrong.toml" in str(error.value)


def test_an_unknown_cascade_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'listing'"):
        open_cascade("listings")


def test_one_more_tier_on_top_judges_what_the_last_left() -> None:
    fitted = cascade(CHEAP, Tier(name="views", by="views", accept=0.4))
    grown = fitted.with_top("openai:gpt-5.4-mini")
    assert [tier.by for tier in grown.tiers] == ["embedder", "views", "generator"]
    assert grown.tiers[1].accept is None  # it was chosen to decide everything
    assert grown.tiers[0] == CHEAP
    assert cascade(CHEAP).with_top("mock").tiers[0] == CHEAP  # both were chosen for a tier below


def test_labels_are_read_in_the_words_people_use(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "image,title,approved\na.png,red,yes\nb.png,blue,No\nc.png,x,\n"
    )
    found = read_cases(tmp_path / "t.csv")
    assert [(case.text, case.label) for case in found] == [
        ("red", True),
        ("blue", False),
        ("x", None),
    ]
    assert found[0].image == str(tmp_path / "a.png")
    with pytest.raises(UsageError, match="row 3: approved is empty"):
        read_cases(tmp_path / "t.csv", labelled=True)
    (tmp_path / "u.csv").write_text("image,text,label\na.png,red,perhaps\n")
    with pytest.raises(UsageError, match="row 1: the label 'perhaps'"):
        read_cases(tmp_path / "u.csv")


def test_time_is_measured_around_the_judge() -> None:
    class Slow(Knowing):
        def judge(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Judged | PolymodalError]]:
            for each in super().judge(cases):
                time.sleep(0.02)
                yield each

    running = opened(Slow({"a": 0.95}), Knowing({})).run([(plain("red"), "a")] * 3)
    list(running)
    assert running.report.seconds >= 0.06
    assert running.report.top_seconds is None
