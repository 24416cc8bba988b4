"""Runs of `train align` and `train instruct`: what trains, what is refused, what is kept."""

import json

import peft
import pytest
import torch

from polymodal import TrainingError, UsageError
from polymodal.training.adapters import adapt, linear_paths
from polymodal.training.conversations import open_dialogues
from polymodal.training.llava_data import IGNORED
from polymodal.training.llava_model import assemble, load_llava
from polymodal.training.llava_recipes import ALIGN, INSTRUCT
from polymodal.training.llava_run import ADAPTER, LlavaRun
from polymodal.training.llava_task import LlavaTask
from polymodal.training.loading import Batch, Sample
from polymodal.training.settings import overridden, recipe_of
from tests.hub import tiny
from tests.training import tiny_llava
from tests.training.running import changed, weights

CPU = torch.device("cpu")
FEW = ("batch=6", "steps=4", "epochs=9", "precision=float32", "recompute=false", "log_every=1")
LORA = ("rank=4", "alpha=8", 'rates=[["*lora_*",0.02],["*projector*",0.002],["*",null]]')


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Parts, their untrained whole, and pictures."""
    root = tmp_path_factory.mktemp("llava")
    tiny.clip(root / "clip")
    tiny_llava.llama(root / "llama")
    tiny_llava.joined(root / "clip", root / "llama", root / "whole")
    tiny_llava.shapes(root / "shapes")
    return root


def the_run(root, recipe, *values, data=None, start="whole"):
    chosen = overridden(recipe_of({**ALIGN, **INSTRUCT}, recipe), [*FEW, *values])
    name = "captions.jsonl" if chosen.form == "plain" else "talk.json"
    dialogues = open_dialogues(root / "shapes" / name) if data is None else data
    return LlavaRun(chosen, load_llava(tiny_llava.source(root / start)), dialogues, None, CPU)


def run(root, folder, recipe, *values, data=None, **others):
    said = []
    the_run(root, recipe, *values, data=data).run(folder, said.append, **others)
    return said


def test_stage_one_trains_the_projector_alone(root, tmp_path):
    run(root, tmp_path / "run", "llava15_stage1")
    names = changed(weights(root / "whole"), weights(tmp_path / "run"))
    assert len(names) == 4
    assert all("multi_modal_projector" in name for name in names)


def test_stage_two_trains_all_but_the_tower(root, tmp_path):
    run(root, tmp_path / "run", "llava15_stage2", "grouped=false")
    before = weights(root / "whole")
    names = changed(before, weights(tmp_path / "run"))
    rest = {name for name in before if name not in names}
    assert {name for name in before if "vision_tower" in name} == rest


def test_the_step_is_transformers_own_loss_however_it_is_cut(root):
    made = the_run(root, "llava15_stage2")
    batch = next(made.loader.from_step(0, 1))
    inputs = {k: v for k, v in batch.inputs.items() if k != "pictures"}
    model = made.llava.model.eval()
    # transformers takes the mean over all tokens of the batch, as this does.
    expected = model(**inputs).loss
    expected.backward()
    expected = float(expected.detach())
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    for chunks in (1, 4):
        model.zero_grad(set_to_none=True)
        task = LlavaTask(made.model.eval(), made.loader, CPU, made.recipe, chunks, None)
        loss = task.step(batch, 1.0)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert found.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert torch.allclose(found[name], gradient, atol=1e-5, rtol=1e-4), name


def test_adapters_never_touch_the_tower_although_its_layers_are_called_alike(root):
    model = load_llava(tiny_llava.source(root / "whole")).model
    paths = linear_paths(model)
    assert len(paths) == 14  # seven in each of two layers
    adapted = adapt(model, rank=2, alpha=4, dropout=0.0)
    touched = [name for name, _ in adapted.named_parameters() if "lora_" in name]
    assert len(touched) == 28
    assert not any("vision_tower" in name or "lm_head" in name for name in touched)
    plain = load_llava(tiny_llava.source(root / "whole")).model
    short = peft.LoraConfig(r=2, target_modules=["q_proj"])
    careless = peft.inject_adapter_in_model(short, plain)
    assert any("vision_tower" in n for n, _ in careless.named_parameters() if "lora_" in n)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
def test_merged_and_unmerged_adapters_say_the_same(root, tmp_path):
    run(root, tmp_path / "run", "llava15_lora", *LORA)
    merged = load_llava(tiny_llava.source(tmp_path / "run")).model.eval()
    base = load_llava(tiny_llava.source(root / "whole")).model.eval()
    made = the_run(root, "llava15_stage2")
    batch = next(made.loader.from_step(0, 1))
    inputs = {k: v for k, v in batch.inputs.items() if k not in {"pictures", "labels"}}
    with torch.no_grad():
        said = merged(**inputs).logits
        first = base(**inputs).logits
        assert (said - first).abs().max() > 0.05
        # transformers' model, peft's adapters, and the projector that trained beside them
        base.model.multi_modal_projector.load_state_dict(
            merged.model.multi_modal_projector.state_dict()
        )
        without = base(**inputs).logits
        handle = peft.PeftModel.from_pretrained(base, tmp_path / "run" / ADAPTER)
        assert torch.allclose(handle(**inputs).logits, said, atol=1e-4)
        handle.merge_adapter()
        assert torch.allclose(handle(**inputs).logits, said, atol=1e-4)
        handle.unmerge_adapter()
        with handle.disable_adapter():
            assert torch.allclose(handle(**inputs).logits, without, atol=1e-4)
    names = changed(weights(root / "whole"), weights(tmp_path / "run"))
    assert not any("vision_tower" in name for name in names)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(root, tmp_path, monkeypatch):
    values = ("llava15_lora", *LORA, "save_every=2", "dropout=0.3")
    run(root, tmp_path / "straight", *values)
    whole = LlavaTask.step
    taken = []

    def stops(self, batch, scale):
        taken.append(batch.names)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return whole(self, batch, scale)

    monkeypatch.setattr(LlavaTask, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        run(root, tmp_path / "stopped", *values)
    run(root, tmp_path / "stopped", *values, resume=True)
    assert taken[3] == taken[5], "step 4 sees the batch that it would have seen"
    assert not changed(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))


class Spoilt:
    """Samples, one of which has pixels that are no numbers."""

    def __init__(self, samples, name):
        self.samples, self.name = samples, name

    def __len__(self):
        return len(self.samples)

    def sample(self, epoch, index):
        found = self.samples.sample(epoch, index)
        if found.name != self.name:
            return found
        return Sample(found.name, found.value._replace(pixels=found.value.pixels * float("nan")))


def test_a_loss_that_is_no_number_names_step_and_conversation(root, tmp_path):
    made = the_run(root, "llava15_stage2")
    made.loader.samples = Spoilt(made.loader.samples, "green-circle-2.png")
    with pytest.raises(TrainingError, match=r"step \d .*the loss of green-circle-2.png is no num"):
        made.run(tmp_path / "run", lambda line: None)


def test_a_batch_without_answers_is_an_error_that_names_it(root):
    made = the_run(root, "llava15_stage2")
    batch = next(made.loader.from_step(0, 1))
    labels = torch.full_like(batch.inputs["labels"], IGNORED)
    task = LlavaTask(made.model, made.loader, CPU, made.recipe, 1, None)
    with pytest.raises(TrainingError, match=f"no token .*{batch.names[0]}"):
        task.step(Batch(batch.inputs | {"labels": labels}, batch.names), 1.0)


def test_text_alone_and_several_pictures_train_together(root, tmp_path):
    names = [f"{colour}-circle-0.png" for colour in ("red", "blue")]
    rows = [
        tiny_llava.conversation(names, ("<image>\n<image>\nwhich", "both"), name="two"),
        tiny_llava.conversation(None, ("what", "words"), name="none"),
        tiny_llava.conversation(names[0], ("<image>\nwhat", "red"), name="one"),
    ]
    data = tiny_llava.dialogues(tmp_path, *rows, images=root / "shapes")
    for values in (("batch=3", "grouped=false"), ("batch=1", "chunks=1")):
        said = run(root, tmp_path / values[0], "llava15_stage2", *values, data=data)
        assert sum("loss" in line for line in said) == 4


def test_a_damaged_picture_is_named_and_passed_over(root, tmp_path):
    folder = tiny_llava.shapes(tmp_path / "shapes")
    (folder / "red-circle-1.png").write_bytes(b"no picture")
    data = open_dialogues(folder / "talk.json")
    said = run(root, tmp_path / "run", "llava15_stage2", data=data)
    assert any("red-circle-1.png" in line and "skipped" in line for line in said)


def test_conversations_that_lose_their_answer_to_the_limit_are_named(root):
    made = the_run(root, "llava15_stage2", "tokens=20")
    with pytest.raises(UsageError, match=r"within 20 tokens \(`tokens`\)"):
        next(made.loader.from_step(0, 1))


def test_captions_are_refused_where_questions_are_learnt(root):
    captions = open_dialogues(root / "shapes" / "captions.jsonl")
    with pytest.raises(UsageError, match=r"Captions are for `polymodal train align`"):
        the_run(root, "llava15_stage2", data=captions)


def test_bfloat16_and_recomputing_train_too(root, tmp_path):
    said = run(
        root, tmp_path / "run", "llava15_lora", *LORA, "precision=bfloat16", "recompute=true"
    )
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said if "loss" in line]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("recipe", ["llava15_stage1", "llava15_stage2", "llava15_lora"])
def test_parts_stored_in_half_precision_train_and_stay_so(root, tmp_path, recipe):
    half = tmp_path / "half"
    whole = load_llava(tiny_llava.source(root / "whole"))
    whole.model.config.dtype = torch.bfloat16
    whole.save(half)
    values = ("precision=bfloat16", *(LORA if recipe == "llava15_lora" else ()))
    made = the_run(root, recipe, *values, start=half)
    kinds = {p.dtype for p in made.model.parameters() if p.requires_grad}
    assert kinds == {torch.float32}
    assert "trained" in made.estimate().lines[0]
    made.run(tmp_path / "run", lambda line: None)
    before, after = weights(half), weights(tmp_path / "run")
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    assert not any("vision_tower" in name for name in changed(before, after))


def test_the_card_and_the_record_say_what_was_run(root, tmp_path):
    chosen = overridden(recipe_of(ALIGN, "llava15_stage1"), FEW)
    parts = (tiny_llava.source(root / "clip"), tiny_llava.source(root / "llama"))
    data = open_dialogues(root / "shapes" / "captions.jsonl")
    made = LlavaRun(chosen, assemble(*parts, seed=0), data, data, CPU)
    scores = made.run(tmp_path / "one", lambda line: None)
    assert set(scores) == {"token_accuracy", "answer_loss"}
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert record["recipe"]["rates"][0] == ["*multi_modal_projector*", 1e-3]
    assert len(record["on"]["licences"]) == 2
    card = (tmp_path / "one" / "README.md").read_text()
    assert "captions.jsonl" in card
    assert "licences: vision tower" in card
    assert load_llava(tiny_llava.source(tmp_path / "one")).licences == record["on"]["licences"]


@pytest.mark.parametrize("recipe", [*ALIGN.values(), *INSTRUCT.values()])
def test_every_value_of_a_recipe_has_its_source(recipe):
    from polymodal.training.settings import Recipe

    made = recipe()
    said = {name for names in made.sources for name in names.split(", ")}
    plain = Recipe(name="", sources={}, rates=(), batch=1)
    for name, value in vars(made).items():
        default = getattr(plain, name, None)
        if name not in {"name", "sources", "chunks", "grouped"} and value not in {
            default,
            None,
            (),
        }:
            if name in {"rank", "alpha", "dropout"} and not made.rank:
                continue
            assert name in said or name == "form", name
