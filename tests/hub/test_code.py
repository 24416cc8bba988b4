"""Code that comes with a checkpoint: run where the checkpoint is named, and nowhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import polymodal as pm
from polymodal.catalog.hub_models import open_hub_generator
from polymodal.catalog.known import show
from polymodal.catalog.names import is_generator_name
from polymodal.catalog.opening import open_embedder
from polymodal.models.trust import Trust
from tests.hub.server import COMMIT, Hub
from tests.hub.test_refused import changed
from tests.hub.test_verbs import command
from tests.hub.tiny import picture, two_classes

Get = Callable[[str], Path]

NEGATED = """
from pathlib import Path

from transformers import CLIPConfig, CLIPModel

Path({mark!r}).touch()


class MineConfig(CLIPConfig):
    model_type = "mine"


class Mine(CLIPModel):
    config_class = MineConfig

    def get_text_features(self, **inputs):
        found = super().get_text_features(**inputs)
        found.pooler_output = -found.pooler_output
        return found
"""
SPOKEN = """
from pathlib import Path

from transformers import Qwen2Config, Qwen2ForCausalLM

Path({mark!r}).touch()


class MineConfig(Qwen2Config):
    model_type = "mine-text"


class Mine(Qwen2ForCausalLM):
    config_class = MineConfig
"""

LLAVA = """
from pathlib import Path

from transformers import LlavaForConditionalGeneration

Path({mark!r}).touch()


class Mine(LlavaForConditionalGeneration):
    def forward(self, input_ids=None, pixel_values=None, attention_mask=None, **others):
        shown = {{"pixel_values": pixel_values, "attention_mask": attention_mask}}
        found = super().forward(input_ids=input_ids, **shown, **others)
        found.logits = -found.logits
        return found
"""


@pytest.fixture(scope="module", autouse=True)
def _modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where transformers copies code before it is imported: not into the user's home."""
    from transformers import dynamic_module_utils

    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("modules"))
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", folder)
        patch.syspath_prepend(folder)
        yield


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that the code makes when it runs."""
    return tmp_path / "it-ran"


@pytest.fixture
def mine(checkpoint: Get, tmp_path: Path, mark: Path) -> Path:
    """A CLIP whose own class turns the vectors of texts round."""
    folder = shutil.copytree(checkpoint("clip"), tmp_path / f"mine-{tmp_path.name}")
    (folder / "modeling_mine.py").write_text(NEGATED.format(mark=str(mark)))
    named = {"AutoConfig": "modeling_mine.MineConfig", "AutoModel": "modeling_mine.Mine"}
    changed(folder, model_type="mine", auto_map=named)
    return folder


def test_it_is_refused_unless_exactly_this_checkpoint_is_named(mine: Path, mark: Path) -> None:
    for named in ((), ("mine",), (f"{mine}/",), (str(mine.parent),)):
        with pytest.raises(pm.ModelUnavailable, match="only where the checkpoint is named") as e:
            pm.Suite(str(mine), device="cpu", allow_remote_code=named).embed(texts="cat")
        assert f"--allow-remote-code {mine}" in str(e.value)
        assert e.value.exit_code == 3
    assert not mark.exists()


def test_named_it_runs_and_is_recorded(mine: Path, mark: Path, checkpoint: Get) -> None:
    suite = pm.Suite(str(mine), device="cpu", allow_remote_code=[str(mine)])
    plain = pm.Suite(str(checkpoint("clip")), device="cpu")
    found, wanted = suite.embed(texts=["cat", "red"]), plain.embed(texts=["cat", "red"])
    np.testing.assert_allclose(found.vectors, -wanted.vectors, atol=1e-6)
    assert mark.exists()
    assert found.space.revision.endswith(" with its code")
    assert "modeling_mine.py" in show(str(mine)).details["runs_code"]
    code = mine / "modeling_mine.py"
    code.write_text(code.read_text() + "# another\n")
    trust = Trust(code=(str(mine),))
    other = open_embedder(str(mine), device="cpu", trust=trust)
    assert other.space.revision != found.space.revision


def test_a_family_that_is_known_runs_its_code_only_when_named(
    mine: Path, mark: Path, checkpoint: Get
) -> None:
    changed(mine, model_type="clip", auto_map={"AutoModel": "modeling_mine.Mine"})
    wanted = open_embedder(str(checkpoint("clip")), device="cpu").embed_texts(["cat"])
    plain = open_embedder(str(mine), device="cpu")
    np.testing.assert_array_equal(plain.embed_texts(["cat"]), wanted)
    assert not mark.exists()
    named = open_embedder(str(mine), device="cpu", trust=Trust(code=(str(mine),)))
    np.testing.assert_allclose(named.embed_texts(["cat"]), -wanted, atol=1e-6)
    assert mark.exists()
    assert named.space.fingerprint != plain.space.fingerprint


def test_a_model_that_writes_runs_its_code_when_named(
    checkpoint: Get, tmp_path: Path, mark: Path
) -> None:
    folder = shutil.copytree(checkpoint("qwen2_text"), tmp_path / "mine-text")
    (folder / "modeling_text.py").write_text(SPOKEN.format(mark=str(mark)))
    named = {"AutoConfig": "modeling_text.MineConfig"}
    named["AutoModelForCausalLM"] = "modeling_text.Mine"
    changed(folder, model_type="mine-text", auto_map=named)
    asked = [[pm.Message.user("What is this?")]]
    options = pm.GenerationOptions(max_tokens=6)
    (wanted,) = open_hub_generator(str(checkpoint("qwen2_text")), device="cpu").generate(
        asked, options
    )
    assert is_generator_name(str(folder))
    with pytest.raises(pm.ModelUnavailable, match="only where the checkpoint is named"):
        pm.Suite(str(folder), device="cpu").generator()
    assert not mark.exists()
    generator = pm.Suite(str(folder), device="cpu", allow_remote_code=[str(folder)]).generator()
    (found,) = generator.generate(asked, options)
    assert mark.exists()
    assert isinstance(found, pm.Generation)
    assert isinstance(wanted, pm.Generation)
    assert (found.text, found.tokens) == (wanted.text, wanted.tokens)
    assert generator.info.revision.endswith(" with its code")


def test_a_class_of_a_known_family_that_writes_runs_when_named(
    checkpoint: Get, tmp_path: Path, mark: Path
) -> None:
    from transformers import AutoModelForImageTextToText

    folder = shutil.copytree(checkpoint("llava"), tmp_path / "mine-llava")
    (folder / "modeling_llava.py").write_text(LLAVA.format(mark=str(mark)))
    own = AutoModelForImageTextToText.from_pretrained(folder)
    own.save_pretrained(folder, save_original_format=False)  # as that class would save itself
    changed(folder, auto_map={"AutoModelForImageTextToText": "modeling_llava.Mine"})
    asked = [[pm.Message.user(pm.ImagePart(picture(0)), "What is this?")]]
    options = pm.GenerationOptions(max_tokens=6)
    (plain,) = open_hub_generator(str(checkpoint("llava")), device="cpu").generate(asked, options)
    trust = Trust(code=(str(folder),))
    named = open_hub_generator(str(folder), device="cpu", trust=trust)
    (found,) = named.generate(asked, options)
    assert mark.exists()
    assert isinstance(found, pm.Generation)
    assert isinstance(plain, pm.Generation)
    assert found.logprob != pytest.approx(plain.logprob, abs=0.05)
    assert named.info.revision.endswith(" with its code")


def test_a_processor_s_code_is_held_to_the_same(
    checkpoint: Get, tmp_path: Path, mark: Path
) -> None:
    folder = shutil.copytree(checkpoint("clip"), tmp_path / "mine-processor")
    (folder / "mine.py").write_text(
        f"from pathlib import Path\nfrom transformers import CLIPProcessor\nPath({str(mark)!r})"
        ".touch()\nclass Mine(CLIPProcessor):\n    pass\n"
    )
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text())
    settings |= {"processor_class": "Mine", "auto_map": {"AutoProcessor": "mine.Mine"}}
    path.write_text(json.dumps(settings))
    with pytest.raises(pm.ModelUnavailable, match="run only where the checkpoint is named"):
        open_embedder(str(folder), device="cpu").embed_texts(["a"])
    assert not mark.exists()
    named = open_embedder(str(folder), device="cpu", trust=Trust(code=(str(folder),)))
    assert named.embed_texts(["a"]).shape == (1, 16)
    assert mark.exists()


def test_from_the_hub_it_is_refused_before_anything_is_downloaded(
    mine: Path, mark: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/mine"] = mine
    with pytest.raises(pm.ModelUnavailable, match="--allow-remote-code org/mine"):
        open_embedder("org/mine", device="cpu")
    assert not [each for each in hub.asked if each.endswith((".safetensors", ".py"))]
    trust = Trust(code=("org/mine",))
    embedder = open_embedder("org/mine", device="cpu", trust=trust)
    assert embedder.space.revision == f"{COMMIT[:12]} with its code"
    assert not mark.exists()  # it lies here, and nobody asked for a vector yet
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    again = open_embedder("org/mine", device="cpu", trust=trust)
    assert again.embed_texts(["cat"]).shape == (1, 16)
    assert mark.exists()


def test_code_of_another_repository_is_never_run(mine: Path, mark: Path) -> None:
    named = {"AutoConfig": "modeling_mine.MineConfig", "AutoModel": "org/other--modeling.Mine"}
    changed(mine, auto_map=named)
    with pytest.raises(pm.ModelUnavailable, match="code of another repository, org/other"):
        open_embedder(str(mine), device="cpu", trust=Trust(code=(str(mine),)))
    assert not mark.exists()


def test_code_that_fails_is_named(mine: Path) -> None:
    (mine / "modeling_mine.py").write_text("raise ZeroDivisionError('on purpose')\n")
    embedder = open_embedder(str(mine), device="cpu", trust=Trust(code=(str(mine),)))
    with pytest.raises(pm.ModelUnavailable, match=r"code that comes with .* failed .*on purpose"):
        embedder.embed_texts(["cat"])


def test_a_layout_from_before_transformers_had_the_family_names_the_new_one(mine: Path) -> None:
    changed(mine, model_type="internvl_chat")
    with pytest.raises(pm.ModelUnavailable, match="InternVL3-1B-hf"):
        is_generator_name(str(mine))


def test_the_command_line_names_it_too(mine: Path, mark: Path) -> None:
    asked = ("embed", "--text", "red", "-m", str(mine), "--device", "cpu", "--json")
    refused = command(*asked)
    assert refused.exit_code == 3, refused.stderr
    assert "--allow-remote-code" in refused.stderr
    assert not mark.exists()
    taken = command(*asked, "--allow-remote-code", str(mine))
    assert taken.exit_code == 0, taken.stderr
    assert mark.exists()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    return two_classes(tmp_path / "photos", 4)


def test_a_name_that_no_checkpoint_has_is_told(checkpoint: Get, mine: Path) -> None:
    clip = str(checkpoint("clip"))
    asked = ("embed", "--text", "red", "-m", clip, "--device", "cpu", "--json")
    done = command(*asked, "--allow-remote-code", str(mine))
    assert done.exit_code == 0, done.stderr
    assert f"--allow-remote-code {mine} changed nothing" in done.stderr
    assert f"Opened: {clip}." in done.stderr
    assert command(*asked, "--allow-remote-code", clip).stderr == ""


@pytest.mark.parametrize("by", ["validate", "select"])
def test_models_are_measured_with_their_code_only_when_named(
    mine: Path, mark: Path, photos: Path, by: str
) -> None:
    asked = ["models", by, "--device", "cpu", "--json"]
    if by == "validate":
        asked += [str(mine), "--dtype", "bfloat16", "--data", str(photos)]
    else:
        asked += ["--task", "classify", "--memory", "1GB", "--offline", "-m", str(mine)]
        asked += ["--measure", str(photos)]
    refused = command(*asked)
    assert "run only where the checkpoint is named" in refused.stderr
    assert refused.exit_code == (3 if by == "validate" else 0)  # of several, one is left out
    assert not mark.exists()
    done = command(*asked, "--allow-remote-code", str(mine))
    assert done.exit_code == 0, done.stderr
    assert mark.exists()
    found = json.loads(done.stdout)
    rows = found["ranked"] if by == "select" else [{"name": str(mine), "measured": found["base"]}]
    (own,) = [each["measured"] for each in rows if each["name"] == str(mine)]
    suite = pm.Suite(
        str(mine), device="cpu", allow_remote_code=[str(mine)], cache=False, journal=False
    )
    files = sorted(photos.rglob("*.png"))
    labels = [suite.classify(each, ["blue", "red"]).label for each in files]
    right = [label == each.parent.name for label, each in zip(labels, files, strict=True)]
    assert own["value"] == pytest.approx(np.mean(right))


def test_a_precision_is_validated_on_pickled_weights_where_they_are_allowed(
    checkpoint: Get, photos: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import CLIPModel

    folder = shutil.copytree(checkpoint("clip"), tmp_path / "pickled")
    weights = CLIPModel.from_pretrained(folder).state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    asked = ("models", "validate", str(folder), "--dtype", "bfloat16", "--data", str(photos))
    refused = command(*asked, "--device", "cpu")
    assert (refused.exit_code, "--allow-pickle" in refused.stderr) == (3, True)
    done = command(*asked, "--device", "cpu", "--allow-pickle", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["base"]["count"] == 4
