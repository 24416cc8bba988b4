"""One JSON value out of a model's answer, or none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.tasks.answers_json import NotJsonError, json_in

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)
CONTAINERS = VALUES.filter(lambda value: isinstance(value, dict | list))
PROSE = st.text(st.sampled_from("abc XYZ.,:!?\n"), max_size=40)


@settings(deadline=None)
@given(VALUES)
def test_json_alone_comes_back_as_it_is(value):
    assert json_in(f" \n{json.dumps(value)}\n") == value


@settings(deadline=None)
@given(CONTAINERS, PROSE, PROSE, st.sampled_from(["", "json", "JSON"]))
def test_json_in_one_fenced_block_comes_back(value, before, after, language):
    text = f"{before}\n```{language}\n{json.dumps(value, indent=1)}\n```\n{after}"
    assert json_in(text) == value


@settings(deadline=None)
@given(CONTAINERS, PROSE, PROSE)
def test_json_between_words_comes_back(value, before, after):
    assert json_in(f"{before}{json.dumps(value)}{after}") == value


@settings(deadline=None)
@given(CONTAINERS, CONTAINERS, PROSE)
def test_two_values_are_never_decided_between(one, two, between):
    text = f"either {json.dumps(one)} {between} {json.dumps(two)}"
    with pytest.raises(NotJsonError):
        json_in(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_value_or_refused(text):
    try:
        value = json_in(text)
    except NotJsonError:
        return
    json.dumps(value, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("I cannot see that.", "not valid JSON"),
        ('{"a": 1, "a": 1}', "'a' stands twice"),
        ('{"a": [{"b": 1, "b": 2}]}', "'b' stands twice"),
        ('{"a": NaN}', "NaN is not"),
        ('{"a": -Infinity}', "-Infinity is not"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"a": 1', "does not end"),
        ('{"a": [1]', "near"),
        ('Sure! {"a": 1', "does not end"),
        ("{'a': 1}", "near"),
        ('{"a": 1,}', "near"),
        ('{"a": "\\ud800"}', "not valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('```json\n{"a": 1}\n```\n```json\n{"a": 2}\n```', "2 fenced blocks"),
        ('```json\n{"a": 1}\n```\nor {"a": 2}', "beside the fenced block"),
        ("```python\n{'a': 1}\n```", "is python"),
        ('{"a": 1} {"a": 2}', "near"),
        ('[1] is what I meant by {"a": 1}', "near"),
    ],
)
def test_what_is_not_one_valid_value_is_refused_with_the_reason(text, reason):
    with pytest.raises(NotJsonError, match=reason):
        json_in(text)


def test_a_message_for_the_model_is_short_even_for_a_long_answer():
    with pytest.raises(NotJsonError) as caught:
        json_in('{"a": ' + "x" * 100_000 + "}")
    assert len(str(caught.value)) < 200
