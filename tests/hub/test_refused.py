"""Checkpoints and names that cannot be used say what is wrong, with which file, and what to do."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import polymodal as pm
from polymodal.catalog.names import is_generator_name
from polymodal.catalog.opening import open_embedder
from polymodal.models.trust import Trust
from tests.hub import tiny
from tests.hub.server import Hub

Get = Callable[[str], Path]


@pytest.fixture
def clip(checkpoint: Get, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(checkpoint("clip"), tmp_path / "clip")


def changed(folder: Path, **values: Any) -> None:
    """Other values in a config.json; None takes one out."""
    config = json.loads((folder / "config.json").read_text())
    config |= values
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def sharded(folder: Path) -> list[str]:
    """The folder's weights in several files; their names."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    return sorted(path.name for path in folder.glob("model-*.safetensors"))


def test_shards_are_read_together(clip: Path, checkpoint: Get) -> None:
    assert len(sharded(clip)) > 2
    whole = open_embedder(str(checkpoint("clip")), device="cpu")
    parts = open_embedder(str(clip), device="cpu")
    assert parts.calibration == whole.calibration  # type: ignore[attr-defined]
    assert (parts.embed_texts(["a cat"]) == whole.embed_texts(["a cat"])).all()


def test_a_missing_shard_is_named(clip: Path) -> None:
    names = sharded(clip)
    (clip / names[1]).unlink()
    with pytest.raises(pm.DamagedWeights, match=f"1 of {len(names)} weight files.*{names[1]}"):
        open_embedder(str(clip))


def test_a_file_that_was_cut_off_is_named(clip: Path) -> None:
    path = clip / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(pm.DamagedWeights, match=r"model\.safetensors is cut off: it has"):
        open_embedder(str(clip))
    path.write_bytes(b"\xff" * 200)
    with pytest.raises(pm.DamagedWeights, match=r"model\.safetensors is no whole"):
        open_embedder(str(clip))


def test_weights_that_do_not_fit_the_config_are_refused(clip: Path) -> None:
    config = json.loads((clip / "config.json").read_text())
    changed(clip, text_config={**config["text_config"], "intermediate_size": 64})
    with pytest.raises(
        pm.DamagedWeights, match=r"model\.safetensors do not .*fc1.* is 48, not 64; and 5 more"
    ):
        open_embedder(str(clip), device="cpu").embed_texts(["a cat"])


def test_weights_that_lack_a_layer_are_not_made_up(clip: Path) -> None:
    config = json.loads((clip / "config.json").read_text())
    changed(clip, text_config={**config["text_config"], "num_hidden_layers": 3})
    with pytest.raises(pm.DamagedWeights, match="lack 16 tensors"):
        open_embedder(str(clip), device="cpu").embed_texts(["a cat"])


def test_pickles_are_refused_unless_they_are_allowed(clip: Path, checkpoint: Get) -> None:
    from safetensors.torch import load_file

    weights = load_file(clip / "model.safetensors")
    (clip / "model.safetensors").unlink()
    torch.save(weights, clip / "pytorch_model.bin")
    with pytest.raises(pm.ModelUnavailable, match=r"pickles only \(pytorch_model\.bin\)"):
        open_embedder(str(clip))
    allowed = pm.Suite(str(clip), device="cpu", allow_pickle=True)
    same = pm.Suite(str(checkpoint("clip")), device="cpu")
    assert (allowed.embed(texts="cat").vectors == same.embed(texts="cat").vectors).all()
    assert allowed.embedder().calibration == same.embedder().calibration  # type: ignore[attr-defined]


def test_a_pickle_that_would_run_code_does_not(clip: Path, tmp_path: Path) -> None:
    import os

    class Attack:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "owned"),)

    (clip / "model.safetensors").unlink()
    torch.save({"logit_scale": Attack()}, clip / "pytorch_model.bin")
    with pytest.raises(pm.DamagedWeights):
        open_embedder(str(clip), device="cpu", trust=Trust(pickles=True)).embed_texts(["a"])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", r"config\.json is not JSON"),
        ("[]", r"config\.json holds list"),
        ('{"model_type": "bert", "architectures": ["BertModel"]}', "BertModel, which neither"),
        ("{}", "nothing that is named"),
    ],
)
def test_a_config_that_is_none_is_named(clip: Path, config: str, said: str) -> None:
    (clip / "config.json").write_text(config)
    with pytest.raises(pm.ModelUnavailable, match=said):
        open_embedder(str(clip))


def test_a_config_that_contradicts_itself_is_named(clip: Path) -> None:
    changed(clip, projection_dim="sixteen")
    with pytest.raises(pm.DamagedWeights, match=r"config\.json cannot be used .*projection_dim"):
        open_embedder(str(clip), device="cpu").embed_texts(["a cat"])


def test_a_count_of_layers_that_others_contradict_is_named(checkpoint: Get, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2_vl"), tmp_path / "qwen")
    text = json.loads((folder / "config.json").read_text())["text_config"]
    changed(folder, text_config={**text, "num_hidden_layers": 5})
    with pytest.raises(pm.DamagedWeights, match=r"config\.json cannot be used .*layer_types"):
        pm.Suite(str(folder)).generator().generate([[pm.Message.user("Hello")]])


@pytest.mark.parametrize(
    ("template", "kind", "said"),
    [
        ("{% for x in %}", pm.DamagedWeights, "chat template of .* cannot be read .line 1"),
        ("{{ raise_exception('users only') }}", pm.UsageError, "refuses .*: users only"),
    ],
)
def test_a_chat_template_that_fails_is_named(
    checkpoint: Get, tmp_path: Path, template: str, kind: type[Exception], said: str
) -> None:
    folder = shutil.copytree(checkpoint("qwen2_vl"), tmp_path / "qwen")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(kind, match=said):
        pm.Suite(str(folder)).generator().generate([[pm.Message.user("Hello")]])


def test_a_folder_without_weights_or_processor_is_named(clip: Path) -> None:
    (clip / "processor_config.json").unlink()
    with pytest.raises(pm.DamagedWeights, match=str(clip)):
        open_embedder(str(clip), device="cpu").embed_texts(["a"])
    (clip / "model.safetensors").unlink()
    with pytest.raises(pm.ModelUnavailable, match=r"has no weights: neither model\.safetensors"):
        open_embedder(str(clip))


@pytest.mark.usefixtures("nowhere")
def test_a_hub_without_a_network_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(pm.ModelUnavailable) as caught:
        open_embedder("openai/clip-vit-bsae-patch32")
    assert not caplog.records  # the hub's client told of every try
    said = str(caught.value)
    assert "no connection to it" in said
    assert "say -m ./FOLDER" in said
    assert "'openai/clip-vit-base-patch32'" in said


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers; it counts them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for each in kept:
            each.close()


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "polymodal", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,  # a guard: what waits for the server waits for ever
    )


def test_a_hub_that_never_answers_is_given_up(silent: str, tmp_path: Path) -> None:
    done = command(
        "embed", "--text", "red", "-m", "org/name", HF_ENDPOINT=silent, HF_HOME=str(tmp_path)
    )
    assert done.returncode == 3, done.stderr
    assert "no connection to it" in done.stderr
    assert done.stdout == ""


def test_offline_never_touches_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = command(
            "embed",
            "--text",
            "red",
            "-m",
            "org/name",
            HF_ENDPOINT=address,
            HF_HOME=str(tmp_path),
            POLYMODAL_OFFLINE="1",
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert done.returncode == 3, done.stderr
    assert "POLYMODAL_OFFLINE forbids it" in done.stderr


def test_what_is_in_the_hub_s_cache_needs_no_network(
    checkpoint: Get, nowhere: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    commit = "0123456789abcdef" * 2 + "01234567"
    repo = tmp_path / "hub-cache" / "models--org--tiny"
    shutil.copytree(checkpoint("clip"), repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    embedder = open_embedder("org/tiny", device="cpu")
    assert (embedder.space.model, embedder.space.revision) == ("org/tiny", commit[:12])
    same = open_embedder(str(checkpoint("clip")), device="cpu")
    assert (embedder.embed_texts(["cat"]) == same.embed_texts(["cat"])).all()
    by_path = open_embedder(str(repo / "snapshots" / commit))
    assert by_path.space.fingerprint == embedder.space.fingerprint
    (repo / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(pm.ModelUnavailable, match="is there in part"):
        open_embedder("org/tiny")


def test_without_the_extra_the_message_is_the_command(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.catalog.hub_models.find_spec", lambda name: None)
    with pytest.raises(pm.MissingDependency, match=r"pip install 'polymodal\[hub\]'"):
        open_embedder(str(clip))
    with pytest.raises(pm.MissingDependency, match=r"pip install 'polymodal\[openclip\]'"):
        open_embedder("open_clip:ViT-B-32/openai")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(pm.MissingDependency, match=r"pip install 'polymodal\[hub\]'"):
        is_generator_name("org/name")


def test_a_clip_of_the_old_kind_is_read_as_transformers_reads_it(clip: Path) -> None:
    """FashionCLIP and OpenAI's first conversions name a wrong end token: 2."""
    import numpy as np
    from transformers import CLIPModel, CLIPTokenizer

    config = json.loads((clip / "config.json").read_text())
    changed(clip, text_config={**config["text_config"], "eos_token_id": 2})
    texts = ["a red saree", "jeans"]
    tokens = CLIPTokenizer.from_pretrained(clip)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        wanted = CLIPModel.from_pretrained(clip).get_text_features(**tokens)
    wanted = getattr(wanted, "pooler_output", wanted).numpy()
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    got = open_embedder(str(clip), device="cpu").embed_texts(texts)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    assert abs(float(got[0] @ got[1])) < 0.999


@pytest.mark.usefixtures("nowhere")
def test_a_hub_that_was_given_up_is_not_asked_again_behind_the_caller_s_back() -> None:
    with pytest.raises(pm.ModelUnavailable, match="refused"):
        open_embedder("org/name")
    assert "polymodal-hub" not in {each.name for each in threading.enumerate()}


@pytest.mark.parametrize("verb", ["caption", "ask"])
@pytest.mark.parametrize("name", ["org/clip", "open_clip:ViT-B-32/laion2b_s34b_b79k"])
def test_a_contrastive_model_is_refused_to_describe_before_its_weights_are_fetched(
    checkpoint: Get, hub: Hub, tmp_path: Path, verb: str, name: str
) -> None:
    hub.repositories["org/clip"] = checkpoint("clip")
    suite = pm.Suite(name, device="cpu", home=tmp_path / "home")
    with pytest.raises(pm.ModelUnavailable, match="has no captioner"):
        if verb == "caption":
            suite.caption(tiny.picture(1))
        else:
            suite.ask(tiny.picture(1), "What is it?")
    assert not [each for each in hub.asked if "safetensors" in each or each.endswith(".bin")]


@pytest.mark.parametrize("name", ["large-v3", "turbo", "whisper-base"])
def test_a_speech_model_s_short_name_is_not_unknown_to_the_other_verbs(name: str) -> None:
    with pytest.raises(pm.ModelUnavailable, match="it goes with transcribe -m"):
        open_embedder(name)


def test_a_name_that_is_known_is_not_corrected(nowhere: Any) -> None:
    with pytest.raises(pm.ModelUnavailable, match="no connection") as caught:
        open_embedder("google/siglip2-base-patch16-256")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(pm.ModelUnavailable, match="Did you mean 'google/siglip2-base-patch16-256'"):
        open_embedder("google/siglip2-base-patch16-265")


def test_offline_a_speech_model_says_so(nowhere: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    with pytest.raises(pm.ModelUnavailable, match=r"\(POLYMODAL_OFFLINE forbids it\)"):
        pm.Suite(transcriber="large-v3").transcribe("nothing.wav")
