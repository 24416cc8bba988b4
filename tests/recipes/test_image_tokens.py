"""Pictures as tokens on a few small drawings: labels, codebooks, the whole study, resuming."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from polymodal.errors import UsageError
from polymodal.nn.transformer import CausalTransformer
from polymodal.nn.vq import VQTokenizer
from recipes.image_tokens import measure, report, settings, stages
from recipes.image_tokens.data import COLOURS, SHAPES, Drawings, drawings, stated
from recipes.image_tokens.judge import Judge
from recipes.image_tokens.study import study

ROOT = Path(__file__).resolve().parents[2]
SIDE = 16


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(count, seed):
    """Drawings of 16 x 16 px of every colour: the shape is a bar's width."""
    random = torch.Generator().manual_seed(seed)
    tints = torch.randint(0, 256, (len(COLOURS), 3), generator=torch.Generator().manual_seed(5))
    colour = torch.arange(count) % len(COLOURS)
    shape = torch.randint(0, len(SHAPES), (count,), generator=random)
    pixels = torch.full((count, 3, SIDE, SIDE), 240, dtype=torch.uint8)
    for row in range(count):
        pixels[row, :, 4:12, 2 : 5 + 4 * int(shape[row])] = tints[colour[row]][:, None, None].byte()
    shape[::9] = -1  # not said of every drawing
    return Drawings(pixels, colour, shape)


def tiny(**values):
    plan = settings.planned()
    short = {"epochs": 2, "batch": 8, "log_every": 1000, **values}
    return settings.Plan(
        dataclasses.replace(plan.tokenizer, codes=16, width=4, hidden=8, **short),
        dataclasses.replace(plan.drawing, width=16, depth=1, heads=2, **short),
        asked=2,
    )


@pytest.fixture(scope="module")
def parts():
    return {"train": small(64, 0), "dev": small(24, 1), "test": small(24, 2)}


def test_questions_say_what_is_drawn():
    assert stated("what color is the circle?", "red") == {"red", "circle"}
    assert stated("is there a red shape?", "yes") == {"red"}
    assert stated("is there a red shape?", "no") == set()
    assert stated("is there not a triangle in the image?", "no") == {"triangle"}
    assert stated("is no teal shape present?", "yes") == set()


def test_the_words_of_the_packages_drawings_are_those_of_their_pixels():
    """Each colour is one colour of pixels, and the pixels of a rectangle fill their box."""
    found = drawings()
    assert {name: len(part) for name, part in found.items()} == {
        "train": 3600,
        "dev": 400,
        "test": 1000,
    }
    named = found["test"].named()
    assert len(named) > 800
    middle = [
        np.unique(pixels.flatten(1).T.numpy(), axis=0, return_counts=True)
        for pixels in named.pixels[:100]
    ]
    inked = [values[counts.argsort()[-2]] for values, counts in middle]
    tints = {tuple(tint): int(colour) for tint, colour in zip(inked, named.colour, strict=False)}
    assert len(tints) == len(set(tints.values())) == len(COLOURS)
    for tint, pixels, shape in zip(inked, named.pixels[:100], named.shape, strict=False):
        ink = (pixels.permute(1, 2, 0).numpy() == tint).all(2)
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert (ink.sum() == box) == (SHAPES[shape] == "rectangle")


def test_drawings_that_it_has_not_seen_are_judged_right():
    found = drawings()
    judge, test = Judge.of(found["train"].named()), found["test"].named()
    colour, shape = judge.says(test.pixels)
    assert (colour == test.colour).float().mean() > 0.99
    assert (shape == test.shape).float().mean() > 0.97
    blurred = F.avg_pool2d(test.pixels.float(), 3, stride=1, padding=1).byte()
    assert (judge.says(blurred)[0] == test.colour).float().mean() > 0.9
    blank = torch.full((2, 3, 64, 64), 230, dtype=torch.uint8)
    blank[:, :, 5, 5] = 0  # a dot is no shape
    assert judge.says(blank)[0].tolist() == judge.says(blank)[1].tolist() == [-1, -1]


def test_a_codebook_trained_by_gradients_has_the_papers_loss():
    book = stages.TrainedCodebook(8, 3, commitment=0.25)
    vector = torch.randn(20, 3, requires_grad=True)
    through, ids, commitment = book(vector)
    chosen = book.code_KD[ids]
    assert torch.equal(ids, torch.cdist(vector, book.code_KD).argmin(1))
    torch.testing.assert_close(through, chosen)
    paper = F.mse_loss(vector.detach(), chosen) + 0.25 * F.mse_loss(vector, chosen.detach())
    wanted = torch.autograd.grad(paper, [vector, book.code_KD])
    given = torch.autograd.grad(0.25 * commitment, [vector, book.code_KD])
    torch.testing.assert_close(given, wanted)


def test_bits_are_those_of_the_models_whole_sequence():
    torch.manual_seed(0)
    model = CausalTransformer(20, width=8, depth=1, heads=2, positions=7).eval()
    ids = torch.randint(0, 20, (5, 7))
    logit = model(ids)  # of every next token; those after the second word are the codes'
    expected = F.cross_entropy(logit[:, 1:-1].flatten(0, 1), ids[:, 2:].flatten()) / math.log(2)
    assert stages.bits(model, ids) == pytest.approx(expected.item(), rel=1e-5)


def test_counts_are_entropies_where_train_and_test_are_the_same():
    ids = torch.tensor([[0, 1], [0, 3]]).repeat(5000, 1)
    assert measure.unigram_bits(ids, ids, 4, by_place=False) == pytest.approx(1.5, abs=1e-2)
    assert measure.unigram_bits(ids, ids, 4, by_place=True) == pytest.approx(0.5, abs=1e-2)
    assert measure.perplexity(ids, 4) == pytest.approx(2**1.5)
    assert measure.dead_codes(ids, 4) == 1


def test_psnr_is_that_of_the_error():
    pixels = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    assert measure.psnr_db(pixels, pixels + 51) == pytest.approx(20 * math.log10(5), abs=1e-4)
    assert measure.psnr_db(pixels, pixels) == pytest.approx(58.13, abs=0.01)
    pixels[:, :, 0] = 0
    assert torch.equal(measure.flat(pixels), torch.full_like(pixels, 100))


def test_pictures_come_back_in_their_size_and_as_bytes():
    model = VQTokenizer(codes=16, width=4, halvings=1, hidden=8, channels=48).eval()
    pixels = small(5, 0).pixels
    assert stages.codes_of(model, pixels).shape == (5, 2, 2)
    assert stages.rebuilt(model, pixels).shape == pixels.shape
    assert torch.equal(stages.unfolded(stages.folded(pixels)), pixels)


def test_the_study_goes_from_drawings_to_a_page(parts, tmp_path):
    found = study(parts, tiny(epochs=6), tmp_path / "run", lambda _: None)
    numbers = found.results
    assert numbers == json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert list(numbers["codebooks"]) == list(settings.CODEBOOKS)
    assert numbers["places"] == 4
    assert numbers["drawings"]["test"] == [24, 21]
    # What is learned in six passes is little, and more than nothing.
    assert numbers["bits"]["model"] < math.log2(16 + 11)
    assert numbers["codebooks"]["restarts"]["psnr_db"] > 5
    assert found.drawn.pixels.shape == (48, 3, SIDE, SIDE)
    report.write_image(found, tmp_path / "run" / "samples.png")
    report.write_page(numbers, tmp_path / "run" / "samples.png", tmp_path / "docs")
    page = (tmp_path / "docs" / "image-tokens.md").read_text(encoding="utf-8")
    assert "| running means, dead codes restart |" in page
    with Image.open(tmp_path / "docs" / "images" / "image-tokens.png") as image:
        assert image.width > 400


def test_a_tokenizer_that_was_stopped_goes_on_bit_for_bit(parts, tmp_path):
    recipe = tiny(save_every=4).tokenizer

    def trained(folder, recipe, **how):
        where = stages.Where(folder, lambda _: None, **how)
        return stages.tokenizer(parts["train"], parts["dev"], recipe, where).state_dict()

    whole = trained(tmp_path / "whole", recipe)
    trained(tmp_path / "part", recipe)
    for last in sorted((tmp_path / "part" / "checkpoints").glob("step-*.pt"))[1:]:
        last.unlink()  # as if it had been killed after the first of the checkpoints that are kept
    assert len(list((tmp_path / "part" / "checkpoints").glob("step-*.pt"))) == 1
    resumed = trained(tmp_path / "part", recipe, resume=True)
    assert whole.keys() == resumed.keys()
    assert {"quantizer.code_KD", "quantizer.count_K", "quantizer.sum_KD"} <= whole.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_folder_with_a_run_is_not_overwritten_and_changes_are_told(parts, tmp_path):
    recipe = tiny(steps=1).tokenizer

    def again(recipe, **how):
        where = stages.Where(tmp_path, lambda _: None, **how)
        return stages.tokenizer(parts["train"], parts["dev"], recipe, where)

    again(recipe)
    with pytest.raises(UsageError, match="already holds a run"):
        again(recipe)
    with pytest.raises(UsageError, match=r"batch: 8 -> 4"):
        again(dataclasses.replace(recipe, batch=4), resume=True)
    again(dataclasses.replace(recipe, batch=4), resume=True, accept_changes=True)


def test_a_report_without_a_run_says_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "recipes.image_tokens", "--report", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "holds no results.json: finish a run with --output first" in ran.stderr
