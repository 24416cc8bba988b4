from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polymodal.errors import DamagedMedia, PolicyError, SpaceMismatch, UsageError
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.mock import MockEmbedder
from polymodal.results import Verdict
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.moderate import moderate
from polymodal.tasks.policy import Policy, open_policy, parse_policy
from polymodal.tasks.probe import Probe, train_probe
from tests.tasks.close import CloseMock
from tests.tasks.pictures import plain

POLICY = parse_policy(
    """
[[criteria]]
name = "red"
approve = true
contrast = ["blue"]
threshold = 0.6

[[criteria]]
name = "dark"
approve = false
measure = { name = "brightness", none = 0.4, full = 0.1 }
threshold = 0.5
""",
    "reds.toml",
)


def run(picture: object, policy: object = POLICY) -> Verdict:
    texts = TextVectors(MockEmbedder())
    ((_, outcome),) = moderate(texts, [picture], policy, limits=DEFAULT_LIMITS)  # type: ignore[list-item, arg-type]
    assert isinstance(outcome, Verdict)
    return outcome


def test_a_picture_that_meets_everything_is_approved() -> None:
    verdict = run(plain("red"))
    assert verdict.approved
    assert verdict.margin > 0
    assert verdict.policy == "reds"
    assert verdict.scores["red"] > 0.9


def test_the_criterion_that_is_furthest_on_the_wrong_side_decides() -> None:
    verdict = run(plain("blue"))
    assert not verdict.approved
    assert verdict.criterion == "red"
    assert verdict.margin == pytest.approx(verdict.scores["red"] - 0.6)
    assert verdict.margin < 0


def test_of_an_approved_picture_the_nearest_criterion_is_named() -> None:
    verdict = run(plain("red"))
    margins = {"red": verdict.scores["red"] - 0.6, "dark": 0.5 - verdict.scores["dark"]}
    assert verdict.criterion == min(margins, key=margins.__getitem__)
    assert verdict.margin == pytest.approx(min(margins.values()))


def test_a_measured_criterion_is_linear_between_its_two_values() -> None:
    for level in (0.05, 0.1, 0.25, 0.4, 0.8):
        shade = np.full((30, 30, 3), round(level * 255), np.uint8)
        expected = min(max((0.4 - level) / 0.3, 0.0), 1.0)
        assert run(shade).scores["dark"] == pytest.approx(expected, abs=0.01)


def test_the_explanation_says_what_was_measured() -> None:
    finding = run(np.full((30, 30, 3), 20, np.uint8)).findings[1]
    assert finding.criterion == "dark"
    assert not finding.passed
    assert finding.explanation == "brightness is 0.0784, which scores 1.00"


@pytest.mark.parametrize("combine", ["mean", "max", "min"])
def test_word_and_measure_are_combined_as_the_policy_says(combine: str) -> None:
    policy = parse_policy(
        f"""
[[criteria]]
name = "blue"
approve = false
contrast = ["red"]
measure = {{ name = "brightness", none = 1, full = 0, weight = 0.25, combine = "{combine}" }}
""",
        "p.toml",
    )
    black = np.zeros((30, 30, 3), np.uint8)
    # Black is as far from red as from blue: the model's word is one half.
    word = run(black, policy).scores["blue"]
    expected_black = {"mean": 0.25 + 0.75 * 0.5, "max": 1.0, "min": 0.5}[combine]
    assert word == pytest.approx(expected_black, abs=0.01)
    red = np.full((30, 30, 3), (215, 30, 40), np.uint8)
    share = 1 - float(red.reshape(-1, 3).mean(0) @ [0.299, 0.587, 0.114]) / 255
    expected_red = {"mean": 0.25 * share, "max": share, "min": 0.0}[combine]
    assert run(red, policy).scores["blue"] == pytest.approx(expected_red, abs=0.02)


def test_the_number_of_texts_does_not_tip_the_scale() -> None:
    def score(contrast: list[str]) -> float:
        policy = parse_policy(
            f'[[criteria]]\nname = "red"\napprove = true\ncontrast = {contrast}\n', "p.toml"
        )
        return run(plain("grey"), policy).scores["red"]

    assert score(["blue"]) == pytest.approx(score(["blue", "blue", "blue"]), abs=1e-6)


def test_one_broken_picture_fails_alone() -> None:
    texts = TextVectors(MockEmbedder())
    found = [
        o
        for _, o in moderate(
            texts, [plain("red"), b"", plain("blue")], POLICY, limits=DEFAULT_LIMITS
        )
    ]
    assert [type(outcome) for outcome in found] == [Verdict, DamagedMedia, Verdict]


def reds_and_blues() -> Probe:
    return train_probe(
        MockEmbedder(),
        {name: [plain(name, seed) for seed in range(3)] for name in ("blue", "red")},
        limits=DEFAULT_LIMITS,
    )


def asking_a_probe(folder: Path, label: str = "red", texts: str = "[]") -> Policy:
    (folder / "p.toml").write_text(
        f"""
[[criteria]]
name = "red"
approve = true
texts = {texts}
contrast = ["blue"]
probe = {{ file = "reds.probe", label = "{label}" }}
"""
    )
    return open_policy(folder / "p.toml")


def test_a_criterion_with_a_probe_scores_what_the_probe_says(tmp_path: Path) -> None:
    probe = reds_and_blues()
    probe.save(tmp_path / "reds.probe")
    policy = asking_a_probe(tmp_path)
    model = MockEmbedder()
    for colour in ("red", "blue", "green"):
        features = model.extract_features([model.preprocess(plain(colour))])
        expected = probe.probabilities(features)[0, probe.labels.index("red")]
        verdict = run(plain(colour), policy)
        assert verdict.scores["red"] == pytest.approx(expected, abs=1e-6)
        assert verdict.approved == (expected >= 0.5)
        assert verdict.findings[0].explanation == f"the probe says {expected:.2f}"


def test_close_and_plain_probes_are_asked_side_by_side(tmp_path: Path) -> None:
    pictures = {name: [plain(name, seed) for seed in range(3)] for name in ("blue", "red")}
    near = train_probe(CloseMock(), pictures, limits=DEFAULT_LIMITS)
    assert near.look is not None
    near.save(tmp_path / "near.probe")
    reds_and_blues().save(tmp_path / "far.probe")
    (tmp_path / "p.toml").write_text(
        "\n".join(
            f"""
[[criteria]]
name = "{name}"
approve = true
texts = []
contrast = []
probe = {{ file = "{name}.probe", label = "red" }}
"""
            for name in ("near", "far")
        )
    )
    policy = open_policy(tmp_path / "p.toml")
    model = CloseMock()
    picture = plain("red")
    ((_, verdict),) = moderate(TextVectors(model), [picture], policy, limits=DEFAULT_LIMITS)
    assert isinstance(verdict, Verdict)
    eye = model.close_up
    closely = near.probabilities(eye.extract_features([eye.preprocess(picture)]))[0, 1]
    assert verdict.scores["near"] == pytest.approx(closely, abs=1e-6)
    features = model.extract_features([model.preprocess(picture)])
    plainly = reds_and_blues().probabilities(features)[0, 1]
    assert verdict.scores["far"] == pytest.approx(plainly, abs=1e-6)


def test_a_probe_of_another_model_gives_way_to_texts_or_refuses(tmp_path: Path) -> None:
    reds_and_blues().save(tmp_path / "reds.probe")
    other = TextVectors(MockEmbedder("other"))

    def judged(policy: Policy) -> Verdict:
        ((_, outcome),) = moderate(other, [plain("red")], policy, limits=DEFAULT_LIMITS)
        assert isinstance(outcome, Verdict)
        return outcome

    verdict = judged(asking_a_probe(tmp_path, texts='["red"]'))
    assert verdict.scores["red"] > 0.9
    assert verdict.findings[0].explanation.startswith("its probe is of mock, so its texts were")
    with pytest.raises(SpaceMismatch, match="mock"):
        judged(asking_a_probe(tmp_path))


def test_a_policy_names_the_label_that_its_probe_does_not_have(tmp_path: Path) -> None:
    reds_and_blues().save(tmp_path / "reds.probe")
    with pytest.raises(PolicyError, match=r"'red'.*no label 'rad'.*blue, red"):
        run(plain("red"), asking_a_probe(tmp_path, label="rad"))
    (tmp_path / "reds.probe").unlink()
    with pytest.raises(UsageError, match="no probe file at"):
        run(plain("red"), asking_a_probe(tmp_path))
