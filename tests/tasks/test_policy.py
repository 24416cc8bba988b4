from __future__ import annotations

from pathlib import Path

import pytest

from polymodal.errors import PolicyError
from polymodal.tasks.policy import Policy, open_policy, parse_policy, policy_names

GOOD = """
description = "Only red pictures."

[[criteria]]
name = "red"
approve = true
texts = ["a red picture"]
threshold = 0.5

[[criteria]]
name = "too dark"
approve = false
measure = { name = "brightness", none = 0.5, full = 0.1 }
"""


def test_the_policies_that_ship_are_valid() -> None:
    assert policy_names() == ["photo-quality", "safe-for-shop"]
    for name in policy_names():
        policy = open_policy(name)
        assert policy.name == name
        assert policy.description


def test_photo_quality_asks_what_it_should() -> None:
    criteria = {each.name: each.approve for each in open_policy("photo-quality").criteria}
    assert criteria == {
        "clean product photo": True,
        "blurry": False,
        "cluttered": False,
        "worn by a person": False,
        "watermark": False,
        "too dark": False,
    }


def test_a_file_is_a_policy_named_after_it(tmp_path: Path) -> None:
    (tmp_path / "reds.toml").write_text(GOOD)
    policy = open_policy(tmp_path / "reds.toml")
    assert policy.name == "reds"
    assert [criterion.name for criterion in policy.criteria] == ["red", "too dark"]
    assert open_policy(policy) is policy


def test_texts_default_to_the_name_and_contrast_to_the_other_side() -> None:
    policy = parse_policy(
        '[[criteria]]\nname = "a dress"\napprove = true\n'
        '[[criteria]]\nname = "a person"\napprove = false\n',
        "p.toml",
    )
    dress, person = policy.criteria
    assert policy.texts_of(dress) == ("a dress",)
    assert policy.contrast_of(dress) == ("a person",)
    assert policy.contrast_of(person) == ("a dress",)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("threshold = 0.5", "treshold = 0.5", r"criteria\[0\]\.treshold: .*mean 'threshold'"),
        ("threshold = 0.5", "threshold = 5", r"criteria\[0\]\.threshold: .*less than or equal"),
        ("approve = true", "", r"criteria\[0\]\.approve: is missing"),
        ('name = "red"', 'name = ""', r"criteria\[0\]\.name"),
        ('"brightness"', '"brighness"', r"criteria\[1\]\.measure\.name: .*mean 'brightness'"),
        ("none = 0.5", "nome = 0.5", r"criteria\[1\]\.measure\.nome: .*mean 'none'"),
        ("full = 0.1", "full = 0.5", r"criteria\[1\]\.measure: none and full must differ"),
        ('"too dark"', '"red"', "'red' is there twice"),
        ("description", "descripton", "descripton: .*mean 'description'"),
        ("[[criteria]]", "[criteria]", "is not TOML"),
        ("threshold = 0.5", "threshold =", "is not TOML"),
    ],
)
def test_a_mistake_names_file_and_key(old: str, new: str, complaint: str) -> None:
    with pytest.raises(PolicyError, match=complaint) as caught:
        parse_policy(GOOD.replace(old, new, 1), "here/reds.toml")
    assert "here/reds.toml" in str(caught.value)


def test_a_policy_without_criteria_is_refused() -> None:
    for text in ("", 'criteria = "red"', "criteria = []"):
        with pytest.raises(PolicyError, match=r"criteria: a policy needs at least one table"):
            parse_policy(text, "empty.toml")


def test_a_wrong_criterion_is_not_also_reported_as_missing() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy('[[criteria]]\nname = "red"\napprove = true\ntexts = "red"\n', "p.toml")
    assert str(caught.value).endswith(r"criteria[0].texts: Input should be a list in [ ].")


def test_a_lone_criterion_needs_contrast() -> None:
    with pytest.raises(PolicyError, match="'nice' needs contrast"):
        parse_policy('[[criteria]]\nname = "nice"\napprove = true\n', "p.toml")


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(GOOD.replace("threshold", "a").replace("description", "b"), "p.toml")
    assert "criteria[0].a" in str(caught.value)
    assert "b: there is no such key" in str(caught.value)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(PolicyError, match=r"'photo-qualty'.*mean 'photo-quality'"):
        open_policy("photo-qualty")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        open_policy(tmp_path)


def test_a_policy_can_be_made_in_code() -> None:
    policy = Policy.model_validate(
        {"name": "p", "criteria": [{"name": "a", "approve": True, "contrast": ["b"]}]}
    )
    assert open_policy(policy).criteria[0].threshold == 0.5
