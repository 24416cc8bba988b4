"""The worked path of docs/training-llava.md: two parts that know nothing become one that sees."""

import json

import pytest
import tokenizers
import torch
import transformers as hf

from polymodal.tasks.answering_generators import SYSTEM
from tests.hub import tiny
from tests.training import tiny_llava
from tests.training.running import assigned, cli

QUICK = ("batch=24", "precision=float32", "recompute=false")
FAST = 'rates=[["*vision_tower*",null],["*",0.003]]'


def language_model(folder, texts):
    """A language model of random weights, with a tokenizer fitted to the texts."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    ends = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=learner, **ends)
    tokenizer.save_pretrained(folder)
    config = hf.LlamaConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    hf.LlamaForCausalLM(config).save_pretrained(folder)


@pytest.mark.slow
def test_two_strangers_become_a_model_that_sees_colours(tmp_path):
    # The question comes with the verb's own words, as it will when the model is asked.
    shapes = tiny_llava.shapes(tmp_path / "shapes", each=20, system=SYSTEM)
    captions = [
        f"a {colour} {kind}" for colour in tiny_llava.SHAPES for kind in ("circle", "square")
    ]
    language_model(tmp_path / "lm", [SYSTEM, f"USER: {tiny_llava.QUESTION} ASSISTANT:", *captions])
    tiny.clip(tmp_path / "tower")
    values = assigned(*QUICK)
    cli(
        *("train", "align", shapes / "captions.jsonl", "--vision", tmp_path / "tower", "-q"),
        *("--language", tmp_path / "lm", "-o", tmp_path / "stage1", "--set", "epochs=2", *values),
    )
    said = cli(
        *("train", "instruct", shapes / "talk.json", "-m", tmp_path / "stage1", "-q", "--json"),
        *("-o", tmp_path / "my-llava", "--set", "epochs=24", "--set", FAST, *values),
        *("--validation", shapes / "talk.json"),
    )
    assert json.loads(said)["scores"]["token_accuracy"] > 99
    unseen = [(colour, kind) for colour in tiny_llava.SHAPES for kind in ("circle", "square")]
    pictures = []
    for number, (colour, kind) in enumerate(unseen):
        pictures.append(tmp_path / f"{number}.png")
        tiny_llava.shape(colour, kind, seed=1000 + number).save(pictures[-1])
    answers = cli(
        *("ask", *pictures, "-q", tiny_llava.QUESTION, "-m", tmp_path / "my-llava", "--json")
    )
    found = [json.loads(line)["answer"] for line in answers.splitlines()]
    assert found == [colour for colour, _ in unseen]
    assert cli("caption", pictures[0], "-m", tmp_path / "my-llava", "--json")
