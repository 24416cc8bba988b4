"""Random metadata and random filters that meet often: few names, few values, some of anything."""

from __future__ import annotations

from hypothesis import strategies as st

from polymodal.search.filters import And, Comparison, Contains, Exists, In, Not, Or

NAMES = st.sampled_from(["a", "b", "a.b", "unit price", "größe", "and", 'q"x', "q\\x", "%22", "`"])
ANY_NAME = NAMES | st.text(max_size=4)
TEXTS = st.sampled_from(
    [
        "",
        "1",
        "true",
        "silk",
        "Silk",
        "SILK saree",
        "straße",
        "STRASSE",
        "İ",
        "ﬀ",
        "é",
        "e\u0301",
        "\n",
    ]
) | st.text(max_size=5)
NUMBERS = (
    st.sampled_from([0, -0.0, 1, 1.0, -1, 1.5, 0.1, 2**53, 1e300, -5])
    | st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = TEXTS | NUMBERS | st.booleans()


def metadata(names: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, object]]:
    """Dicts as JSON files hold them, with these names."""
    values = st.recursive(
        SCALARS | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2),
        max_leaves=5,
    )
    return st.dictionaries(names, values, max_size=4)


METADATA = metadata(ANY_NAME)

LEAVES = st.one_of(
    st.builds(Comparison, ANY_NAME, st.sampled_from(["=", "!="]), SCALARS),
    st.builds(Comparison, ANY_NAME, st.sampled_from(["<", "<=", ">", ">="]), NUMBERS),
    st.builds(In, ANY_NAME, st.lists(SCALARS, max_size=3).map(tuple)),
    st.builds(Contains, ANY_NAME, TEXTS),
    st.builds(Exists, ANY_NAME),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(And),
        st.lists(inner, min_size=2, max_size=3).map(tuple).map(Or),
    ),
    max_leaves=6,
)
