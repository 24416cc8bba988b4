"""Checkpoints in the pool: resident memory, work that runs out of memory, precision."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

import polymodal as pm
from polymodal.catalog.hub_models import open_hub_embedder, open_hub_generator
from polymodal.models.precision import Precision
from polymodal.runtime import memory
from polymodal.runtime.pool import Pool
from tests.hub import tiny

Get = Callable[[str], Path]
MB = 1_000_000


@pytest.fixture(scope="module")
def larger(checkpoint: Get, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two CLIPs of 15 million parameters, 60 MB in float32."""
    tower = {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8}
    processor = hf.CLIPProcessor.from_pretrained(checkpoint("clip"))
    small = hf.CLIPConfig.from_pretrained(checkpoint("clip"))
    text = {**small.text_config.to_dict(), **tower, "num_hidden_layers": 4}
    vision = {**small.vision_config.to_dict(), **tower, "num_hidden_layers": 3}
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        folder = tmp_path_factory.mktemp(f"clip-{seed}")
        hf.CLIPModel(config).save_pretrained(folder)
        processor.save_pretrained(folder)
        made.append(folder)
    return made


@pytest.fixture
def _few_objects() -> Iterator[None]:
    """The collector need not look at what the test run imported, again for every load."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.usefixtures("_few_objects")
def test_two_checkpoints_in_a_budget_for_one_leave_resident_memory_flat(
    larger: Sequence[Path],
) -> None:
    size = held(larger[0])
    assert size > 50 * MB
    pool = Pool(int(1.6 * size))
    models = [open_hub_embedder(str(folder), device="cpu") for folder in larger]
    for name, model in zip("ab", models, strict=True):
        pool.adopt(model, name)
    pixels = models[0].preprocess(tiny.picture(1))
    first = [model.embed_images([pixels]) for model in models]
    seen, measured = [], set()
    for _ in range(10):
        for turn in (0, 1, 0, 1):
            assert (models[turn].embed_images([pixels]) == first[turn]).all()
            (loaded,) = [each for each in pool.models() if each.part == "weights"]
            assert loaded.model == "ab"[turn]
            measured.add(loaded.host_bytes)
        seen.append(memory.host_used())
    assert max(seen[1:]) - min(seen[1:]) < size / 4
    assert all(0.8 * size < each < 1.2 * size for each in measured)
    before = memory.host_used()
    pool.unload()
    assert before - memory.host_used() > 0.8 * size


def test_a_checkpoint_that_cannot_fit_is_refused_before_it_is_read(larger: Sequence[Path]) -> None:
    suite = pm.Suite(str(larger[0]), device="cpu", memory="20MB")
    with pytest.raises(pm.NotEnoughMemory, match=r"needs \d\d MB.*20 MB.*--dtype bfloat16"):
        suite.embed(texts="cat")
    assert [each.part for each in suite.models()] in ([], ["processor"])


class Tight:
    """A model's method that has memory for so many rows; and what it was asked for."""

    def __init__(self, method: Any, rows: int, error: type[Exception]) -> None:
        self.method = method
        self.rows = rows
        self.error = error
        self.asked: list[int] = []

    def __call__(self, **inputs: Any) -> Any:
        count = len(inputs.get("pixel_values", inputs.get("input_ids")))
        self.asked.append(count)
        if count > self.rows:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.method(**inputs)


def test_a_batch_that_runs_out_of_memory_makes_room_and_is_halved(checkpoint: Get) -> None:
    pool = Pool()
    model = open_hub_embedder(str(checkpoint("clip")), device="cpu")
    other = open_hub_embedder(str(checkpoint("siglip")), device="cpu")
    pool.adopt(model, "clip")
    pool.adopt(other, "siglip")
    other.embed_texts(["cat"])
    pixels = [model.preprocess(tiny.picture(n)) for n in range(8)]
    wanted = model.embed_images(pixels)
    with model.residents[0].use() as loaded:
        tight = Tight(loaded.model.get_image_features, 3, torch.OutOfMemoryError)
        loaded.model.get_image_features = tight
    assert {each.model for each in pool.models()} == {"clip", "siglip"}
    np.testing.assert_allclose(model.embed_images(pixels), wanted, atol=1e-6)
    assert tight.asked == [8, 4, 2, 2, 4, 2, 2]
    assert {each.model for each in pool.models()} == {"clip"}


def test_one_item_that_does_not_fit_alone_says_what_would(checkpoint: Get) -> None:
    pool = Pool()
    model = open_hub_embedder(str(checkpoint("clip")), device="cpu")
    pool.adopt(model, "clip")
    pixels = model.preprocess(tiny.picture(0))
    with model.residents[0].use() as loaded:
        loaded.model.get_image_features = Tight(None, 0, torch.OutOfMemoryError)
    with pytest.raises(pm.NotEnoughMemory, match=r"clip .* on cpu for a picture alone.*--quantize"):
        model.embed_images([pixels])
    with model.residents[0].use() as loaded:
        loaded.model.get_image_features = Tight(None, 0, RuntimeError)
    with pytest.raises(pm.NotEnoughMemory):  # as torch says it on a CPU
        model.embed_images([pixels])
    pool.unload()
    assert model.embed_images([pixels]).shape == (1, 16)


def test_a_conversation_that_does_not_fit_fails_alone(checkpoint: Get) -> None:
    def asked(words: str) -> list[pm.Message]:
        return [pm.Message.user(words)]

    model = open_hub_generator(str(checkpoint("qwen2_vl")), device="cpu")
    Pool().adopt(model, "qwen")
    options = pm.GenerationOptions(max_tokens=4)
    short, long = asked("What?"), asked("What is this? " * 9)
    wanted = model.generate([short, short], options)
    with model.residents[0].use() as loaded:
        whole = loaded.model.generate

        def tight(**inputs: Any) -> Any:
            if inputs["input_ids"].numel() > 80:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return whole(**inputs)

        loaded.model.generate = tight
    first, failed, last = model.generate([short, long, short], options)
    assert isinstance(first, pm.Generation)
    assert isinstance(last, pm.Generation)
    assert isinstance(wanted[0], pm.Generation)
    assert first.text == last.text == wanted[0].text
    assert isinstance(failed, pm.NotEnoughMemory)
    assert "tokens and an answer of up to 4 do not fit into the memory of cpu" in str(failed)
    with pytest.raises(pm.NotEnoughMemory):
        list(model.stream(long, options))


def test_a_stream_that_runs_out_of_memory_before_a_word_begins_anew(checkpoint: Get) -> None:
    pool = Pool()
    model = open_hub_generator(str(checkpoint("qwen2_vl")), device="cpu")
    other = open_hub_embedder(str(checkpoint("siglip")), device="cpu")
    pool.adopt(model, "qwen")
    pool.adopt(other, "siglip")
    other.embed_texts(["cat"])
    asked, options = [pm.Message.user("What?")], pm.GenerationOptions(max_tokens=6)
    wanted = list(model.stream(asked, options))
    held: list[weakref.ref[Any]] = []
    with model.residents[0].use() as loaded:
        whole = loaded.model.generate

        def tight(**inputs: Any) -> Any:
            if not held:
                activations = torch.zeros(8)
                held.append(weakref.ref(activations))
                raise torch.OutOfMemoryError("CUDA out of memory.")
            assert held[0]() is None, "what the failed attempt held is still there"
            return whole(**inputs)

        loaded.model.generate = tight
    assert {each.model for each in pool.models()} == {"qwen", "siglip"}
    found = list(model.stream(asked, options))
    assert found[:-1] == wanted[:-1]
    assert {each.model for each in pool.models()} == {"qwen"}


def test_a_stream_that_runs_out_of_memory_after_words_says_how_many(checkpoint: Get) -> None:
    model = open_hub_generator(str(checkpoint("qwen2_vl")), device="cpu")
    asked, options = [pm.Message.user("What?")], pm.GenerationOptions(max_tokens=6)
    *pieces, _ = model.stream(asked, options)
    assert "".join(map(str, pieces)).strip()
    tries = []
    with model.residents[0].use() as loaded:
        whole = loaded.model.generate

        def tight(**inputs: Any) -> Any:
            tries.append(1)
            whole(**inputs)  # which tells its pieces
            raise torch.OutOfMemoryError("CUDA out of memory.")

        loaded.model.generate = tight
    told: list[str] = []
    with pytest.raises(pm.NotEnoughMemory, match=r"ran out after \d+ characters of the answer"):
        told.extend(map(str, model.stream(asked, options)))
    assert "".join(told)
    assert len(tries) == 1


def test_another_error_is_not_taken_for_memory(checkpoint: Get) -> None:
    model = open_hub_embedder(str(checkpoint("clip")), device="cpu")
    with model.residents[0].use() as loaded:
        tight = Tight(None, 0, RuntimeError)
        tight.error = lambda _: RuntimeError("shapes do not match")  # type: ignore[assignment]
        loaded.model.get_image_features = tight
    with pytest.raises(RuntimeError, match="shapes do not match"):
        model.embed_images([model.preprocess(tiny.picture(0))] * 2)
    assert tight.asked == [2]


def weight_bytes(suite: pm.Suite) -> int:
    """Of the model that is loaded."""
    parts: Any = suite.embedder()
    (part,) = (each for each in parts.residents if each.part == "weights")
    with part.use() as loaded:
        return sum(each.nbytes for each in loaded.model.parameters())


def test_half_precision_takes_half_and_is_another_space(larger: Sequence[Path]) -> None:
    suite = pm.Suite(str(larger[0]), device="cpu", dtype="bfloat16")
    whole = pm.Suite(str(larger[0]), device="cpu")
    picture = tiny.picture(2)
    half, full = suite.embed(images=picture), whole.embed(images=picture)
    assert half.space.revision == f"{full.space.revision} bfloat16"
    with pytest.raises(pm.SpaceMismatch):
        half.similarity(full)
    assert float(half.vectors[0] @ full.vectors[0]) > 0.99
    sizes = [
        next(each.host_bytes for each in s.models() if each.part == "weights")
        for s in (suite, whole)
    ]
    # Less than half where what an earlier test gave back is used again, so the weights are counted.
    assert sizes[0] < 0.65 * sizes[1]
    assert 0.35 < weight_bytes(suite) / weight_bytes(whole) < 0.65


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_answers_in_half_precision_are_those_of_transformers(checkpoint: Get, dtype: str) -> None:
    folder = checkpoint("qwen2_vl")
    model = open_hub_generator(str(folder), device="cpu", precision=Precision(dtype))
    assert model.info.revision.endswith(f" {dtype}")
    (found,) = model.generate([[pm.Message.user("What?")]], pm.GenerationOptions(max_tokens=5))
    direct = hf.AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    processor = hf.AutoProcessor.from_pretrained(folder)
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "What?"}]}],
        add_generation_prompt=True,
    )
    inputs = processor(text=[prompt], return_tensors="pt")
    ids = direct.generate(**inputs, max_new_tokens=5, do_sample=False)[0]
    wanted = processor.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert isinstance(found, pm.Generation)
    assert found.text == wanted.strip()


@pytest.mark.parametrize(("quantize", "share"), [("8bit", 0.45), ("4bit", 0.35)])
def test_quantised_weights_take_less_and_stay_close(
    larger: Sequence[Path], quantize: str, share: float
) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quantize` is not installed")
    folder = str(larger[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, on a machine without CUDA
        small = open_hub_embedder(folder, device="cpu", precision=Precision(quantize=quantize))
        whole = open_hub_embedder(folder, device="cpu")
        pixels = [whole.preprocess(tiny.picture(n)) for n in range(3)]
        cosines = (small.embed_images(pixels) * whole.embed_images(pixels)).sum(axis=1)
    assert cosines.min() > 0.9
    assert small.space.revision == f"{whole.space.revision} bfloat16 {quantize}"
    with small.residents[0].use() as loaded, whole.residents[0].use() as other:
        sizes = [each.model.get_memory_footprint() for each in (loaded, other)]
    assert sizes[0] / sizes[1] < share


def test_four_bits_hold_layers_of_any_width(checkpoint: Get) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra `quantize` is not installed")
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    folder = checkpoint("clip")  # 32 wide, and bitsandbytes packs blocks of 64
    pixels = tiny.picture(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, on a machine without CUDA
        small = open_hub_embedder(str(folder), device="cpu", precision=Precision(quantize="4bit"))
        found = small.embed_images([small.preprocess(pixels)])[0]
        with small.residents[0].use() as loaded:
            held = [each for each in loaded.model.modules() if hasattr(each, "quant_state")]
            assert any(each.in_features == 32 for each in held)
            assert all(each.weight.dtype == torch.uint8 for each in held)
        model = hf.CLIPModel.from_pretrained(folder, dtype=torch.bfloat16)
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                packed = quantize_4bit(layer.weight.data, blocksize=64, quant_type="nf4")
                layer.weight.data = dequantize_4bit(*packed)
    inputs = hf.CLIPImageProcessor.from_pretrained(folder)(pixels, return_tensors="pt")
    with torch.inference_mode():
        wanted = model.get_image_features(pixel_values=inputs["pixel_values"].bfloat16())
    wanted = getattr(wanted, "pooler_output", wanted)[0].float().numpy()
    assert found @ wanted / np.linalg.norm(wanted) > 0.999


def test_what_is_no_precision_or_device_is_refused(checkpoint: Get) -> None:
    folder = str(checkpoint("clip"))
    with pytest.raises(pm.UsageError, match="dtype 'int3' is not known; use auto, float32"):
        pm.Suite(folder, dtype="int3").embedder()
    with pytest.raises(pm.UsageError, match="quantize '2bit' is not known"):
        pm.Suite(folder, quantize="2bit").embedder()
    with pytest.raises(pm.UsageError, match="starter comes in one precision"):
        pm.Suite(quantize="8bit").embedder()
    if not torch.cuda.is_available():
        with pytest.raises(pm.UsageError, match="no GPU cuda: torch finds none; use cpu"):
            pm.Suite(folder, device="cuda").embed(texts="cat")
