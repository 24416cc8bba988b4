"""Where scenes begin, by vectors alone."""

import numpy as np
from PIL import Image

from polymodal.tasks.scenes import MOST_KEPT, Sampled, cut_scenes


def vector(axis, wobble=0.0):
    made = np.zeros(8, np.float32)
    made[axis], made[7] = 1.0, wobble
    return made / np.linalg.norm(made)


def scenes_of(axes, every_s=0.5):
    frames = (Sampled(n * every_s, vector(axis, 0.3 * (n % 2)), b"") for n, axis in enumerate(axes))
    return [(cut.start_s, cut.end_s) for cut, _ in cut_scenes(frames)]


def test_a_cut_begins_a_scene():
    assert scenes_of([0] * 6 + [1] * 6) == [(0.0, 3.0), (3.0, 5.5)]


def test_a_flash_begins_none():
    assert scenes_of([0] * 6 + [1] + [0] * 6) == [(0.0, 6.0)]


def test_frames_that_are_each_different_join_the_scene_before_them():
    assert scenes_of([0] * 4 + [1, 2, 3] + [4] * 6) == [(0.0, 3.5), (3.5, 6.0)]


def test_one_frame_is_a_scene_and_none_is_no_scene():
    assert scenes_of([0]) == [(0.0, 0.0)]
    assert scenes_of([]) == []


def test_the_picture_of_a_scene_is_the_frame_most_like_all_of_it():
    frames = [Sampled(n, vector(0, wobble), b"") for n, wobble in enumerate([0.8, 0.1, 0.0, 0.1])]
    ((cut, is_last),) = cut_scenes(frames)
    assert is_last
    assert cut.picture.time_s in (1, 2, 3)


def test_a_long_scene_keeps_few_frames():
    kept = []

    def frames():
        for number in range(5000):
            frame = Sampled(number * 0.5, vector(0), b"")
            kept.append(number)
            yield frame

    ((cut, _),) = cut_scenes(frames())
    assert cut.end_s == 2499.5
    assert cut.picture.time_s % 0.5 == 0
    assert MOST_KEPT < 100


def test_frames_of_one_colour_are_told_apart_by_the_colour():
    shown = [Image.new("RGB", (64, 48), colour) for colour in ["red"] * 6 + ["blue"] * 6]
    frames = [Sampled.of(n * 0.5, vector(0), image) for n, image in enumerate(shown)]
    assert [(cut.start_s, cut.end_s) for cut, _ in cut_scenes(frames)] == [(0.0, 3.0), (3.0, 5.5)]
    fading = [Image.new("RGB", (64, 48), (shade, shade, shade)) for shade in range(120, 0, -20)]
    frames = [Sampled.of(n * 0.5, vector(0), image) for n, image in enumerate(fading)]
    assert len(list(cut_scenes(frames))) == 1
