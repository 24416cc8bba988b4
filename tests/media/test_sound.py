"""Sounds of every kind become mono, 16 kHz floats, or one clear error."""

import builtins

import numpy as np
import pytest

from polymodal.errors import (
    DamagedMedia,
    MediaNotFound,
    MediaTooLarge,
    MissingDependency,
    UnsupportedMedia,
)
from polymodal.media.limits import StreamLimits
from polymodal.media.sound import RATE_HZ, open_sound, read_sound
from tests.media.recordings import cut_off, tone, write_sound, write_video
from tests.tasks.pictures import plain


def loudest_hz(samples):
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * RATE_HZ / samples.size)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_s16le", 16_000, "mono"),
        ("eight-bit.wav", "pcm_u8", 8_000, "mono"),
        ("high-rate.wav", "pcm_s16le", 96_000, "stereo"),
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.flac", "flac", 48_000, "stereo"),
        ("a.ogg", "libopus", 48_000, "mono"),
        ("a.m4a", "aac", 44_100, "mono"),
        ("a.mkv", "aac", 22_050, "mono"),
    ],
)
def test_any_format_becomes_mono_at_16_khz(tmp_path, name, codec, rate, layout):
    path = write_sound(tmp_path / name, tone(2.0, rate=rate), codec=codec, rate=rate, layout=layout)
    samples = read_sound(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.size / RATE_HZ == pytest.approx(2.0, abs=0.1)
    assert loudest_hz(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)


def test_samples_are_those_that_were_written(tmp_path):
    written = tone(1.0, hz=1000)
    read = read_sound(write_sound(tmp_path / "exact.wav", written))
    assert np.abs(read - written).max() < 1e-4


def test_a_long_sound_comes_in_blocks_that_join_to_the_whole(tmp_path):
    written = tone(25.3)
    with open_sound(write_sound(tmp_path / "long.wav", written)) as sound:
        blocks = list(sound.blocks())
        assert sound.duration_s == pytest.approx(25.3, abs=0.01)
    assert [block.size for block in blocks[:-1]] == [160_000, 160_000]
    assert np.abs(np.concatenate(blocks) - written).max() < 1e-4


def test_a_tenth_of_a_second_is_read(tmp_path):
    assert read_sound(write_sound(tmp_path / "short.wav", tone(0.1))).size == 1600


def test_bytes_and_samples_are_inputs_too(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(0.5))
    assert np.array_equal(read_sound(path.read_bytes()), read_sound(path))
    assert np.array_equal(read_sound(tone(0.5)), tone(0.5))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros((2, 100), np.float32), "shape"),
        (np.zeros(100, np.int16), "int16"),
        (np.full(100, np.nan, np.float32), "not finite"),
    ],
)
def test_samples_of_another_kind_are_refused(samples, reason):
    with pytest.raises(UnsupportedMedia, match=reason):
        read_sound(samples)


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"),
                                             ("a.m4a", "aac"), ("a.mkv", "aac")])  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_truncated_file_is_refused_and_not_cut_short(tmp_path, name, codec, share):
    path = write_sound(tmp_path / name, tone(6.0), codec=codec)
    with pytest.raises((DamagedMedia, UnsupportedMedia), match=r"truncated|damaged"):
        read_sound(cut_off(path, share))


def test_a_wav_whose_recorder_never_wrote_its_length_is_read(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(1.0))
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    where = data.index(b"data")
    data[where + 4 : where + 8] = b"\xff\xff\xff\xff"
    assert read_sound(bytes(data)).size == 16_000


def test_a_video_without_sound_says_so(tmp_path):
    path = write_video(tmp_path / "mute.mp4", [plain("red")])
    with pytest.raises(UnsupportedMedia, match="no audio track"):
        read_sound(path)


def test_sound_that_starts_late_keeps_the_times_of_the_video(tmp_path):
    import av

    path = tmp_path / "late.mkv"
    quiet = np.zeros(16_000, np.float32)
    write_video(tmp_path / "v.mkv", [plain("red")], sound=np.concatenate([quiet, tone(1.0)]))
    with av.open(tmp_path / "v.mkv") as source, av.open(path, "w") as target:
        streams = {
            stream.index: target.add_stream_from_template(stream) for stream in source.streams
        }
        for packet in source.demux():
            late = packet.stream.type == "video" or (packet.pts or 0) * packet.time_base >= 1
            if packet.dts is not None and late:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    samples = read_sound(path)
    assert np.abs(samples[:14_000]).max() < 0.01
    assert np.abs(samples[18_000:30_000]).max() > 0.2


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"", DamagedMedia, "empty"),
        (b"\0" * 5000, DamagedMedia, "zero bytes"),
        (b"%PDF-1.7 and so on", UnsupportedMedia, "a PDF document"),
        (b"just some text " * 50, UnsupportedMedia, "text"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 99, UnsupportedMedia, "a PNG picture"),
    ],
)
def test_what_is_no_sound_is_named(tmp_path, content, error, reason):
    path = tmp_path / "x.mp3"
    path.write_bytes(content)
    with pytest.raises(error, match=reason):
        read_sound(path)


def test_a_playlist_cannot_make_the_program_read_another_file(tmp_path):
    secret = write_sound(tmp_path / "secret.wav", tone(1.0))
    for number, text in enumerate(
        [
            f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{secret}'\n",
        ]
    ):
        path = tmp_path / f"list{number}.mp3"
        path.write_text(text)
        with pytest.raises(UnsupportedMedia):
            read_sound(path)


def test_missing_files_and_addresses_are_not_found(tmp_path):
    with pytest.raises(MediaNotFound, match="no such file"):
        read_sound(tmp_path / "none.wav")
    with pytest.raises(MediaNotFound, match="URL"):
        read_sound("http://127.0.0.1:1/a.mp3")


def test_limits_on_seconds_and_bytes(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(3.0))
    with pytest.raises(MediaTooLarge, match="max_s"):
        read_sound(path, StreamLimits(max_s=2.0))
    with pytest.raises(MediaTooLarge, match="max_bytes"):
        read_sound(path, StreamLimits(max_bytes=1000))
    with pytest.raises(MediaTooLarge, match="max_s"):
        read_sound(tone(3.0), StreamLimits(max_s=2.0))


def test_a_file_that_hides_its_length_is_stopped_while_it_plays(tmp_path):
    data = bytearray(write_sound(tmp_path / "a.mp3", tone(30.0), codec="libmp3lame").read_bytes())
    start = data.index(b"Xing") if b"Xing" in data else data.index(b"Info")
    data[start : start + 4] = b"\0\0\0\0"
    with pytest.raises(MediaTooLarge, match="max_s"):
        read_sound(bytes(data), StreamLimits(max_s=10.0))


def test_without_pyav_the_message_is_the_command(monkeypatch, tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(0.1))
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "av":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"pip install 'polymodal\[speech\]'") as caught:
        read_sound(path)
    assert caught.value.exit_code == 3
