"""nanoVLM, Flamingo and BLIP-2: what is built, what trains, and that a folder loads again."""

import json

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from typer.testing import CliRunner

from polymodal import ModelUnavailable, TrainingError, UsageError
from polymodal.catalog.checkpoints import kind_of
from polymodal.catalog.shapes import shape_of
from polymodal.catalog.visual import visual_tokens
from polymodal.cli.app import app
from polymodal.models.hub_loading import load_model
from polymodal.nn.merging import merge
from polymodal.nn.projectors import pixel_shuffle
from polymodal.training.bridge_recipes import BUILDING, QFORMER
from polymodal.training.bridges import build
from polymodal.training.conversations import open_dialogues
from polymodal.training.llava_model import load_llava
from polymodal.training.llava_run import LlavaRun
from polymodal.training.pairs import open_pairs
from polymodal.training.qformer_model import qformer_state
from polymodal.training.qformer_run import QFormerRun
from polymodal.training.settings import overridden, recipe_of
from tests.hub import tiny
from tests.training import tiny_llava
from tests.training.test_llava_learns import language_model

CPU = torch.device("cpu")
FEW = ("batch=6", "steps=6", "epochs=99", "precision=float32", "recompute=false", "log_every=1")
FEW += ("warmup=0",)
PARTS = {
    "nanovlm": ("siglip", "llama"),
    "flamingo": ("clip", "qwen2"),
    "blip2_stage2": ("", "gpt2"),
}
QUICK = {
    "nanovlm": ("factor=2",),
    "flamingo": ("latents=4", "depth=1", "heads=2", "head_width=8", "every=2"),
    "blip2_stage2": ("tokens=128",),
}


def bert(folder):
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "green", "blue", "circle"]
    words += ["square", "##s"]
    table = {word: number for number, word in enumerate(words)}
    hf.BertTokenizer(vocab=table).save_pretrained(folder)
    config = hf.BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=len(words),
        max_position_embeddings=24,
    )
    return tiny.seeded(hf.BertForMaskedLM(config), folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Parts, pictures, and a Q-Former of stage 1."""
    root = tmp_path_factory.mktemp("bridges")
    tiny.clip(root / "clip")
    tiny.siglip(root / "siglip")
    for name in ("llama", "qwen2", "gpt2"):
        tiny_llava.LANGUAGES[name](root / name)
    bert(root / "bert")
    tiny_llava.shapes(root / "shapes")
    first_stage(root, "clip").run(root / "stage1", print)
    return root


def first_stage(root, tower, *values, text="bert", held_out=None):
    recipe = overridden(recipe_of(QFORMER, "blip2_stage1"), [*FEW, "queries=5", *values])
    pairs = open_pairs(root / "shapes" / "captions.jsonl")
    sources = tiny_llava.source(root / tower), tiny_llava.source(root / text)
    return QFormerRun(recipe, *sources, pairs, held_out, CPU)


def the_recipe(name, *values):
    return overridden(recipe_of(BUILDING, name), [*FEW, *QUICK[name], *values])


def built(root, name, *values):
    vision, language = PARTS[name]
    sources = (tiny_llava.source(root / (vision or "stage1")), tiny_llava.source(root / language))
    return build(the_recipe(name, *values), *sources)


def trained(root, name, folder, *values, data=None):
    recipe = the_recipe(name, *values)
    data = data or root / "shapes" / ("captions.jsonl" if recipe.form == "plain" else "talk.json")
    run = LlavaRun(recipe, built(root, name, *values), open_dialogues(data), None, CPU)
    run.run(folder, print)
    return folder


def losses(folder):
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def text_and_pictures(llava, pictures):
    torch.manual_seed(1)
    ids = torch.randint(40, 60, (1, 12))
    spread = [[llava.chat.image_id] * llava.eyes.tokens for _ in range(pictures)]
    parts = [torch.cat([torch.tensor([part]), ids], 1) for part in spread]
    return torch.cat(parts, 1), torch.randn(pictures, 3, llava.eyes.side_px, llava.eyes.side_px)


@torch.no_grad()
def test_nanovlm_is_siglips_last_tokens_shuffled_into_the_sequence(root):
    llava = built(root, "nanovlm")
    assert llava.eyes.tokens == 4  # of 4 x 4 patches, squares of two
    ids, pixels = text_and_pictures(llava, 2)
    model = llava.model.eval()
    said = model(input_ids=ids, pixel_values=pixels).logits
    tower = hf.AutoModel.from_pretrained(root / "siglip").vision_model.eval()
    seen = pixel_shuffle(tower(pixels).last_hidden_state, 2)
    seen = seen @ model.model.multi_modal_projector.proj.weight.T
    alone = hf.AutoModelForCausalLM.from_pretrained(root / "llama").eval()
    rows = alone.get_input_embeddings()(ids.clamp(max=alone.config.vocab_size - 1))
    words = merge(rows, ids, seen, placeholder=llava.chat.image_id)
    expected = alone(inputs_embeds=words).logits
    torch.testing.assert_close(said[..., : expected.shape[2]], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_fresh_flamingo_says_what_its_language_model_says_whatever_it_is_shown(root):
    llava = built(root, "flamingo")
    assert llava.eyes.tokens == 1  # pictures take no room but their placeholder
    ids, pixels = text_and_pictures(llava, 2)
    alone = hf.AutoModelForCausalLM.from_pretrained(root / "qwen2").eval()
    said = llava.model.eval()(input_ids=ids, pixel_values=pixels).logits
    kept = ids[ids != llava.chat.image_id][None]
    assert kept.shape == (1, 24)
    text = llava.model(input_ids=kept).logits[..., : alone.config.vocab_size]
    assert torch.equal(text, alone(kept).logits)
    assert torch.equal(said, llava.model(input_ids=ids, pixel_values=-pixels).logits)


@torch.no_grad()
def test_blip2_takes_over_what_the_first_stage_learnt(root):
    llava = built(root, "blip2_stage2")
    assert llava.eyes.tokens == 5
    first = load_model(tiny_llava.source(root / "stage1"), "AutoModel", "cpu", "float32").eval()
    _, pixels = text_and_pictures(llava, 2)
    projector = llava.model.eval().model.multi_modal_projector
    expected = projector.proj(first.pretraining.qformer.look(first.see(pixels)))
    found = llava.model.get_image_features(pixels).pooler_output
    torch.testing.assert_close(torch.stack(found), expected)


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("nanovlm", ()),
        ("flamingo", ("vision_tower", "language_model", "lm_head")),
        ("blip2_stage2", ("vision_tower", "language_model", "lm_head")),
    ],
)
def test_a_run_learns_in_the_parts_it_should_and_its_folder_loads_again(
    root, tmp_path, name, frozen
):
    fast = {
        "nanovlm": 'rates=[["*projector*",0.01],["*vision*",0.001],["*",0.002]]',
        "flamingo": 'rates=[["*.gated.*",0.02],["*projector*",0.02],["*",null]]',
        "blip2_stage2": 'rates=[["*projector*",0.01],["*",null]]',
    }
    built(root, name).save(tmp_path / "before")
    folder = trained(root, name, tmp_path / "run", fast[name], "epochs=99", "steps=10")
    assert losses(folder)[-1] < losses(folder)[0]
    before, after = (
        load_file(each / "model.safetensors") for each in (tmp_path / "before", folder)
    )
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert not any(part in key for key in changed for part in frozen)
    if not frozen:
        parts = {key.split(".")[1] for key in changed if key.startswith("model.")}
        assert parts == {"vision_tower", "multi_modal_projector", "language_model"}
    loaded = load_llava(tiny_llava.source(folder))
    ids, pixels = text_and_pictures(loaded, 2)
    with torch.no_grad():
        first = loaded.model.eval()(input_ids=ids, pixel_values=pixels).logits
        plain = hf.AutoModelForImageTextToText.from_pretrained(folder).eval()
        assert torch.equal(first, plain(input_ids=ids, pixel_values=pixels).logits)
        unseen = plain(input_ids=ids, pixel_values=-pixels).logits
        assert not torch.allclose(first, unseen, atol=1e-6)  # it looks
    config = json.loads((folder / "config.json").read_text())
    assert visual_tokens(config, (64, 48)).tokens == loaded.eyes.tokens
    parts = plain.model
    bridge = [parts.multi_modal_projector, *([parts.gated] if name == "flamingo" else [])]
    assert shape_of(config).bridge == sum(p.numel() for part in bridge for p in part.parameters())
    assert kind_of(str(folder)) == "generator"


def test_flamingo_learns_from_conversations_with_several_pictures_and_with_none(root, tmp_path):
    rows = []
    for number, colour in enumerate(tiny_llava.SHAPES):
        names = [f"{colour}-circle-{number}.png", f"{colour}-square-{number}.png"]
        talk = ("<image> and <image>\nWhat?", colour), ("<image>\nAgain?", f"still {colour}")
        row = tiny_llava.conversation(names[0], *talk, name=str(number))
        rows.append(row | {"image": [*names, names[0]]})
        rows.append(tiny_llava.conversation(None, ("Hello?", "hello"), name=f"text {number}"))
    (root / "shapes" / "several.json").write_text(json.dumps(rows), encoding="utf-8")
    data = root / "shapes" / "several.json"
    folder = trained(root, "flamingo", tmp_path / "run", "batch=2", "steps=4", data=data)
    assert len(losses(folder)) == 4


def test_a_flamingo_learns_colours_that_it_sees_through_its_gates_alone(root, tmp_path):
    shapes = tiny_llava.shapes(tmp_path / "shapes", each=8)
    language_model(tmp_path / "lm", [f"USER: {tiny_llava.QUESTION} ASSISTANT: red green blue"])
    values = ("batch=16", "steps=120", "every=1", "latents=8", "head_width=16", "log_every=40")
    recipe = the_recipe("flamingo", *values, "warmup=0.05", 'rates=[["*vis*",null],["*",0.003]]')
    parts = tiny_llava.source(root / "clip"), tiny_llava.source(tmp_path / "lm")
    talk = open_dialogues(shapes / "talk.json")
    scores = LlavaRun(recipe, build(recipe, *parts), talk, talk, CPU).run(tmp_path / "run", print)
    assert scores["token_accuracy"] > 99  # the words are the same for every colour


@torch.no_grad()
def test_cached_writing_of_a_flamingo_is_that_of_the_whole_sequence(root, tmp_path):
    llava = built(root, "flamingo")
    for layer in llava.model.model.gated:
        layer.attention_gate.fill_(1.5)
        layer.feed_forward_gate.fill_(1.0)
    llava.save(tmp_path)
    model = hf.AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    ids, pixels = text_and_pictures(llava, 2)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    found = model.generate(
        input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), **options
    )
    for _ in range(6):
        logits = model(input_ids=ids, pixel_values=pixels).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(2)], 1)
    assert torch.equal(found, ids)


def test_a_qformer_is_not_trained_where_no_picture_can_measure_it(root, tmp_path):
    held_out = open_pairs(tiny_llava.shapes(tmp_path / "shapes") / "captions.jsonl")
    for item in held_out.items:
        item.picture.write_bytes(b"no picture")
    run = first_stage(root, "clip", held_out=held_out)
    with pytest.raises(TrainingError, match=f"{held_out.items[0].name}.* Mend these files"):
        run.run(tmp_path / "run", print)


@torch.no_grad()
def test_a_qformer_starts_as_the_bert_it_is_made_from(root):
    run = first_stage(root, "clip")
    theirs = hf.BertForMaskedLM.from_pretrained(root / "bert").eval()
    theirs.bert.embeddings.token_type_embeddings.weight.zero_()  # BLIP-2 has none
    model = run.parts.model.eval()
    ids, mask = run.parts.tokens(["a red circle", "blue squares a circle"])
    ours = model.pretraining.qformer.read(ids, mask)
    expected = theirs.bert(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)
    head = model.pretraining.words(model.pretraining.write(expected))
    torch.testing.assert_close(head[..., :12], theirs.cls(expected), rtol=1e-4, atol=1e-5)
    assert run.parts.tokenizer.bos_token_id == 12 == model.config.begin
    layer = model.pretraining.qformer.layers[1]
    assert torch.equal(
        layer.query_feed_forward.part[0].weight, layer.word_feed_forward.part[0].weight
    )
    missing = model.pretraining.state_dict().keys() - qformer_state(theirs.state_dict(), 13).keys()
    new = ("query", "cross", "projection", "match", "logit_scale")
    assert all(any(part in name for part in new) for name in missing)


def test_the_first_stage_learns_to_match_and_leaves_the_tower_alone(root, tmp_path):
    pairs = open_pairs(root / "shapes" / "captions.jsonl")
    run = first_stage(root, "siglip", "steps=12", 'rates=[["*vision*",null],["*",0.003]]')
    run.validation = pairs
    scores = run.run(tmp_path / "run", print)
    ways = ("text_to_image", "image_to_text")
    assert set(scores) == {f"{way}_r{k}" for way in ways for k in (1, 10)}
    found = losses(tmp_path / "run")
    assert sum(found[-3:]) < sum(found[:3])
    after = load_file(tmp_path / "run" / "model.safetensors")
    tower = hf.AutoModel.from_pretrained(root / "siglip").vision_model.state_dict()
    kept = {k.removeprefix("vision_model."): v for k, v in after.items() if k.startswith("vision")}
    assert len(kept) >= len(tower)
    for name, value in kept.items():
        own = tower[name.removeprefix("vision_model.")]
        assert torch.equal(value, own), name


def test_parts_that_do_not_fit_a_recipe_are_refused(root):
    with pytest.raises(UsageError, match="set `factor` to one of 2, 4"):
        built(root, "nanovlm", "factor=3")
    with pytest.raises(UsageError, match="a gated layer in 9"):
        built(root, "flamingo", "every=9")
    clip, stage1, gpt2 = (tiny_llava.source(root / n) for n in ("clip", "stage1", "gpt2"))
    with pytest.raises(UsageError, match="name the folder of `polymodal train qformer`"):
        build(the_recipe("blip2_stage2"), clip, gpt2)
    with pytest.raises(UsageError, match="go on with --recipe blip2_stage2"):
        build(the_recipe("flamingo"), stage1, gpt2)
    with pytest.raises(UsageError, match="starts from a BERT"):
        first_stage(root, "clip", text="gpt2")
    with pytest.raises(UsageError, match="nothing to contrast"):
        first_stage(root, "clip", "batch=1")
    with pytest.raises(ModelUnavailable, match=r"writes nothing yet.*blip2_stage2"):
        kind_of(str(root / "stage1"))


def test_the_commands_build_train_and_answer(root, tmp_path):
    def cli(*given, code=0):
        ran = CliRunner().invoke(app, [str(each) for each in given], prog_name="polymodal")
        if ran.exception and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert ran.exit_code == code, ran.output
        return ran.output

    few = [part for value in FEW for part in ("--set", value)]
    captions, talk = root / "shapes" / "captions.jsonl", root / "shapes" / "talk.json"
    said = cli(
        *("train", "qformer", captions, "--vision", root / "clip", "--text", root / "bert"),
        *("-o", tmp_path / "q", "--dry-run", *few),
    )
    assert "trained" in said
    own = ("train", "qformer", captions, "--vision", "starter", "--text", root / "bert")
    assert "starter is no checkpoint of transformers" in cli(*own, "-o", tmp_path / "q", code=2)
    how = ("--vision", root / "siglip", "--language", root / "llama", "-o", tmp_path / "nano")
    start = ("train", "align", talk, "--recipe", "nanovlm", *how)
    wrong = cli(*start, *few, "--set", "factr=2", code=2)
    assert "has no value 'factr'. Did you mean 'factor'?" in wrong
    cli(*start, *few, "--set", "factor=2", "-q")
    record = json.loads((tmp_path / "nano" / "run.json").read_text())
    assert record["recipe"]["factor"] == 2
    assert "mp_pixel_shuffle_factor" in record["recipe"]["sources"]["factor"]
    picture = root / "shapes" / "red-circle-0.png"
    asked = cli("ask", picture, "-q", "What?", "-m", tmp_path / "nano", "--max-tokens", 4, "--json")
    assert json.loads(asked.splitlines()[0])["question"] == "What?"
