"""Frames of a video: at their times, upright, within limits; or one clear error."""

import av
import numpy as np
import pytest
from PIL import Image

from polymodal.errors import DamagedMedia, MediaTooLarge, UnsupportedMedia
from polymodal.media.limits import StreamLimits
from polymodal.media.video import open_video
from polymodal.models.mock import COLOURS
from tests.media.recordings import cut_off, tone, turned_by_metadata, write_sound, write_video
from tests.tasks.pictures import plain


def frames_of(source, every_s=0.5, **limits):
    with open_video(source, StreamLimits(**limits)) as video:
        return list(video.frames(every_s, side_px=240))


def colour_of(image):
    mean = np.asarray(image, np.float32).reshape(-1, 3).mean(0)
    return min(COLOURS, key=lambda name: float(((mean - np.array(COLOURS[name])) ** 2).sum()))


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", [plain("red"), plain("green"), plain("blue")])


def test_frames_show_what_is_shown_at_their_times(clip):
    frames = frames_of(clip)
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(0, 6, 0.5), abs=0.06)
    shown = [colour_of(frame.image) for frame in frames]
    assert shown == ["red"] * 4 + ["green"] * 4 + ["blue"] * 4
    assert {frame.image.size for frame in frames} == {(160, 120)}


@pytest.mark.parametrize("ending", ["webm", "mkv", "mov", "avi"])
def test_other_containers_and_codecs(tmp_path, ending):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(ending, "libx264")
    path = write_video(tmp_path / f"a.{ending}", [plain("red"), plain("blue")], codec=codec)
    assert [colour_of(frame.image) for frame in frames_of(path, 1.0)] == ["red"] * 2 + ["blue"] * 2


def test_large_frames_are_scaled_down_and_known_by_their_own_size(tmp_path):
    path = write_video(tmp_path / "big.mp4", [plain("red")], size=(1280, 720), fps=2)
    with open_video(path) as video:
        (first, *_) = video.frames(0.5, side_px=180)
        assert first.image.size == (320, 180)
        assert (video.width_px, video.height_px) == (1280, 720)


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0.0, 0.1, 0.2, 2.0, 2.05, 2.1, 5.0, 5.5]
    pictures = [plain(name) for name in ("red", "red", "red", "green", "green", "green", "blue")]
    path = write_video(tmp_path / "vfr.mp4", pictures, seconds_each=0.1, times=times)
    frames = frames_of(path, 0.5)
    assert [round(frame.time_s, 2) for frame in frames] == [0.0, 2.0, 5.0, 5.5]
    assert [colour_of(frame.image) for frame in frames] == ["red", "green", "blue", "blue"]


def test_a_video_turned_by_metadata_is_shown_upright(tmp_path):
    """Red at the left becomes red at the top when a quarter turn, clockwise, is asked for."""
    picture = Image.new("RGB", (160, 120), COLOURS["blue"])
    picture.paste(COLOURS["red"], (0, 0, 80, 120))
    video = write_video(tmp_path / "flat.mp4", [picture]).read_bytes()
    with open_video(turned_by_metadata(video)) as opened:
        frame = next(opened.frames(1.0, side_px=240))
        assert (opened.width_px, opened.height_px) == (120, 160)
    assert frame.image.size == (120, 160)
    assert colour_of(frame.image.crop((0, 0, 120, 60))) == "red"
    assert colour_of(frame.image.crop((0, 100, 120, 160))) == "blue"


def test_a_recording_has_no_picture_even_with_a_cover(tmp_path):
    sound = write_sound(tmp_path / "a.m4a", tone(1.0), codec="aac")
    with pytest.raises(UnsupportedMedia, match="no video track"):
        frames_of(sound)
    covered = tmp_path / "covered.mp3"
    with av.open(covered, "w") as container:
        audio = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_image(plain("red", side=64)).reformat(
            format="yuvj420p")))  # fmt: skip
        container.mux(cover.encode(None))
        samples = tone(1.0)
        step = audio.codec_context.frame_size or 576
        for start in range(0, samples.size - step, step):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + step], "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    with av.open(covered) as container:
        assert container.streams.video, "the cover is a video stream to FFmpeg"
    with pytest.raises(UnsupportedMedia, match="no video track"):
        frames_of(covered)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_video_truncated_within_a_frame_is_refused(tmp_path, ending, share):
    noise = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8))
        for seed in range(8)
    ]
    path = write_video(tmp_path / f"a.{ending}", noise)
    with pytest.raises(DamagedMedia, match=r"truncated|damaged"):
        frames_of(cut_off(path, share))


def test_a_truncated_video_whose_index_comes_first_is_refused(tmp_path):
    path = tmp_path / "fast.mp4"
    source = write_video(
        tmp_path / "a.mp4", [plain(name, 3) for name in ("red", "green", "blue")], sound=tone(6.0)
    )
    with (
        av.open(source) as opened,
        av.open(path, "w", options={"movflags": "faststart"}) as target,
    ):
        streams = {each.index: target.add_stream_from_template(each) for each in opened.streams}
        for packet in opened.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    assert len(frames_of(path)) == 12
    with pytest.raises(DamagedMedia, match=r"truncated|damaged"):
        frames_of(cut_off(path, 0.6))


def test_frames_of_too_many_pixels_are_refused(clip):
    with pytest.raises(MediaTooLarge, match="160 x 120"):
        frames_of(clip, max_pixels=10_000)


def test_a_video_of_too_many_seconds_is_refused(clip):
    with pytest.raises(MediaTooLarge, match="max_s"):
        frames_of(clip, max_s=5.0)


def test_a_picture_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    plain("red").save(path, "PNG")
    with pytest.raises(UnsupportedMedia, match="a PNG picture"):
        frames_of(path)
