"""Three libraries that bind decoding to a JSON Schema, on the schemas that are used here.

    pip install xgrammar llguidance outlines-core
    python -m benchmarks.constrained [--runs 20]

The tokenizer is Whisper's, byte-level BPE with 51,865 tokens, from the starter's speech model. A
model that knows nothing (a random choice among the allowed tokens, leaning to those that end
something) writes answers under each schema; every answer that ends is validated by jsonschema or
pydantic. Then documents that are valid are walked token by token: a library that forbids one of
their tokens could never have let a model write them. Times are of this process; the first row's
import is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.tables import conditions, markdown, median
from polymodal.catalog.joined import joined_folder, read_speech_card
from polymodal.tasks.receipt import Receipt
from polymodal.tasks.schemas import Schema, as_schema

MOST_TOKENS = 400
ENDERS = ('"', '"}', "}", "]", ",", '",', "null", "true", "false", ":", '":', "0", "1")

ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, tuple[Any, list[Any]]] = {
    "flat, closed": (ITEM, [{"name": "Å milk", "count": 2}, {"name": 'a "b"', "count": 99}]),
    "enumeration, pattern": (
        {
            "type": "object",
            "properties": {
                "kind": {"enum": ["saree", "jeans", "a shirt"]},
                "day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
                "sure": {"type": "boolean"},
            },
            "required": ["kind", "day", "sure"],
            "additionalProperties": False,
        },
        [{"kind": "a shirt", "day": "2026-11-28", "sure": True}],
    ),
    "nested, with references": (
        {
            "$defs": {"item": ITEM},
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 3},
                "total": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            },
            "required": ["items", "total"],
            "additionalProperties": False,
        },
        [
            {"items": [], "total": None},
            {"items": [{"name": "x", "count": 1}, {"name": "y", "count": 0}], "total": -1.5},
        ],
    ),
    "tree (recursive)": (
        {
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {
                        "label": {"enum": ["a", "b"]},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                    },
                    "required": ["label", "children"],
                    "additionalProperties": False,
                }
            },
            "$ref": "#/$defs/node",
        },
        [{"label": "a", "children": [{"label": "b", "children": []}]}],
    ),
    "the built-in Receipt": (Receipt, [{"company": "Ann's", "date": None, "total": "12.50"}]),
}


class Matcher(Protocol):
    """One answer as it is written."""

    def allowed(self) -> np.ndarray:
        """Booleans over the vocabulary."""
        ...

    def accept(self, token: int) -> None:
        """The token that was chosen."""
        ...


class XGrammar:
    """https://github.com/mlc-ai/xgrammar"""

    package = "xgrammar"

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        import xgrammar

        self.library = xgrammar
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary)
        self.compiler = xgrammar.GrammarCompiler(info)
        self.vocabulary = vocabulary

    def compile(self, schema: dict[str, Any]) -> Callable[[], Matcher]:
        grammar = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=True)
        return lambda: _XMatcher(self, grammar)


class _XMatcher:
    def __init__(self, owner: XGrammar, grammar: Any) -> None:
        self.inner = owner.library.GrammarMatcher(grammar)
        self.mask = owner.library.allocate_token_bitmask(1, owner.vocabulary)
        self.vocabulary = owner.vocabulary

    def allowed(self) -> np.ndarray:
        self.inner.fill_next_token_bitmask(self.mask)
        return _unpacked(self.mask.numpy()[0], self.vocabulary)

    def accept(self, token: int) -> None:
        assert self.inner.accept_token(token)


class LlGuidance:
    """https://github.com/guidance-ai/llguidance"""

    package = "llguidance"

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        import llguidance
        import llguidance.hf
        import llguidance.numpy

        self.library = llguidance
        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary)
        self.vocabulary = vocabulary

    def compile(self, schema: dict[str, Any]) -> Callable[[], Matcher]:
        grammar = self.library.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        first = self.library.LLMatcher(self.tokenizer, grammar)
        if first.is_error():
            raise ValueError(first.get_error())
        return lambda: _LMatcher(self, first.deep_copy())


class _LMatcher:
    def __init__(self, owner: LlGuidance, inner: Any) -> None:
        self.inner, self.vocabulary = inner, owner.vocabulary
        self.fill = owner.library.numpy.fill_next_token_bitmask
        self.mask = owner.library.numpy.allocate_token_bitmask(1, owner.vocabulary)

    def allowed(self) -> np.ndarray:
        self.fill(self.inner, self.mask)
        return _unpacked(self.mask[0], self.vocabulary)

    def accept(self, token: int) -> None:
        assert self.inner.consume_token(token), self.inner.get_error()


class OutlinesCore:
    """https://github.com/dottxt-ai/outlines-core"""

    package = "outlines-core"

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        import outlines_core

        self.library = outlines_core
        special = set(tokenizer.all_special_ids)
        words: dict[bytes, list[int]] = {}
        for token in range(vocabulary):
            if token not in special:
                words.setdefault(_bytes_of(tokenizer, token), []).append(token)
        words.pop(b"", None)
        self.end = tokenizer.eos_token_id
        self.words = outlines_core.Vocabulary(self.end, words)
        self.vocabulary = vocabulary

    def compile(self, schema: dict[str, Any]) -> Callable[[], Matcher]:
        from outlines_core.json_schema import build_regex_from_schema

        index = self.library.Index(build_regex_from_schema(json.dumps(schema)), self.words)
        return lambda: _OMatcher(self, self.library.Guide(index))


class _OMatcher:
    def __init__(self, owner: OutlinesCore, inner: Any) -> None:
        self.inner, self.owner = inner, owner

    def allowed(self) -> np.ndarray:
        found = np.zeros(self.owner.vocabulary, bool)
        found[self.inner.get_tokens()] = True
        return found

    def accept(self, token: int) -> None:
        if token != self.owner.end:
            self.inner.advance(token, return_tokens=False)


def _unpacked(mask: np.ndarray, vocabulary: int) -> np.ndarray:
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:vocabulary].astype(bool)


def _bytes_of(tokenizer: Any, token: int) -> bytes:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    back = {char: byte for byte, char in bytes_to_unicode().items()}
    text = tokenizer.convert_ids_to_tokens(token)
    return bytes(back[char] for char in text) if all(c in back for c in text) else b""


@dataclass
class Result:
    """What one library did."""

    import_s: float = 0.0
    vocabulary_s: float = 0.0
    compile_s: dict[str, float] = field(default_factory=dict)
    step_s: list[float] = field(default_factory=list)
    ended: int = 0
    valid: int = 0
    written: int = 0
    allowed_documents: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def _import_s(module: str) -> float:
    """Beside torch and transformers, which a model needs anyway."""
    code = (
        "import torch, transformers, numpy, time; begun = time.perf_counter();"
        f" import {module}; print(time.perf_counter() - begun)"
    )
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


def _write(start: Callable[[], Matcher], tokenizer: Any, result: Result, dice: Any) -> str | None:
    """An answer by chance; None where it does not end."""
    known = tokenizer.get_vocab()
    enders = np.array([known[each] for each in ENDERS if each in known])
    end, matcher, tokens = tokenizer.eos_token_id, start(), []
    for _ in range(MOST_TOKENS):
        begun = time.perf_counter()
        allowed = matcher.allowed()
        result.step_s.append(time.perf_counter() - begun)
        if allowed[end]:
            return str(tokenizer.decode(tokens))
        likely = enders[allowed[enders]]
        choices = likely if likely.size and dice.random() < 0.7 else np.flatnonzero(allowed)
        token = int(dice.choice(choices))
        matcher.accept(token)
        tokens.append(token)
    return None


def _walk(start: Callable[[], Matcher], tokenizer: Any, document: Any) -> bool:
    """Whether a valid document can be written."""
    matcher = start()
    text = json.dumps(document, ensure_ascii=False)
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    for token in [*tokens, tokenizer.eos_token_id]:
        if not matcher.allowed()[token]:
            return False
        matcher.accept(token)
    return True


def _measured(kind: Any, tokenizer: Any, runs: int) -> Result:
    result = Result(import_s=_import_s(kind.package.replace("-", "_")))
    begun = time.perf_counter()
    library = kind(tokenizer, len(tokenizer))
    result.vocabulary_s = time.perf_counter() - begun
    for name, (source, documents) in SCHEMAS.items():
        schema: Schema = as_schema(source)
        begun = time.perf_counter()
        try:
            start = library.compile(dict(schema.json_schema))
        except Exception as error:  # of the library's own kinds
            result.refused[name] = " ".join(str(error).split())[:100]
            continue
        result.compile_s[name] = time.perf_counter() - begun
        dice = random.Random(1)
        for _ in range(runs):
            result.written += 1
            text = _write(start, tokenizer, result, dice)
            if text is None:
                continue
            result.ended += 1
            try:
                schema.validate(json.loads(text))
            except ValueError as error:
                result.refused.setdefault(f"{name}: wrote {text[:60]!r}", str(error)[:60])
            else:
                result.valid += 1
        for document in documents:
            assert schema.validate(document) is not None
            can_be_written = _walk(start, tokenizer, document)
            result.allowed_documents += can_be_written
            if not can_be_written:
                result.refused[f"{name}: forbids"] = json.dumps(document, ensure_ascii=False)
    return result


def _row(kind: Any, result: Result, documents: int) -> Sequence[str]:
    steps = np.array(result.step_s) * 1000
    return [
        kind.package,
        f"{result.import_s:.2f} s",
        f"{result.vocabulary_s:.2f} s",
        f"{median(list(result.compile_s.values())) * 1000:.0f} ms"
        f" (at most {max(result.compile_s.values()) * 1000:,.0f})",
        f"{np.median(steps):.2f} ms (99 %: {np.percentile(steps, 99):.2f})",
        f"{result.valid} of {result.ended}",
        f"{result.allowed_documents} of {documents}",
        f"{len(result.compile_s)} of {len(SCHEMAS)}",
    ]


def main() -> None:
    """Print the table."""
    from transformers import PreTrainedTokenizerFast

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    folder = joined_folder(read_speech_card())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|endoftext|>"
    )
    documents = sum(len(each) for _, each in SCHEMAS.values())
    rows, notes = [], []
    for kind in (XGrammar, LlGuidance, OutlinesCore):
        result = _measured(kind, tokenizer, arguments.runs)
        rows.append(_row(kind, result, documents))
        notes += [f"{kind.package}: {name}: {why}" for name, why in result.refused.items()]
    header = ["library", "import", "vocabulary", "a schema", "a token", "valid", "can be written"]
    print(markdown([*header, "schemas"], rows))
    print("\n".join(["", *notes, "", conditions("xgrammar", "llguidance", "outlines-core")]))


if __name__ == "__main__":
    main()
