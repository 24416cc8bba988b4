"""AnyRes in `train align` and `train instruct`, held to transformers' own LLaVA-NeXT."""

import json

import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file

from polymodal import UsageError
from polymodal.catalog.hub_models import open_hub_generator
from polymodal.models.hub_families import FAMILIES
from polymodal.models.hub_prompts import Writer
from polymodal.models.messages import GenerationOptions, ImagePart, Message
from polymodal.training.llava_data import IGNORED, DialogueSamples
from polymodal.training.llava_model import load_llava
from polymodal.training.llava_recipes import ALIGN, INSTRUCT
from polymodal.training.llava_run import LlavaRun
from polymodal.training.llava_task import LlavaTask
from polymodal.training.settings import overridden, recipe_of
from tests.hub import tiny, tiny_generators
from tests.training import tiny_llava

CPU = torch.device("cpu")
GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
SIZES = [(60, 44), (40, 130), (150, 30), (31, 31), (97, 64)]
FEW = ("batch=3", "steps=3", "epochs=9", "precision=float32", "recompute=false", "log_every=1")
LORA = ("rank=2", "alpha=4", 'rates=[["*lora_*",0.02],["*projector*",0.002],["*",null]]')
FAST = ('rates=[["*vision_tower*",0.001],["*",0.01]]',)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Parts, their whole, and pictures of several proportions with conversations about them."""
    root = tmp_path_factory.mktemp("tiles")
    tiny.clip(root / "clip")
    tiny_llava.llama(root / "llama")
    tiny_llava.joined(root / "clip", root / "llama", root / "whole")
    rows = []
    for number, size in enumerate(SIZES):
        tiny.picture(number, size).save(root / f"{number}.png")
        asked = "<image>\nwhat" if number else "<image> and <image> which"
        names = f"{number}.png" if number else ["0.png", "3.png"]
        rows.append(tiny_llava.conversation(names, (asked, "red"), name=f"{number}"))
    rows.append(tiny_llava.conversation(None, ("what", "words"), name="none"))
    (root / "talk.json").write_text(json.dumps(rows))
    return root


def the_run(root, recipe, *values, start="whole"):
    chosen = overridden(recipe_of({**ALIGN, **INSTRUCT}, recipe), [*FEW, *values])
    data = tiny_llava.open_dialogues(root / "talk.json")
    return LlavaRun(chosen, load_llava(tiny_llava.source(root / start)), data, None, CPU)


@pytest.fixture(scope="module")
def trained(root):
    """A tiled model, trained a little from one that was not tiled."""
    made = the_run(root, "llava_next_stage2", "grouped=false", *FAST)
    made.run(root / "trained", lambda line: None)
    return root / "trained"


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_takes_the_tokens_that_transformers_gives_it(root, size):
    llava = load_llava(tiny_llava.source(root / "whole")).tiled(GRIDS, 0)
    picture = tiny.picture(1, size)
    inputs = llava.processor(text="<image>", images=[picture], return_tensors="pt")
    seen = llava.eyes.see([picture])
    assert seen.tokens == [int((inputs["input_ids"] == llava.chat.image_id).sum())]
    assert torch.equal(seen.pixels, inputs["pixel_values"][0])
    assert torch.equal(seen.sizes, inputs["image_sizes"])


def test_nothing_is_cut_off(root):
    """What stands at the edges of a wide picture is seen by tiles alone."""
    plain = load_llava(tiny_llava.source(root / "whole"))
    one, other = Image.new("RGB", (200, 40), "white"), Image.new("RGB", (200, 40), "white")
    other.paste((200, 0, 0), (0, 0, 30, 40))
    assert torch.equal(*(plain.eyes.see([each]).pixels for each in (one, other)))
    tiled = plain.tiled(GRIDS, 0)
    assert not torch.equal(*(tiled.eyes.see([each]).pixels for each in (one, other)))


def test_the_step_is_the_loss_of_transformers_own_model_on_the_saved_folder(trained):
    model = hf.AutoModelForImageTextToText.from_pretrained(trained).eval()
    assert type(model) is hf.LlavaNextForConditionalGeneration
    processor = hf.AutoProcessor.from_pretrained(trained)
    llava = load_llava(tiny_llava.source(trained))
    assert llava.eyes.grids_px == tuple((32 * rows, 32 * columns) for rows, columns in GRIDS)
    chosen = overridden(recipe_of(INSTRUCT, "llava15_stage2"), [*FEW, "batch=6", "grouped=false"])
    made = LlavaRun(
        chosen, llava, tiny_llava.open_dialogues(trained.parent / "talk.json"), None, CPU
    )
    batch = next(made.loader.from_step(0, 1))
    pictures = {f"{n}": [tiny.picture(n, size)] for n, size in enumerate(SIZES)} | {"none": []}
    pictures["0"].append(tiny.picture(3, SIZES[3]))
    shown = [each for name in batch.names for each in pictures[name]]
    asked = processor.image_processor(images=shown, return_tensors="pt")  # padded to 5 dimensions
    named = {n: batch.inputs[n] for n in ("input_ids", "attention_mask", "labels")}
    expected = model(**named, **asked).loss
    expected.backward()
    for chunks in (1, 4):
        made.llava.model.zero_grad(set_to_none=True)
        task = LlavaTask(made.model.eval(), made.loader, CPU, chosen, chunks, None)
        assert float(task.step(batch, 1.0)) == pytest.approx(float(expected.detach()), rel=1e-5)
        for name in ("image_newline", "multi_modal_projector.linear_1.weight"):
            wanted = model.model.get_parameter(name).grad
            found = made.llava.model.model.get_parameter(name).grad
            assert torch.allclose(found, wanted, atol=1e-5, rtol=1e-4), name


def test_training_reads_what_a_tiled_checkpoint_is_asked_with(trained):
    llava = load_llava(tiny_llava.source(trained))
    data = tiny_llava.open_dialogues(trained.parent / "talk.json")
    value = DialogueSamples(data, llava, False, 2048).sample(0, 1).value
    writer = Writer("it", llava.processor, FAMILIES["llava_next"], "llama")
    prompt = writer.write([Message.user(ImagePart(tiny.picture(1, SIZES[1])), "what")])
    asked = writer.encode([prompt])
    first = (value.labels != IGNORED).nonzero()[0, 0]
    assert value.ids[:first].tolist() == asked["input_ids"][0].tolist()
    assert torch.equal(value.pixels, asked["pixel_values"][0])


def test_the_folder_answers_with_m_what_transformers_answers(trained):
    generator = open_hub_generator(str(trained), device="cpu")
    assert generator.info.image_size_px == load_llava(tiny_llava.source(trained)).eyes.open_px
    picture = tiny.picture(2, SIZES[2])
    asked = [Message.user(ImagePart(picture), "what")]
    (said,) = generator.generate([asked], GenerationOptions(max_tokens=12))
    model = hf.AutoModelForImageTextToText.from_pretrained(trained)
    processor = hf.AutoProcessor.from_pretrained(trained)
    text = "USER: <image>\nwhat ASSISTANT:"
    inputs = processor(text=text, images=[picture], return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    expected = processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.text == expected.strip()


def test_the_tower_and_the_newline_train_too(root, trained):
    before, after = (load_file(f / "model.safetensors") for f in (root / "whole", trained))
    assert after.keys() - before.keys() == {"image_newline"}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in ("vision_tower", "multi_modal_projector", "language_model"):
        assert any(part in name for name in moved), part


def test_stage_one_can_be_tiled_and_trains_the_projector_alone(root, tmp_path):
    data = tiny_llava.shapes(tmp_path / "shapes", each=1) / "captions.jsonl"
    chosen = overridden(recipe_of(ALIGN, "llava15_stage1"), [*FEW, "grids=[[1,2],[2,1]]"])
    llava = load_llava(tiny_llava.source(root / "whole"))
    made = LlavaRun(chosen, llava, tiny_llava.open_dialogues(data), None, CPU)
    made.run(tmp_path / "run", lambda line: None)
    before, after = (load_file(f / "model.safetensors") for f in (root / "whole", tmp_path / "run"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(moved) == 4
    assert all("multi_modal_projector" in name for name in moved)
    fresh = load_llava(tiny_llava.source(root / "whole")).tiled(chosen.grids, chosen.seed)
    newline = fresh.model.model.image_newline
    assert torch.equal(after["image_newline"], newline)


def test_a_checkpoint_that_is_tiled_already_trains_and_takes_other_grids(root, tmp_path):
    tiny_generators.llava_next(tmp_path / "next")
    made = the_run(root, "llava15_lora", *LORA, "grouped=false", start=tmp_path / "next")
    assert made.llava.eyes.grids_px == ((32, 64), (64, 32), (64, 64))
    made.run(tmp_path / "run", lambda line: None)
    assert load_llava(tiny_llava.source(tmp_path / "run")).eyes.grids_px == (
        (32, 64),
        (64, 32),
        (64, 64),
    )
    other = load_llava(tiny_llava.source(tmp_path / "next")).tiled([(1, 4)], 0)
    assert other.eyes.grids_px == ((32, 128),)
    seen = other.eyes.see([tiny.picture(0, (100, 30))])
    inputs = other.processor(text="<image>", images=[tiny.picture(0, (100, 30))])
    assert seen.tokens == [sum(each == other.chat.image_id for each in inputs["input_ids"][0])]


def test_grids_and_towers_that_do_not_fit_are_refused(root, tmp_path):
    llava = load_llava(tiny_llava.source(root / "whole"))
    with pytest.raises(UsageError, match="1 or more each"):
        llava.tiled([(0, 2)], 0)
    for wrong in ("grids=[1,2]", "grids=[[1,2,3]]", 'grids=[["a",2]]', "betas=[0.9]"):
        with pytest.raises(UsageError, match="does not fit: it is"):
            overridden(recipe_of(ALIGN, "llava15_stage1"), [wrong])
    llava.model.config.vision_config.image_size = 64
    with pytest.raises(UsageError, match=r"cannot see tiles: it gives 16 tokens .* of 64 px"):
        llava.tiled(GRIDS, 0)
