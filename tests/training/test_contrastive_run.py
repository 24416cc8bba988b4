"""Runs of `polymodal train contrastive`, from the command line to the folder that verbs load."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from polymodal import TrainingError, UsageError
from polymodal.models.hub_loading import Source
from polymodal.models.tensorfiles import find_weight_files
from polymodal.training.contrastive_run import ContrastiveRun
from polymodal.training.contrastive_task import ContrastiveTask
from polymodal.training.pairs import open_pairs
from polymodal.training.recipes import CONTRASTIVE, clip_finetune, recipe_called
from polymodal.training.settings import overridden
from tests.hub.tiny import clip, siglip
from tests.training import tiny
from tests.training.running import ROOT, assigned, changed, cli, weights

FEW = ["batch=8", "steps=6", "epochs=99", "warmup=2", "log_every=2", "save_every=2"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.table(tmp_path_factory.mktemp("data"))


def the_run(checkpoint, data, *values, recipe="clip_finetune"):
    source = Source(str(checkpoint), checkpoint, find_weight_files(checkpoint))
    chosen = overridden(recipe_called(recipe), [*FEW, *values])
    return ContrastiveRun(chosen, source, open_pairs(data), None, torch.device("cpu"))


def run(checkpoint, data, folder, *values, recipe="clip_finetune", **others):
    said = []
    the_run(checkpoint, data, *values, recipe=recipe).run(folder, said.append, **others)
    return said


def test_a_trained_folder_serves_every_verb_that_needs_vectors(checkpoint, data, tmp_path):
    folder = tmp_path / "run"
    values = assigned(*FEW)
    said = cli(
        *("train", "contrastive", data, "-m", checkpoint, "-o", folder, "--json", *values),
        *("--validation", data),
    )
    found = json.loads(said)
    assert set(found["scores"]) >= {"text_to_image_r1", "image_to_text_r10"}
    picture = data.parent / "red" / "0.jpg"
    vector = json.loads(cli("embed", picture, "-m", folder, "--json"))["vector"]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    record = json.loads((folder / "run.json").read_text())
    assert record["recipe"]["batch"] == 8
    assert record["on"]["data_fingerprint"] == open_pairs(data).fingerprint
    assert {"python", "torch", "transformers"} <= set(record["versions"])
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [2, 4, 6]
    assert all({"samples_per_s", "data_wait", "peak_memory_mb"} <= set(line) for line in steps)
    assert "clip_finetune" in (folder / "README.md").read_text()


def test_fitting_raises_what_is_validated(checkpoint, data, tmp_path):
    source = Source(str(checkpoint), checkpoint, find_weight_files(checkpoint))
    values = ["batch=24", "epochs=60", "warmup=5", 'rates=[["*",3e-3]]', "validate_every=1"]
    recipe = overridden(clip_finetune(), [*values, "log_every=100"])
    colours = open_pairs(data.parent)
    task = ContrastiveRun(recipe, source, colours, colours, torch.device("cpu"))
    said = []
    task.run(tmp_path / "run", said.append)
    scores = [float(line.split()[-1]) for line in said if "zero_shot" in line]
    assert sum(line.startswith("step 0: zero_shot") for line in said) == 1  # before any step
    assert scores[0] < 60
    assert scores[-1] > 90


@pytest.mark.parametrize("values", [[], ["ema=0.9", "chunks=3"]])
def test_a_run_killed_and_resumed_ends_bit_for_bit_as_one_that_was_not(
    checkpoint, data, tmp_path, values
):
    started = (*("train", "contrastive", data, "-m", checkpoint), "-q")
    chosen = assigned(*FEW, "steps=60", *values)
    run(checkpoint, data, tmp_path / "whole", "steps=60", *values)
    command = [sys.executable, "-m", "polymodal", *map(str, started), "-o", str(tmp_path / "run")]
    child = subprocess.Popen(
        [*command, *chosen], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    while not list(checkpoints.glob("step-*.pt")) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "run" / "model.safetensors").exists()  # it was really cut off
    run(checkpoint, data, tmp_path / "run", "steps=60", *values, resume=True)
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    last = "checkpoints/step-00000060.pt"
    one, other = (torch.load(tmp_path / each / last) for each in ("whole", "run"))
    assert torch.equal(one["random"][0], other["random"][0])
    for name, state in one["optimiser"]["state"].items():
        for key, value in state.items():
            assert torch.equal(value, other["optimiser"]["state"][name][key]), (name, key)


def test_a_moving_average_is_what_is_kept_and_goes_on_where_it_was(checkpoint, data, tmp_path):
    values = ["ema=0.5", 'rates=[["*",0.01]]', "save_every=1", "keep_last=9"]
    run(checkpoint, data, tmp_path / "run", *values)
    states = [
        torch.load(tmp_path / "run" / "checkpoints" / f"step-{step:08d}.pt") for step in range(1, 7)
    ]
    average = {f"encoder.model.{name}": value for name, value in weights(checkpoint).items()}
    for step, state in enumerate(states, 1):
        rate = min(0.5, (1 + step) / (10 + step))
        for name, before in average.items():
            if name in state["model"]:
                average[name] = rate * before + (1 - rate) * state["model"][name]
    matrices = [name for name in average if name in states[-1]["model"] and average[name].ndim > 1]
    assert len(matrices) > 20
    final = weights(tmp_path / "run")
    for name in matrices:
        kept = states[-1]["average"][name]
        torch.testing.assert_close(kept, average[name])
        assert not torch.allclose(kept, states[-1]["model"][name])
        assert torch.equal(kept, final[name.removeprefix("encoder.model.")])
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    for step in (5, 6):
        (tmp_path / "again" / "checkpoints" / f"step-{step:08d}.pt").unlink()
    run(checkpoint, data, tmp_path / "again", *values, resume=True)
    assert not changed(final, weights(tmp_path / "again"))


def test_tensorboard_reads_what_is_logged(checkpoint, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(checkpoint, data, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "rate", "samples_per_s", "data_wait", "peak_memory_mb"):
        found = [(each.step, each.value) for each in events.Scalars(name)]
        assert [step for step, _ in found] == [2, 4, 6]
        assert [value for _, value in found] == pytest.approx([line[name] for line in lines])


def test_compiled_towers_learn_as_plain_ones_do(checkpoint, data, tmp_path, monkeypatch):
    """All that is compiled is traced; the code that inductor would make of it takes minutes."""
    real, compiled = torch.nn.Module.compile, []

    def traced(module):
        compiled.append(module)
        real(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    values = ["chunks=2", 'rates=[["*",0.001]]', "steps=3"]
    run(checkpoint, data, tmp_path / "plain", *values)
    assert not compiled
    run(checkpoint, data, tmp_path / "compiled", *values, "compile=true")
    assert len(compiled) == 1
    plain, other = (weights(tmp_path / name) for name in ("plain", "compiled"))
    assert changed(weights(checkpoint), plain)
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def test_resuming_with_other_values_lists_them(checkpoint, data, tmp_path):
    run(checkpoint, data, tmp_path / "run", "steps=2")
    with pytest.raises(UsageError, match=r"(?s)steps: 2 -> 4.*decay: 0.1 -> 0.2.*accept-changes"):
        run(checkpoint, data, tmp_path / "run", "steps=4", "decay=0.2", resume=True)
    with pytest.raises(UsageError, match="go on with --resume"):
        run(checkpoint, data, tmp_path / "run", "steps=2")
    with pytest.raises(UsageError, match="holds no run to resume"):
        run(checkpoint, data, tmp_path / "other", resume=True)
    run(checkpoint, data, tmp_path / "run", "steps=4", resume=True, accept_changes=True)
    assert (tmp_path / "run" / "checkpoints" / "step-00000004.pt").is_file()


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_batch(
    checkpoint, data, tmp_path, monkeypatch
):
    from polymodal.training import contrastive_task

    real, calls = contrastive_task.contrastive_step, []

    def broken(*arguments, **others):
        calls.append(1)
        value = real(*arguments, **others)
        return value * float("nan") if len(calls) == 5 else value

    monkeypatch.setattr(contrastive_task, "contrastive_step", broken)
    with pytest.raises(TrainingError, match=r"loss of step 5 is nan.*\.jpg.*step-00000004.pt is"):
        run(checkpoint, data, tmp_path / "run")
    monkeypatch.undo()
    run(checkpoint, data, tmp_path / "run", resume=True)
    run(checkpoint, data, tmp_path / "whole")
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_full_disk_leaves_the_earlier_checkpoint(checkpoint, data, tmp_path, monkeypatch):
    real, calls = torch.save, []

    def full(state, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"No space left.*step-00000002.pt is intact"):
        run(checkpoint, data, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert [each.name for each in folder.iterdir()] == ["step-00000002.pt"]


def test_a_disk_that_is_full_at_the_end_leaves_a_run_that_is_resumed(
    checkpoint, data, tmp_path, monkeypatch
):
    def full(*arguments, **options):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    run(checkpoint, data, tmp_path / "whole")
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(TrainingError, match=r"run cannot be written to \(.*No space.*--resume"):
        run(checkpoint, data, tmp_path / "run")
    monkeypatch.undo()
    run(checkpoint, data, tmp_path / "run", resume=True)
    assert not changed(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_full_disk_while_reporting_says_so(checkpoint, data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"No space left on device.*intact"):
        run(checkpoint, data, tmp_path / "run")


def test_the_last_checkpoints_and_the_best_are_kept(checkpoint, data, tmp_path):
    task = the_run(checkpoint, data, "validate_every=2", "steps=10")
    task.validation = task.data
    task.run(tmp_path / "run", lambda line: None)
    names = sorted(each.name for each in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.pt", "step-00000008.pt", "step-00000010.pt"]


def test_the_best_is_the_best_of_those_that_were_measured(checkpoint, data, tmp_path, monkeypatch):
    scores = iter([9.0, 8.0, 7.0, 6.0])  # before, and after the steps 3, 6 and 7
    monkeypatch.setattr(ContrastiveTask, "validate", lambda task: {"score": next(scores)})
    run(checkpoint, data, tmp_path / "run", "validate_every=3", "save_every=2", "steps=7")
    assert torch.load(tmp_path / "run" / "checkpoints" / "best.pt")["step"] == 6


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("batch=1", "nothing to contrast"),
        ("chunks=9", "cannot be split into 9 chunks: set `chunks` to 1 to 8"),
        ('rates=[["encoder.model.text*",1e-4]]', "no pattern in `rates` covers the parameter"),
        ('rates=[["*",1e-4],["encoder.*",1]]', "'encoder.\\*' in `rates` covers no parameter"),
        ('rates=[["*",null]]', "nothing to train"),
        (["loss=sigmoid", "label_smoothing=0.1"], "label_smoothing is for loss=infonce"),
    ],
)
def test_values_that_cannot_work_are_refused(checkpoint, data, tmp_path, value, said):
    with pytest.raises(UsageError, match=said):
        run(checkpoint, data, tmp_path / "run", *([value] if isinstance(value, str) else value))


def test_unknown_names_come_with_the_nearest(checkpoint, data, tmp_path):
    with pytest.raises(UsageError, match=r"no value 'bach'\. Did you mean 'batch'"):
        run(checkpoint, data, tmp_path / "run", "bach=3")
    with pytest.raises(UsageError, match="Did you mean 'clip_finetune'"):
        recipe_called("clip_finetun")
    with pytest.raises(UsageError, match="precision is one of float32, bfloat16, float16"):
        run(checkpoint, data, tmp_path / "run", "precision=int8")


@pytest.mark.parametrize("value", ["precision=bfloat16", "precision=float16", "recompute=true"])
def test_less_memory_ends_close_to_the_plain_run(checkpoint, data, tmp_path, value):
    rates = 'rates=[["*",0.001]]'
    run(checkpoint, data, tmp_path / "plain", rates)
    run(checkpoint, data, tmp_path / "other", rates, value)
    losses = [
        json.loads((tmp_path / each / "log.jsonl").read_text().splitlines()[-1])["loss"]
        for each in ("plain", "other")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] == losses[0] or not value.startswith("recompute")


def test_every_recipe_says_where_its_values_are_from():
    for make in CONTRASTIVE.values():
        assert all(make().sources.values())
    rates = dict(clip_finetune().rates)
    assert 5 <= rates["encoder.*"] / rates["encoder.model.vis*"] < 10.001


def test_norms_biases_and_scales_are_not_decayed(checkpoint, data):
    from polymodal.training.rates import parameter_groups

    task = the_run(checkpoint, data)
    model = task._model(task.tower.encoder)
    groups = parameter_groups(model, task.recipe.rates, 0.1)
    for group in groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_a_locked_image_tower_does_not_move(data, tmp_path):
    checkpoint = siglip(tmp_path / "siglip")
    run(checkpoint, data, tmp_path / "run", recipe="siglip_lit")
    moved = changed(weights(checkpoint), weights(tmp_path / "run"))
    assert moved
    assert all(name.startswith(("text_model.", "logit_")) for name in moved)
    from polymodal.catalog.opening import open_embedder

    assert open_embedder(str(tmp_path / "run")).space.dimension == 32


def test_a_clip_starts_from_nothing(data, tmp_path):
    shape = ["vision=[16,1,2]", "text=[16,1,2]", "width=8", "image_size=16", "patch=8"]
    values = [*FEW, *shape, "text_tokens=16", "vocabulary=600"]
    recipe = overridden(recipe_called("clip_from_scratch"), values)
    task = ContrastiveRun(recipe, None, open_pairs(data), None, torch.device("cpu"))
    task.run(tmp_path / "run", lambda line: None)
    from polymodal.catalog.opening import open_embedder

    model = open_embedder(str(tmp_path / "run"))
    vectors = model.embed_texts(["a red one", "green number 2"])
    assert vectors.shape == (2, 8)
    assert abs(float(vectors[0] @ vectors[1])) < 1


def test_a_dry_run_says_what_it_takes_and_writes_nothing(checkpoint, data, tmp_path):
    said = cli(
        *("train", "contrastive", data, "-m", checkpoint, "-o", tmp_path / "run", "--dry-run"),
        *("--set", "batch=8"),
    )
    model = weights(checkpoint)
    numbers = sum(value.numel() for name, value in model.items() if name != "logit_bias")
    assert f"parameters: {numbers:,} trained, 0 frozen" in said
    assert "memory: " in said
    assert "time: 30 steps of " in said
    assert not (tmp_path / "run").exists()
