"""Our WordPiece against the tokenizers library, on the starter's own vocabulary."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.catalog.sources import find_weights
from polymodal.models.wordpiece import WordPiece
from tests.models.weights import data_or_skip, starter_or_skip

tokenizers = pytest.importorskip("tokenizers", reason="the reference")

RANGES = (
    (0x00, 0x24F),  # Latin, with its control characters and accents
    (0x300, 0x36F),  # combining marks
    (0x391, 0x3C9),
    (0x400, 0x45F),
    (0x5D0, 0x5EA),
    (0x621, 0x64A),
    (0x905, 0x939),
    (0xE01, 0xE30),
    (0x1E00, 0x1EFF),
    (0x2000, 0x206F),  # spaces, dashes, marks of direction
    (0x20A0, 0x20BE),
    (0x2100, 0x21FF),
    (0x3000, 0x30FF),
    (0x4E00, 0x9FD5),
    (0xAC00, 0xD7A3),
    (0xE000, 0xE0FF),  # private use
    (0xFE00, 0xFE0F),
    (0xFF01, 0xFF5E),
    (0xFFF9, 0xFFFF),
    (0x1F300, 0x1F64F),
    (0x20000, 0x2007F),
)
characters = st.one_of(*[st.characters(min_codepoint=a, max_codepoint=b) for a, b in RANGES])
pieces = st.one_of(
    st.text(characters, max_size=12),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.sampled_from([" ", "\n\t", "[MASK]", "[CLS]", "##ing", "photo-graph", "ΟΔΟΣ", "İstanbul"]),
)


@pytest.fixture(scope="module")
def both():
    starter_or_skip()
    definition = find_weights("starter").read("embedder/tokenizer.json")
    return WordPiece(definition), tokenizers.Tokenizer.from_buffer(definition)


@settings(max_examples=3000, deadline=None)
@given(st.lists(pieces, max_size=6).map("".join))
def test_ids_are_those_of_the_library(both, text):
    ours, reference = both
    assert ours.encode(text) == reference.encode(text).ids


def test_every_character_alone_in_a_word_is_read_as_the_library_reads_it(both):
    ours, reference = both
    texts = [f"a{chr(code)}b" for first, last in RANGES for code in range(first, last + 1)]
    wanted = [encoding.ids for encoding in reference.encode_batch(texts)]
    different = [text for text, ids in zip(texts, wanted, strict=True) if ours.encode(text) != ids]
    assert different == []


def test_captions_are_read_as_the_library_reads_them(both):
    ours, reference = both
    lines = (data_or_skip("flickr8k") / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    captions = [text for line in lines for text in json.loads(line)["captions"]]
    chosen = random.Random(0).sample(captions, 2000)
    assert [ours.encode(text) for text in chosen] == [
        encoding.ids for encoding in reference.encode_batch(chosen)
    ]


def test_a_long_word_and_a_long_text(both):
    ours, reference = both
    for text in ("a" * 100, "a" * 101, "dog " * 5000, "."):
        assert ours.encode(text) == reference.encode(text).ids
    reference.enable_truncation(16)
    assert ours.cut(ours.encode("dog " * 50), 16) == reference.encode("dog " * 50).ids
    reference.no_truncation()


def test_another_kind_of_tokenizer_is_refused():
    definition = {"model": {"type": "BPE"}, "normalizer": {"type": "NFC"}}
    with pytest.raises(ValueError, match="BPE"):
        WordPiece(json.dumps(definition).encode())
