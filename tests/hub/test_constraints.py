"""Answers bound to a schema or to choices: whatever the random weights would rather say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import transformers as hf

import polymodal as pm
from polymodal.catalog.hub_models import open_hub_generator
from polymodal.tasks.structured import Structured, ask_for
from tests.hub import tiny

Get = Callable[[str], Path]
FAMILIES = ("blip2", "idefics", "instructblip", "llava", "mllama", "qwen2_vl", "smolvlm")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["saree", "jeans"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
    },
    "required": ["kind", "count", "day"],
    "additionalProperties": False,
}


def asked(question: str = "What is this?") -> list[pm.Message]:
    return [pm.Message.user(pm.ImagePart(tiny.picture(1)), question)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 3}])
def test_every_family_writes_what_the_schema_allows(
    checkpoint: Get, family: str, options: dict[str, Any]
) -> None:
    generator = open_hub_generator(str(checkpoint(family)), device="cpu")
    bound = pm.GenerationOptions(max_tokens=200, json_schema=SCHEMA, **options)
    answers = generator.generate([asked(), asked("Which of these is it?")], bound)
    for answer in answers:
        assert isinstance(answer, pm.Generation)
        assert answer.finish_reason == "stop", answer
        jsonschema.validate(json.loads(answer.text), SCHEMA)
        assert answer.logprob is not None
        assert answer.logprob > -float("inf")


def test_the_same_tokens_as_a_search_over_the_allowed_ones(checkpoint: Get) -> None:
    """Greedy choice among what llguidance allows, step by step, by transformers' own forward."""
    import llguidance.hf

    folder = checkpoint("qwen2_text")
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chat = [{"role": "user", "content": "What is this?"}]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )["input_ids"]
    read = llguidance.hf.from_tokenizer(tokenizer, n_vocab=model.config.vocab_size)
    choices = ("a saree", "a red saree", "jeans")
    grammar = llguidance.LLMatcher.grammar_from_regex("(a saree|a red saree|jeans)")
    matcher, said, logprob = llguidance.LLMatcher(read, grammar), [], 0.0
    with torch.inference_mode():
        while not said or said[-1] != tokenizer.eos_token_id:
            scores = model(input_ids=ids).logits[0, -1]
            allowed = torch.tensor(list(matcher.compute_logit_bias()), dtype=torch.bool)
            if matcher.is_stopped():
                allowed = torch.arange(len(allowed)) == tokenizer.eos_token_id
            step = scores.masked_fill(~allowed, -float("inf")).log_softmax(-1)
            said.append(int(step.argmax()))
            logprob += float(step[said[-1]])
            matcher.consume_token(said[-1])
            ids = torch.cat([ids, torch.tensor([[said[-1]]])], 1)
    generator = open_hub_generator(str(folder), device="cpu")
    options = pm.GenerationOptions(max_tokens=40, choices=choices)
    (answer,) = generator.generate([[pm.Message.user("What is this?")]], options)
    assert isinstance(answer, pm.Generation)
    assert answer.text == tokenizer.decode(said, skip_special_tokens=True)
    assert answer.text in choices
    assert answer.tokens == len(said)
    assert answer.logprob == pytest.approx(logprob, abs=1e-3)


def test_ask_for_gets_data_at_the_first_attempt(checkpoint: Get) -> None:
    generator = open_hub_generator(str(checkpoint("qwen2_vl")), device="cpu")
    colour = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
    schema = {**colour, "required": ["colour"], "additionalProperties": False}
    (found,) = ask_for(generator, [[pm.Message.user("Fill it in.")]], schema)
    assert isinstance(found, Structured), found
    assert found.data["colour"] in {"red", "blue"}
    assert len(found.attempts) == 1


def test_ask_gets_data_from_weights_that_know_nothing(checkpoint: Get, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2_vl"), tmp_path / "qwen2_vl")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 4096  # a letter is a token
    (folder / "config.json").write_text(json.dumps(config))
    suite = pm.Suite(str(folder), device="cpu", home=tmp_path / "home")
    schema = {**SCHEMA, "title": "garment"}
    found = suite.ask(tiny.picture(1), "Which garment?", schema=schema, grounded=False, threshold=0)
    assert found.data["kind"] in {"saree", "jeans"}
    assert suite.journal is not None
    assert len(suite.journal.calls(verb="ask")) == 1  # no attempt was wasted


def test_pieces_of_a_bound_answer_add_up(checkpoint: Get) -> None:
    generator = open_hub_generator(str(checkpoint("llava")), device="cpu")
    options = pm.GenerationOptions(max_tokens=60, choices=("yes", "no"))
    *pieces, whole = generator.stream(asked(), options)
    assert isinstance(whole, pm.Generation)
    assert "".join(map(str, pieces)) == whole.text
    assert whole.text in {"yes", "no"}


def test_what_a_grammar_cannot_say_is_left_to_the_check(checkpoint: Get) -> None:
    generator = open_hub_generator(str(checkpoint("qwen2_text")), device="cpu")
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "day": {"const": "x"}}}
    schema["not"] = {"properties": {"kind": {"const": "saree"}}}
    options = pm.GenerationOptions(max_tokens=120, json_schema=schema)
    (answer,) = generator.generate([[pm.Message.user("Which?")]], options)
    assert isinstance(answer, pm.Generation)
    assert set(json.loads(answer.text)) == {"kind", "count", "day"}


def test_without_the_library_nothing_is_promised(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.models.hub_constraints.CONSTRAINS", frozenset())
    generator = open_hub_generator(str(checkpoint("qwen2_text")), device="cpu")
    with pytest.raises(pm.UsageError, match="cannot decode under a constraint"):
        generator.generate([[pm.Message.user("?")]], pm.GenerationOptions(choices=("a", "b")))
