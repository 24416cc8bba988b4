"""LLaVA-style training: what is learned of a conversation, what moves, and what is saved."""

import json

import numpy as np
import pytest
import torch
import transformers as hf
from typer.testing import CliRunner

from polymodal import TrainingError, UsageError
from polymodal.cli.app import app
from polymodal.models.hub_families import CHATML, INST, USER_ASSISTANT
from polymodal.models.hub_loading import Source
from polymodal.models.tensorfiles import find_weight_files
from polymodal.training.conversations import (
    IGNORED,
    Conversations,
    Dialogue,
    Encoder,
    grouped_order,
    open_conversations,
)
from polymodal.training.instruct import InstructRun, answer_step, loaded, lora_targets
from polymodal.training.recipes_llava import llava15_lora, llava15_stage1, llava15_stage2
from polymodal.training.settings import overridden
from tests.hub import tiny_generators as made
from tests.hub.tiny import clip, seeded
from tests.training import tiny

RATES = 'rates=[["*.lora_*",0.05],["*",null]]'
FEW = ["batch=4", "steps=4", "epochs=9", "log_every=2"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return made.llava(tmp_path_factory.mktemp("llava"), template=USER_ASSISTANT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tiny.class_folders(tmp_path_factory.mktemp("talk"), each=3)
    entries = [
        {
            "id": f"{colour} {n}",
            "image": f"{colour}/{n}.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is this"},
                {"from": "gpt", "value": colour},
            ],
        }
        for colour in tiny.COLOURS
        for n in range(3)
    ]
    entries += [
        {
            "id": f"words {n}",
            "conversations": [
                {"from": "human", "value": "hello " * (n + 1)},
                {"from": "gpt", "value": "good day"},
            ],
        }
        for n in range(4)
    ]
    (root / "talk.json").write_text(json.dumps(entries))
    return root / "talk.json"


def source(folder):
    return Source(str(folder), folder, find_weight_files(folder))


def the_run(llava, data, recipe, *values):
    model, processor = loaded(source(llava))
    chosen = overridden(recipe, [*FEW, *values])
    conversations = open_conversations(data)
    return InstructRun(chosen, model, processor, "llava", conversations, torch.device("cpu"))


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


DIALOGUE = Dialogue(
    "two turns",
    (("user", "what is this"), ("assistant", "a cat"), ("user", "sure"), ("assistant", "yes")),
    None,
)


@pytest.mark.parametrize(
    ("template", "tokenizer", "learned"),
    [
        (USER_ASSISTANT, "pieces", [" a cat</s>", " yes</s>"]),
        (INST, "pieces", [" a cat</s>", " yes</s>"]),
        (made.LLAVA_TEMPLATE, "pieces", [" a cat ", " yes</s>"]),
        (CHATML, "byte_level", ["a cat<|im_end|>", "yes<|im_end|>"]),
        (made.QWEN_TEMPLATE, "byte_level", ["a cat<|im_end|>\n", "yes<|im_end|>\n"]),
    ],
)
def test_only_the_answers_and_what_closes_them_are_learned(template, tokenizer, learned):
    special = ("<image>", "<|im_start|>", "<|im_end|>")
    words = getattr(made, tokenizer)(*(special if tokenizer == "byte_level" else special[:1]))
    images = hf.CLIPImageProcessor(size=made.EDGE, crop_size=made.SQUARE)
    processor = hf.LlavaProcessor(images, words, patch_size=8, chat_template=template)
    encode = Encoder(processor, "it", 500)
    text, spans = encode.text(DIALOGUE, None)
    assert [text[start:stop] for start, stop in spans] == learned
    inputs = encode(DIALOGUE)
    kept = [i for i, label in zip(inputs["input_ids"], inputs["labels"], strict=True) if label >= 0]
    assert words.decode(kept).replace(" ", "") == "".join(learned).replace(" ", "")


def test_a_picture_takes_as_many_tokens_as_the_model_makes_of_it(llava, data):
    model, processor = loaded(source(llava))
    encode = Encoder(processor, "llava", 500)
    values = [encode(each) for each in open_conversations(data).items[:2]]
    batch = encode.collate(values)
    assert (batch["input_ids"] == model.config.image_token_id).sum(1).tolist() == [16, 16]
    with torch.no_grad():  # transformers refuses numbers that differ
        model(**{name: each for name, each in batch.items() if name != "labels"})


def test_the_loss_is_that_of_transformers_and_its_gradient_the_same_in_parts(llava, data):
    run = the_run(llava, data, llava15_stage2())
    batch = next(run.loader.from_step(0, 1)).inputs
    wanted = run.model(**batch).loss
    wanted.backward()
    name = "model.multi_modal_projector.linear_1.weight"
    reference = run.model.get_parameter(name).grad.clone()
    from contextlib import nullcontext

    for chunks in (1, 2, 4):
        run.model.zero_grad()
        loss = answer_step(run.model, batch, chunks=chunks, cast=nullcontext(), scale=1.0)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
        found = run.model.get_parameter(name).grad
        assert torch.allclose(found, reference, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "moving"),
    [
        (llava15_stage1, ("multi_modal_projector.",)),
        (llava15_stage2, ("multi_modal_projector.", "language_model.", "lm_head.")),
        (llava15_lora, ("multi_modal_projector.", "language_model.model.layers.")),
    ],
)
def test_each_recipe_moves_what_it_says_and_nothing_else(llava, data, tmp_path, recipe, moving):
    the_run(llava, data, recipe(), "lora_rank=4" if recipe is llava15_lora else "decay=0").run(
        tmp_path / "run", lambda line: None
    )
    before, after = weights(llava), weights(tmp_path / "run")
    assert before.keys() == after.keys()
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert moved
    assert all(any(part in name for part in moving) for name in moved)
    assert all(any(part in name for name in moved) for part in moving)
    assert (tmp_path / "run" / "README.md").is_file()


def test_merged_adapters_say_what_adapters_say_and_come_off_again(
    llava, data, tmp_path, monkeypatch
):
    run = the_run(
        llava, data, llava15_lora(), "lora_rank=4", 'rates=[["*.lora_*",0.05],["*",null]]'
    )
    batch = next(run.loader.from_step(0, 1)).inputs
    plain, _ = loaded(source(llava))
    run.run(tmp_path / "run", lambda line: None)
    import peft

    monkeypatch.setattr("warnings.filters", [("ignore", None, FutureWarning, None, 0)])
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "run" / "adapters").eval()
    merged, _ = loaded(source(tmp_path / "run"))
    original, _ = loaded(source(llava))
    with torch.no_grad():
        wanted = adapted(**batch).logits
        assert torch.allclose(merged.eval()(**batch).logits, wanted, atol=1e-4)
        adapted.merge_adapter()
        adapted.unmerge_adapter()
        with adapted.disable_adapter():
            bare = adapted(**batch).logits
        assert torch.allclose(bare, original.eval()(**batch).logits, atol=1e-4)
    assert not torch.allclose(bare, wanted, atol=1e-3)


def test_adapters_are_put_on_the_language_model_alone(llava):
    model, _ = loaded(source(llava))
    targets = lora_targets(model)
    assert len(targets) == 2 * 7
    assert all(name.startswith("model.language_model.layers.") for name in targets)


def test_a_model_joined_aligned_and_instructed_answers_by_its_folders_name(data, tmp_path):
    tokenizer = made.pieces()
    tokenizer.save_pretrained(tmp_path / "lm")
    config = hf.LlamaConfig(**made.TEXT, **made.ends(tokenizer))
    seeded(hf.LlamaForCausalLM(config), tmp_path / "lm")
    clip(tmp_path / "clip")
    few = [part for each in FEW for part in ("--set", each)]

    def command(*words):
        ran = CliRunner().invoke(app, [str(each) for each in words], prog_name="polymodal")
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    towers = ("--vision", tmp_path / "clip", "--language", tmp_path / "lm")
    command("train", "align", data, *towers, "-o", tmp_path / "stage1", *few)
    taught = ("--recipe", "llava15_stage2", "--set", "steps=60", "--set", "batch=16")
    taught += ("--set", 'rates=[["model.vision_tower.*",null],["*",1e-2]]', "--set", "epochs=60")
    folders = ("-m", tmp_path / "stage1", "-o", tmp_path / "my-llava")
    command("train", "instruct", data, *folders, *few, *taught)
    said = command("caption", data.parent / "red" / "0.jpg", "-m", tmp_path / "my-llava", "--json")
    found = json.loads(said.splitlines()[0])
    assert found["caption"]


def test_entries_that_cannot_be_used_are_skipped_by_name(data, tmp_path):
    say = [{"from": "human", "value": "<image>\nWhat"}, {"from": "gpt", "value": "red"}]
    image = str(data.parent / "red" / "0.jpg")
    entries = [
        {"id": "good", "image": image, "conversations": say},
        {"id": "twice", "image": image, "conversations": [
            {"from": "human", "value": "<image> <image>"}, {"from": "gpt", "value": "red"}]},
        {"id": "none", "conversations": say},
        {"id": "gone", "image": "gone.jpg", "conversations": say},
        {"id": "silent", "image": image, "conversations": [say[0], {"from": "gpt", "value": " "}]},
        {"id": "order", "image": image, "conversations": say[::-1]},
    ]  # fmt: skip
    (tmp_path / "talk.json").write_text(json.dumps(entries))
    found = open_conversations(tmp_path / "talk.json")
    assert [item.name for item in found.items] == ["good"]
    reasons = dict(line.split(": ", 1) for line in found.skipped)
    assert reasons["twice"] == "has 2 times <image> and 1 pictures"
    assert reasons["none"] == "has 1 times <image> and 0 pictures"
    assert reasons["gone"].startswith("there is no such file")
    assert reasons["silent"] == "an answer is missing or empty"
    assert reasons["order"] == "human and gpt do not take turns"


def test_a_tokenizer_without_the_image_token_is_refused():
    images = hf.CLIPImageProcessor(size=made.EDGE, crop_size=made.SQUARE)
    processor = hf.LlavaProcessor(images, made.pieces(), patch_size=8, chat_template=USER_ASSISTANT)
    with pytest.raises(UsageError, match=r"has no token <image>.*train align"):
        Encoder(processor, "it", 100)


def test_a_conversation_cut_before_its_answer_is_an_error(llava, data, tmp_path):
    with pytest.raises(TrainingError, match=r"red 0|no token of an answer is left within 5 tokens"):
        the_run(llava, data, llava15_stage1(), "most_tokens=5").run(
            tmp_path / "run", lambda line: None
        )


def test_a_batch_with_every_label_masked_is_an_error(llava, data):
    from contextlib import nullcontext

    run = the_run(llava, data, llava15_stage1())
    batch = dict(next(run.loader.from_step(0, 1)).inputs)
    batch["labels"] = torch.full_like(batch["labels"], IGNORED)
    with pytest.raises(TrainingError, match="every label is masked"):
        answer_step(run.model, batch, chunks=1, cast=nullcontext(), scale=1.0)


def test_batches_are_of_one_modality_and_similar_lengths(tmp_path):
    random = np.random.default_rng(0)
    items = tuple(
        Dialogue(str(n), (("user", "word " * int(random.integers(1, 200))),), picture)
        for n, picture in enumerate([tmp_path, None] * 320)
    )
    order = grouped_order(items, 8, 0, 0)
    assert sorted(order) == list(range(640))
    batches = order.reshape(-1, 8)
    assert all(len({items[n].picture is None for n in batch}) == 1 for batch in batches)
    spread = [np.ptp([items[n].length for n in batch]) for batch in batches]
    shuffled = random.permutation(640).reshape(-1, 8)
    assert np.mean(spread) < np.mean([np.ptp([items[n].length for n in b]) for b in shuffled]) / 10
    assert not np.array_equal(order, grouped_order(items, 8, 0, 1))
    assert isinstance(Conversations("", items, ()).fingerprint, str)
