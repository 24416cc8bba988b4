"""Whisper checkpoints against transformers itself, on a tiny one with seeded random weights."""

from __future__ import annotations

import json
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

import polymodal as pm
from polymodal.catalog.speech import open_transcriber, read_speech_models
from polymodal.models import hub_whisper
from polymodal.models.hub_whisper import HubWhisper
from tests.hub.tiny import characters, seeded

LANGUAGES = ("en", "de", "fr")
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper of three languages."""
    folder = tmp_path_factory.mktemp("speech") / "tiny-whisper"
    vocabulary = {each: n for n, each in enumerate([*characters(), *SPECIAL])}
    vocabulary |= {f"<|{n * 0.02:.2f}|>": len(vocabulary) + n for n in range(1501)}
    tokenizer = hf.WhisperTokenizer(vocab=vocabulary, merges=[])
    stamps = [each for each in vocabulary if each not in characters()]
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    tokenizer.add_tokens([each for each in stamps if each not in SPECIAL])
    hf.WhisperProcessor(hf.WhisperFeatureExtractor(feature_size=16), tokenizer).save_pretrained(
        folder
    )
    ids = tokenizer.convert_tokens_to_ids
    config = hf.WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_target_positions=40,
        bos_token_id=ids("<|endoftext|>"),
        eos_token_id=ids("<|endoftext|>"),
        pad_token_id=ids("<|endoftext|>"),
        decoder_start_token_id=ids("<|startoftranscript|>"),
        begin_suppress_tokens=[ids("<|endoftext|>")],
        suppress_tokens=[],
    )
    model = hf.WhisperForConditionalGeneration(config)
    settings = model.generation_config
    settings._from_model_config = False
    settings.lang_to_id = {f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES}
    settings.task_to_id = {each: ids(f"<|{each}|>") for each in ("transcribe", "translate")}
    settings.no_timestamps_token_id = ids("<|notimestamps|>")
    settings.is_multilingual = True
    settings.max_initial_timestamp_index = 50
    settings.max_length = 40
    settings.return_timestamps = False
    return seeded(model, folder)


def sound(seed: int, seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    return (0.2 * random.standard_normal(int(16_000 * seconds))).astype(np.float32)


def directly(folder: Path, samples: Any, language: str, timed: bool = True) -> list[int]:
    """Ids that transformers writes, again without repetitions where they are a loop."""
    processor = hf.WhisperProcessor.from_pretrained(folder)
    model = hf.WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    features = processor(samples, sampling_rate=16_000, return_tensors="pt").input_features
    asked = {"language": language, "task": "transcribe", "return_timestamps": timed}
    asked |= {"num_beams": 1, "do_sample": False, "force_unique_generate_call": True}
    special = set(processor.tokenizer.convert_tokens_to_ids(SPECIAL))
    with torch.inference_mode():
        found = model.generate(features, **asked)[0].tolist()
        words = processor.tokenizer.decode([each for each in found if each < 256]).encode()
        if words and len(words) / len(zlib.compress(words)) > 2.4:
            found = model.generate(features, **asked, no_repeat_ngram_size=4)[0].tolist()
    return [token for token in found if token not in special]


def test_words_are_exactly_those_of_transformers(
    whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_whisper, "UNSURE", -1e9)  # random weights are always unsure
    seen: list[tuple[list[int], float]] = []
    plain = hub_whisper._as_spoken

    def noted(decoded: Any, *more: Any) -> Any:
        seen.append((decoded.tokens, decoded.log_probability))
        return plain(decoded, *more)

    monkeypatch.setattr(hub_whisper, "_as_spoken", noted)
    pieces = [sound(1, 2.0), sound(2, 0.7), sound(3, 9.0)]
    model = open_transcriber(str(whisper), device="cpu")
    assert isinstance(model, HubWhisper)
    spoken = model.transcribe(pieces, language="de")
    assert [each.language for each in spoken] == ["de"] * 3
    end = hf.WhisperTokenizer.from_pretrained(whisper).eos_token_id
    ours = [[token for token in tokens if token != end] for tokens, _ in seen]
    assert ours == [directly(whisper, piece, "de") for piece in pieces]
    assert any(ours)
    alone = [model.transcribe([piece], language="de")[0] for piece in pieces]
    said = [[(s.start_s, s.end_s, s.text) for s in each.segments] for each in (*alone, *spoken)]
    assert said[:3] == said[3:]


def test_what_is_unsure_is_written_again_without_time_stamps(
    whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[dict[str, Any], list[Any]]] = []
    plain = HubWhisper._run

    def noted(self: Any, loaded: Any, features: Any, language: str, **more: Any) -> Any:
        rows = plain(self, loaded, features, language, **more)
        if more.get("return_timestamps") is False:  # as if the model were surer so
            rows = [replace(row, logprob=0.0) for row in rows]
        runs.append((more, rows))
        return rows

    monkeypatch.setattr(HubWhisper, "_run", noted)
    piece = sound(6, 2.0)
    (heard,) = open_transcriber(str(whisper), device="cpu").transcribe([piece], language="fr")
    assert [more.get("return_timestamps", True) for more, _ in runs[:2]] == [True, False]
    end = hf.WhisperTokenizer.from_pretrained(whisper).eos_token_id
    said = [token for token in runs[1][1][0].tokens if token != end]
    assert said == directly(whisper, piece, "fr", timed=False)
    # Without the rules of time stamps these weights say nothing but stamps, and that was kept.
    assert any(token < end for token in runs[0][1][0].tokens)
    assert heard.segments == ()


def test_the_language_is_the_likeliest_of_those_it_knows(whisper: Path) -> None:
    model = open_transcriber(str(whisper), device="cpu")
    assert sorted(model.languages) == sorted(LANGUAGES)
    processor = hf.WhisperProcessor.from_pretrained(whisper)
    direct = hf.WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32)
    piece = sound(4, 1.0)
    features = processor(piece, sampling_rate=16_000, return_tensors="pt").input_features
    (token,) = direct.detect_language(features).tolist()
    (heard,) = model.transcribe([piece])
    assert f"<|{heard.language}|>" == processor.tokenizer.convert_ids_to_tokens(token)
    assert 1 / 3 < heard.language_probability < 1
    with pytest.raises(pm.UsageError, match="language 'xx'"):
        pm.Suite(transcriber=model, cache=False).transcribe(sound(1, 1.0), language="xx")


def test_a_suite_hears_with_a_checkpoint(whisper: Path, tmp_path: Path) -> None:
    suite = pm.Suite(transcriber=str(whisper), device="cpu", home=tmp_path)
    found = suite.transcribe(sound(5, 1.0))
    assert found.provenance.model == "tiny-whisper"
    assert len(found.provenance.revision) > 12


def test_a_whisper_is_no_embedder_and_broken_ones_are_named(whisper: Path, tmp_path: Path) -> None:
    with pytest.raises(pm.ModelUnavailable, match="transcribe -m"):
        pm.Suite(str(whisper)).embed(texts="red")
    folder = shutil.copytree(whisper, tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(pm.DamagedWeights, match=r"model\.safetensors is no whole"):
        open_transcriber(str(folder))


def test_short_names_have_cards() -> None:
    cards = {name: card for card in read_speech_models() for name in card.names}
    assert {"large-v3", "turbo"} <= set(cards)
    assert all(card.source.startswith("https://") and card.licence for card in cards.values())
    from faster_whisper.utils import _MODELS

    assert {cards[n].ctranslate2 for n in ("large-v3", "turbo")} <= set(_MODELS.values())


def test_a_hub_id_is_told_by_its_config(
    whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    commit = "0123456789abcdef" * 2 + "01234567"
    repo = tmp_path / "models--org--tiny-whisper"
    shutil.copytree(whisper, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert json.loads((whisper / "config.json").read_text())["model_type"] == "whisper"
    model = open_transcriber("org/tiny-whisper", device="cpu")
    assert isinstance(model, HubWhisper)
    assert model.provenance.model == "org/tiny-whisper"


def test_a_precision_reaches_the_weights_and_the_revision(whisper: Path, tmp_path: Path) -> None:
    suite = pm.Suite(transcriber=str(whisper), device="cpu", home=tmp_path, dtype="bfloat16")
    model = suite.transcriber()
    assert model.provenance.revision.endswith(" bfloat16")
    assert isinstance(model, HubWhisper)
    with model.residents[0].use() as loaded:
        assert loaded.model.dtype == torch.bfloat16
    assert suite.transcribe(sound(5, 1.0)).provenance.revision.endswith(" bfloat16")


def test_the_starter_s_speech_model_beside_a_checkpoint_stays_as_it_is(
    checkpoint: Any, tmp_path: Path
) -> None:
    suite = pm.Suite(str(checkpoint("clip")), device="cpu", home=tmp_path, dtype="bfloat16")
    assert suite.embedder().space.revision.endswith(" bfloat16")
    assert suite.transcriber().provenance == pm.Suite(device="cpu").transcriber().provenance
