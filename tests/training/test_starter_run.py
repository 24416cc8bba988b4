"""The starter fine-tuned: a folder in its layout, better on the new data, the same elsewhere."""

import json

import numpy as np
import pytest
import torch

from polymodal import UsageError
from polymodal.catalog.opening import open_embedder
from polymodal.catalog.sources import find_weights
from polymodal.training.pairs import open_pairs
from polymodal.training.recipes import starter_finetune
from polymodal.training.settings import overridden
from polymodal.training.starter_run import StarterRun
from tests.training import tiny

VALUES = ["batch=16", "epochs=40", "log_every=100"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A model on colours with made-up names, and photographs that were kept in their places."""
    root = tmp_path_factory.mktemp("tuned")
    tiny.class_folders(root / "data", each=12)
    names = dict(zip(tiny.COLOURS, ("a frabjous", "a mimsy", "a slithy", "a brillig"), strict=True))
    (root / "classes.json").write_text(json.dumps(names))
    kept = [path for path in sorted((root / "data").rglob("*.jpg")) if path.stem == "0"]
    pairs = open_pairs(root / "data", classes=str(root / "classes.json"))
    recipe = overridden(starter_finetune(), VALUES)
    said = []
    run = StarterRun(
        recipe, open_embedder("starter"), find_weights("starter").read, pairs, None, [], said.append
    )
    scores = run.run(root / "model", said.append)
    return root / "model", scores, run, kept


def test_what_was_taught_is_known_and_measured_on_items_held_out(tuned):
    folder, scores, _, _ = tuned
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    before = next(line["zero_shot"] for line in lines if line["step"] == 0)
    assert scores["zero_shot"] > 90 > before


def test_the_folder_is_a_model_that_gives_what_was_trained(tuned):
    folder, _, run, _ = tuned
    model = open_embedder(str(folder))
    items = run._held_out.pairs.items
    batch = [model.preprocess(item.open(model.image_size_px).image) for item in items]
    with torch.no_grad():
        wanted = run.model["encoder"].encode_image(run._held_out.inputs_NX).numpy()
    assert np.allclose(model.embed_images(batch), wanted, atol=1e-4)
    assert model.space != open_embedder("starter").space
    texts = ["a mimsy", "a dog runs"]
    assert np.array_equal(model.embed_texts(texts), open_embedder("starter").embed_texts(texts))


def test_the_cards_numbers_are_fitted_anew(tuned):
    folder, _, _, _ = tuned
    new, old = (open_embedder(str(name)).calibration for name in (folder, "starter"))
    assert new.match_scale != old.match_scale
    assert new.classify_temperature > 0
    assert new.match_scale > 0


def test_kept_pictures_move_less_than_without(tuned):
    _, _, run, kept = tuned
    recipe = overridden(starter_finetune(), [*VALUES, "keep=50.0"])
    others = StarterRun(
        recipe, run.embedder, run.read, run.data, None, kept, lambda line: None
    )  # fmt: skip

    def moved(each):
        each.model.eval()
        with torch.no_grad():
            after = each.model["encoder"].encode_image(others._kept_NX)
        return float((after - others._kept_NX[:, : after.shape[1]]).square().sum(1).mean())

    free = moved(run)
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        others.run(Path(folder) / "model", lambda line: None)
    assert moved(others) < free / 4


def test_a_collection_moves_to_the_tuned_model(tuned, tmp_path, monkeypatch):
    import polymodal as pm

    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path))
    folder, _, run, _ = tuned
    shop = pm.Suite(cache=False, journal=False).collection(str(tmp_path / "shop"))
    pictures = sorted((run.data.items[0].picture.parent.parent).rglob("*.jpg"))
    shop.add([str(path) for path in pictures])
    shop.reembed(open_embedder(str(folder)))
    shop = pm.Suite(str(folder), cache=False, journal=False).collection(str(tmp_path / "shop"))
    found = shop.search("a mimsy", k=5)
    assert all("green" in str(hit.path) for hit in found.hits)


def test_another_kind_of_model_is_refused(tmp_path):
    tiny.class_folders(tmp_path / "data")
    from typer.testing import CliRunner

    from polymodal.cli.app import app
    from tests.hub.tiny import clip

    words = ["train", "contrastive", tmp_path / "data", "-m", clip(tmp_path / "clip"), "-o"]
    words += [tmp_path / "run", "--recipe", "starter_finetune"]
    ran = CliRunner().invoke(app, list(map(str, words)))
    assert ran.exit_code == 2
    assert "fits a head on the starter" in ran.stderr


def test_too_few_items_to_hold_some_out_says_so(tmp_path):
    tiny.class_folders(tmp_path, each=1, colours=("red", "blue"))
    with pytest.raises(UsageError, match="too few to hold some out"):
        StarterRun(
            overridden(starter_finetune(), ["batch=2"]),
            open_embedder("starter"),
            find_weights("starter").read,
            open_pairs(tmp_path),
            None,
            [],
            print,
        )


@pytest.mark.parametrize("value", ["precision=bfloat16", "compile=true", "loss=sigmoid"])
def test_values_that_would_change_nothing_are_refused(tmp_path, value):
    tiny.class_folders(tmp_path / "data", each=2)
    recipe = overridden(starter_finetune(), [*VALUES, value])
    with pytest.raises(UsageError, match=f"so `{value.partition('=')[0]}` changes nothing here"):
        StarterRun(
            recipe, open_embedder("starter"), find_weights("starter").read,
            open_pairs(tmp_path / "data"), None, [], lambda line: None,
        )  # fmt: skip
