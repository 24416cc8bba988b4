"""The filter language: what it accepts, and that its errors point at the character."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polymodal.errors import FilterSyntaxError
from polymodal.search.filter_parser import MAX_DEPTH, parse
from polymodal.search.filters import And, Comparison, Contains, Exists, In, Not, Or

A = Comparison("a", "=", 1)
B = Comparison("b", "=", 2)
C = Comparison("c", "=", 3)

ACCEPTED = [
    ("a = 1", A),
    ("a == 1", A),
    ("a=1", A),
    (" \n a\t=  1 ", A),
    ("a != 1", Comparison("a", "!=", 1)),
    ("a < 1.5", Comparison("a", "<", 1.5)),
    ("a <= -1", Comparison("a", "<=", -1)),
    ("a > +1", Comparison("a", ">", 1)),
    ("a >= 1e3", Comparison("a", ">=", 1000.0)),
    ("a = .5", Comparison("a", "=", 0.5)),
    ("a = 5.", Comparison("a", "=", 5.0)),
    ('a = "x"', Comparison("a", "=", "x")),
    ("a = 'x'", Comparison("a", "=", "x")),
    ('a = "it\'s"', Comparison("a", "=", "it's")),
    (r"a = 'it\'s'", Comparison("a", "=", "it's")),
    (r'a = "\"\\\n\t\u00e9\ud83d\ude00"', Comparison("a", "=", '"\\\n\té😀')),
    (r'a = "\ud83d"', Comparison("a", "=", "\ud83d")),
    ('a = "two\nlines"', Comparison("a", "=", "two\nlines")),
    ("a = true", Comparison("a", "=", True)),
    ("a = FALSE", Comparison("a", "=", False)),
    ("a = null", Not(Exists("a"))),
    ("a != NULL", Exists("a")),
    ("a is null", Not(Exists("a"))),
    ("a IS NOT NULL", Exists("a")),
    ("a exists", Exists("a")),
    ("a not exists", Not(Exists("a"))),
    ("exists(a)", Exists("a")),
    ("EXISTS ( `a b` )", Exists("a b")),
    ('a in ("x", 1, true)', In("a", ("x", 1, True))),
    ("a in ()", In("a", ())),
    ("a NOT IN (1)", Not(In("a", (1,)))),
    ("a contains 'x'", Contains("a", "x")),
    ("a not contains 'x'", Not(Contains("a", "x"))),
    ("spec.size = 1", Comparison("spec.size", "=", 1)),
    ("unit-price = 1", Comparison("unit-price", "=", 1)),
    ("größe = 1", Comparison("größe", "=", 1)),
    ("`unit price` = 1", Comparison("unit price", "=", 1)),
    ('"unit price" = 1', Comparison("unit price", "=", 1)),
    ("'unit price' = 1", Comparison("unit price", "=", 1)),
    (r"`back\`tick` = 1", Comparison("back`tick", "=", 1)),
    ("`and` = 1", Comparison("and", "=", 1)),
    ("android = 1", Comparison("android", "=", 1)),
    ("not a = 1", Not(A)),
    ("not not a = 1", Not(Not(A))),
    ("a = 1 and b = 2 and c = 3", And((A, B, C))),
    ("a = 1 or b = 2 and c = 3", Or((A, And((B, C))))),
    ("a = 1 AND b = 2 Or c = 3", Or((And((A, B)), C))),
    ("(a = 1 or b = 2) and c = 3", And((Or((A, B)), C))),
    ("not (a = 1 or b = 2)", Not(Or((A, B)))),
    ("not a = 1 and b = 2", And((Not(A), B))),
    ("((a = 1))", A),
]


@pytest.mark.parametrize(("expression", "tree"), ACCEPTED)
def test_expression_becomes_tree(expression, tree) -> None:
    assert parse(expression) == tree


def test_values_keep_their_type() -> None:
    for expression, kind in [("a = 1", int), ("a = 1.0", float), ("a = true", bool)]:
        tree = parse(expression)
        assert isinstance(tree, Comparison)
        assert type(tree.value) is kind


# expression, with ^ before the character that the error must point at; and what it must say
REFUSED = [
    ("^", "the filter is empty"),
    ("  ^", "the filter is empty"),
    ("price <^", "expected a value"),
    ("price ^", "expected a comparison"),
    ("new ^and a = 1", "new = true"),
    ("a = 1 or^", "expected a condition"),
    ("a = 1 ^b = 2", 'joined by "and"'),
    ("a = 1 ^&& b = 2", 'did you mean "and"?'),
    ("a = 1 ^|| b = 2", 'did you mean "or"?'),
    ("a = 1^, b = 2", 'did you mean "and"?'),
    ("^!a = 1", 'did you mean "not"?'),
    ("price < 2^,000", "without thousands separators"),
    ("price < 2000 ^rupees", "without its unit"),
    ("price < ^$2000", "without $"),
    ("price ^=< 5", 'did you mean "<="?'),
    ("price ^=> 5", 'did you mean ">="?'),
    ("price ^<> 5", 'did you mean "!="?'),
    ("price ^=== 5", 'did you mean "="?'),
    ("price^: 5", 'did you mean "="?'),
    ("price ^5", 'did you mean "="?'),
    ("price < ^= 5", "second sign"),
    ("category = ^saree", 'text needs quotes: "saree"'),
    ("category = ^red silk saree and a = 1", 'text needs quotes: "red silk saree"'),
    ("category ^saree", 'did you mean category = "saree"?'),
    ("category is ^'saree'", "expected null after is"),
    ("title ^like 'silk'", 'did you mean "contains"?'),
    ("title ^contians 'silk'", 'did you mean "contains"?'),
    ("price ^under 2000", 'did you mean "<"?'),
    ("price ^between 1 and 5", "price >= 10 and price <= 20"),
    ("unit ^price < 5", "`unit price`"),
    ("price < ^'cheap'", "expected a number"),
    ("price < ^true", "expected a number"),
    ("price ^< null", "null cannot be ordered"),
    ("^2000 > price", "the field stands first"),
    ("^in = 5", "a field of that name is written `in`"),
    ("(a = 1^", "close the ( at character 1"),
    ("a = 1^)", "closes nothing"),
    ("^)", "expected a field name"),
    ("(^)", "expected a field name"),
    ("a in ^'x'", "expected ( after in"),
    ("a in ^('x'", "the list that opens here"),
    ("a in ('x' ^'y')", "expected , or )"),
    ("a in (^null)", "null cannot stand in a list"),
    ("a in (^x)", "text needs quotes"),
    ("a contains ^5", "looks for text"),
    ("a not ^5", "expected in, contains or exists"),
    ("a = ^(1)", "for several write: in"),
    ("a = ^`x`", "backticks are for fields"),
    ("exists ^a", "expected ("),
    ("exists(a^", "expected )"),
    ('a = ^"abc', "is not closed"),
    ("^`abc", "is not closed"),
    (r"a = 'x^\d'", "unknown escape"),
    (r"a = 'x^\u00g0'", "unknown escape"),
    ("a = ^“x”", "straight quotes"),
    ("a = ^[1]", "parentheses"),
    ("a = 1 ^# note", "unexpected character"),
    ("a = ^" + "9" * 400, "300 characters"),
    ("日本 = ^猫", 'text needs quotes: "猫"'),
]


@pytest.mark.parametrize(("marked", "said"), REFUSED)
def test_error_points_at_the_character_and_says_what_to_write(marked, said) -> None:
    position = marked.index("^")
    expression = marked.replace("^", "", 1)
    with pytest.raises(FilterSyntaxError) as caught:
        parse(expression)
    assert said in str(caught.value)
    assert caught.value.position == position
    assert caught.value.expression == expression


def test_caret_stands_under_the_character() -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        parse("price < 2000 and category = saree")
    reason, shown, caret = str(caught.value).split("\n")
    assert "character 29" in reason
    assert shown[caret.index("^") :] == "saree"


@pytest.mark.parametrize("opening", ["(", "not ", "(not "])
def test_ten_thousand_levels_are_an_error_not_a_crash(opening) -> None:
    with pytest.raises(FilterSyntaxError, match="levels deep") as caught:
        parse(opening * 10_000 + "a = 1")
    assert len(str(caught.value)) < 400


def test_as_many_levels_as_promised_are_accepted() -> None:
    assert parse("(" * MAX_DEPTH + "a = 1" + ")" * MAX_DEPTH) == A


def test_a_chain_of_ten_thousand_conditions_is_accepted() -> None:
    tree = parse(" or ".join(["a = 1"] * 10_000))
    assert isinstance(tree, Or)
    assert len(tree.filters) == 10_000


@given(st.text() | st.text(alphabet="ab=<>!()'\"`\\ ,.1not inexistsul", max_size=40))
@example("a = '\\ud83d\\u'")
@example("\ud800 = 1")
def test_any_text_parses_or_raises_a_syntax_error_inside_it(expression) -> None:
    try:
        parse(expression)
    except FilterSyntaxError as error:
        assert 0 <= error.position <= len(expression)
