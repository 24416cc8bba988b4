"""What a filter means (`matches`), how it is written (`describe`), and the dict form."""

from __future__ import annotations

import math

import pytest
from filter_strategies import FILTERS, METADATA
from hypothesis import given
from hypothesis import strategies as st

from polymodal.errors import FilterSyntaxError, UsageError
from polymodal.search.filter_parser import MAX_DEPTH, parse
from polymodal.search.filters import (
    And,
    Comparison,
    Contains,
    Exists,
    In,
    Not,
    Or,
    describe,
    field_values,
    fields,
    kinds,
    matches,
    to_filter,
    unknown,
)

SAREE = {
    "price": 1999,
    "weight": 0.5,
    "category": "saree",
    "title": "Red Silk Saree, straße",
    "tags": ["Festive", "silk", 7],
    "new": True,
    "spec": {"size": 42, "care": {"wash": "cold"}},
    "offers": [{"shop": "A", "cost": 5}, {"shop": "B", "cost": 9}],
    "nothing": None,
    "empty": [],
    "hollow": {},
    "zero": 0,
    "blank": "",
}

HOLDS = [
    "price < 2000",
    "price <= 1999 and price >= 1999",
    "price = 1999.0",
    "weight > 0.4",
    'category = "saree"',
    'category != "jeans"',
    'category in ("jeans", "saree")',
    "price in (1, 1999)",
    'title contains "silk"',
    'title contains "STRASSE"',
    'title contains "d sil"',
    'tags = "silk"',
    "tags > 6",
    'tags contains "FEST"',
    "new = true",
    "new != false",
    "spec.size = 42",
    'spec.care.wash = "cold"',
    "spec exists",
    "offers.cost > 8 and offers.cost < 6",  # any value may satisfy each condition
    'offers.shop = "B"',
    "zero exists",
    "blank exists",
    'blank = ""',
    'blank contains ""',
    "nothing is null",
    "empty is null and hollow is null and missing is null",
    "not missing exists",
    "missing != 5",
    "not missing < 5",
    "not (missing < 5 or price > 5000)",
    'missing not in ("a", "b")',
    'missing not contains "a"',
    'category = "jeans" or price < 2000',
    'category = "jeans" and price > 5000 or new = true',
]

FAILS = [
    "price < 1999",
    'category = "Saree"',  # exact, with its case
    'category = "sare"',
    'price = "1999"',  # types do not convert
    "category < 5",
    "category = 5",
    "new = 1",
    "zero = false",
    'new = "true"',
    'price contains "19"',
    "missing < 5",
    "missing > 5",
    "missing = 5",
    "missing exists",
    "nothing exists",
    "empty exists",
    "hollow exists",
    "nothing = 0",
    "category in ()",
    "spec = 42",
    'tags != "silk"',  # the negation of: any value equals
    'category = "jeans" and (price > 5000 or new = true)',
]


@pytest.mark.parametrize("expression", HOLDS)
def test_condition_holds(expression: str) -> None:
    assert matches(parse(expression), SAREE)


@pytest.mark.parametrize("expression", FAILS)
def test_condition_does_not_hold(expression: str) -> None:
    assert not matches(parse(expression), SAREE)


def test_a_flat_key_with_a_dot_and_a_nested_object_are_one_field() -> None:
    assert matches(parse("spec.size = 42"), {"spec.size": 42})
    assert matches(parse("spec.size = 42"), {"spec": {"size": 42}})


def test_numbers_beyond_a_64_bit_float_do_not_fail() -> None:
    assert matches(parse("a > 5"), {"a": 10**400})
    assert matches(parse("a > 5"), {"a": math.inf})
    assert not matches(parse("a > 5"), {"a": -math.inf})
    assert not matches(parse("a > 5 or a <= 5"), {"a": math.nan})


def test_decomposed_and_composed_letters_contain_each_other() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert matches(Contains("a", composed), {"a": decomposed.upper()})
    assert matches(Contains("a", decomposed), {"a": composed.upper()})


def test_deeply_nested_metadata_do_not_recurse() -> None:
    metadata: dict[str, object] = {"leaf": 1}
    for _ in range(200):
        metadata = {"a": metadata}
    assert matches(Comparison(".".join(["a"] * 200) + ".leaf", "=", 1), metadata)


def test_field_values_keep_order_and_flatten_lists() -> None:
    values = field_values({"b": [1, [2, {"c": 3}]], "a": "x"})
    assert values == {"b": [1, 2], "b.c": [3], "a": ["x"]}
    assert list(values) == ["b", "b.c", "a"]


def test_kinds_name_the_type_of_each_field() -> None:
    assert kinds(
        {"p": 5, "w": 0.5, "c": "x", "n": False, "t": ["a"], "m": None, "o": {"k": 1}}
    ) == {
        "p": "number",
        "w": "number",
        "c": "text",
        "n": "bool",
        "t": "text",
        "o.k": "number",
    }


def test_unknown_field_is_named_with_the_nearest() -> None:
    known = ["Price", "category", "spec.size"]
    found = unknown(parse("pirce < 5 and spec exists and zzz = 1 and category = 'x'"), known)
    assert found == (
        "no item has a field 'pirce'; did you mean 'Price'?",
        "no item has a field 'zzz'",
    )


def test_fields_are_listed_once_in_order() -> None:
    assert fields(parse("b = 1 or not (a = 2 and b in (3))")) == ("b", "a")


@given(FILTERS)
def test_description_parses_back_to_the_same_filter(tree) -> None:
    assert parse(describe(tree)) == tree


@given(FILTERS, METADATA)
def test_negation_is_the_complement(tree, metadata) -> None:
    assert matches(Not(tree), metadata) is not matches(tree, metadata)


# The dict form.

DICTS = [
    ({"category": "saree"}, 'category = "saree"'),
    ({"price": {"lt": 2000, "gte": 10}}, "price < 2000 and price >= 10"),
    (
        {"price": {"lt": 2000, "gte": 10}, "category": "saree"},
        'price < 2000 and price >= 10 and category = "saree"',
    ),
    ({"price": {"eq": 5}}, "price = 5"),
    ({"price": {"ne": 5}}, "price != 5"),
    ({"price": {"gt": 5, "lte": 9}}, "price > 5 and price <= 9"),
    ({"or": [{"a": 1}, {"b": 2}]}, "a = 1 or b = 2"),
    ({"and": [{"a": 1}, {"b": 2}], "c": 3}, "(a = 1 and b = 2) and c = 3"),
    ({"not": {"a": 1, "b": 2}}, "not (a = 1 and b = 2)"),
    ({"colour": {"in": ["red", "blue"]}}, 'colour in ("red", "blue")'),
    ({"colour": {"not_in": ["red"]}}, 'colour not in ("red")'),
    ({"title": {"contains": "silk"}}, 'title contains "silk"'),
    ({"size": {"exists": True}}, "size exists"),
    ({"size": {"exists": False}}, "size is null"),
    ({"size": None}, "size is null"),
    ({"size": {"ne": None}}, "size is not null"),
    ({"new": True}, "new = true"),
    ({"or": ["a = 1", {"b": 2}]}, "a = 1 or b = 2"),
]


@pytest.mark.parametrize(("where", "expression"), DICTS)
def test_dict_means_the_same_as_the_expression(where, expression) -> None:
    tree = to_filter(where)
    assert tree is not None
    assert parse(describe(tree)) == parse(describe(parse(expression)))


def test_numpy_numbers_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    assert to_filter({"price": {"lt": np.float32(5)}}) == Comparison("price", "<", 5.0)
    assert to_filter({"price": {"in": [np.int64(5)]}}) == In("price", (5,))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"price": {"less": 5}}, "unknown operator"),
        ({"price": {"$lt": 5}}, 'did you mean "lt"?'),
        ({"price": {"<": 5}}, 'did you mean "lt"?'),
        ({"price": {"contain": "x"}}, 'did you mean "contains"?'),
        ({"spec": {"size": 42}}, '"spec.size"'),
        ({"price": {}}, "no condition"),
        ({"price": {"lt": "cheap"}}, "orders numbers"),
        ({"price": {"lt": True}}, "orders numbers"),
        ({"price": {"lt": None}}, "null"),
        ({"price": {"lt": math.nan}}, "not a number"),
        ({"price": {"lt": 10**400}}, "300 digits"),
        ({"colour": ["red"]}, '{"in": [...]}'),
        ({"colour": {"in": "red"}}, "takes a list"),
        ({"title": {"contains": 5}}, "looks for text"),
        ({"size": {"exists": "yes"}}, "true or false"),
        ({"a": object()}, "compared with a object"),
        ({"or": {"a": 1}}, "takes a list"),
        ({"or": []}, "takes a list"),
        ({"not": {}}, "empty filter"),
        ({5: 1}, "field names"),
        (5, "an expression or a dict"),
    ],
)
def test_wrong_dict_is_a_usage_error_that_says_why(where, said) -> None:
    with pytest.raises(UsageError) as caught:
        to_filter(where)
    assert said in str(caught.value)


def test_dict_nested_too_deeply_is_refused() -> None:
    where: dict[str, object] = {"a": 1}
    for _ in range(MAX_DEPTH + 10):
        where = {"not": where}
    with pytest.raises(UsageError, match="levels deep"):
        to_filter(where)


def test_nothing_to_filter_is_none_but_an_empty_expression_is_an_error() -> None:
    assert to_filter(None) is None
    assert to_filter({}) is None
    with pytest.raises(FilterSyntaxError):
        to_filter("  ")


def test_a_tree_passes_through() -> None:
    tree = And((Exists("a"), Or((In("b", (1,)), Contains("c", "x")))))
    assert to_filter(tree) is tree


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3))
def test_plain_equalities_of_any_dict_match_that_dict(metadata) -> None:
    reserved = {key: metadata.pop(key) for key in ("and", "or", "not") if key in metadata}
    tree = to_filter(
        {
            key: value
            for key, value in metadata.items()
            if not isinstance(value, int) or abs(value) < 2**53
        }
    )
    assert tree is None or matches(tree, {**metadata, **reserved})
