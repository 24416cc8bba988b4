"""Pictures for APIs: size, format, bytes; and money set aside by many threads at once."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import polymodal as pm
from polymodal.models.api_pictures import PictureLimits, encode_picture
from polymodal.runtime.spending import Spending


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def test_drawings_keep_every_pixel_and_photographs_become_jpeg() -> None:
    drawing = Image.new("RGB", (300, 200), "white")
    drawing.paste((200, 0, 0), (50, 50, 51, 150))  # a line, which JPEG would blur
    found = encode_picture(drawing, 1000, 1_000_000)
    assert found.media_type == "image/png"
    assert opened(found.content).convert("RGB").tobytes() == drawing.tobytes()
    assert encode_picture(noise(300, 200), 1000, 1_000_000).media_type == "image/jpeg"
    assert found.data_url.startswith("data:image/png;base64,iVBOR")


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    longest=st.integers(16, 500),
    most=st.integers(3_000, 200_000),
)
def test_no_limit_is_ever_passed(width: int, height: int, longest: int, most: int) -> None:
    found = encode_picture(noise(width, height), longest, most)
    assert len(found.content) <= most
    picture = opened(found.content)
    assert max(picture.size) <= min(longest, max(width, height))
    assert picture.format == {"image/jpeg": "JPEG", "image/png": "PNG"}[found.media_type]


def test_proportions_stay_and_nothing_is_enlarged() -> None:
    assert opened(encode_picture(noise(1200, 300), 400, 10**7).content).size == (400, 100)
    assert opened(encode_picture(noise(20, 30), 400, 10**7).content).size == (20, 30)
    assert opened(encode_picture(noise(3000, 1), 100, 10**7).content).size == (100, 1)


def test_other_modes_become_rgb() -> None:
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        found = encode_picture(noise(20, 20).convert(mode), 100, 10**6)
        assert opened(found.content).mode in {"RGB", "L"}


def test_many_pictures_share_the_bytes_of_a_request() -> None:
    limits = PictureLimits(1000, 5_000_000, 20_000_000)
    assert (limits.each(0), limits.each(2), limits.each(10)) == (5_000_000, 5_000_000, 2_000_000)


def test_threads_together_never_pass_a_budget() -> None:
    spending = Spending(1.0)

    def ask(_: int) -> bool:
        if not spending.set_aside(0.03):
            return False
        spending.settle(0.03, pm.Generation("x", cost_usd=0.01))
        return True

    with ThreadPoolExecutor(8) as pool:
        sent = sum(pool.map(ask, range(500)))
    assert spending.spent_usd <= 1.0
    assert 70 <= sent <= 100  # seven others may hold 0.03 each when one is refused
    assert spending.answers == sent


def test_what_may_have_been_charged_counts_as_the_worst() -> None:
    spending = Spending(1.0)
    for reason, counted in (("timeout", 0.2), ("malformed", 0.2), ("rejected", 0.0)):
        before = spending.spent_usd
        assert spending.set_aside(0.2)
        spending.settle(0.2, pm.ModelError("m", reason, "failed"))  # type: ignore[arg-type]
        assert spending.spent_usd - before == pytest.approx(counted)
    assert spending.set_aside(0.2)
    spending.settle(0.2, pm.Generation("x", cost_usd=None))
    assert spending.spent_usd == pytest.approx(0.6)
    assert not spending.set_aside(0.5)
    assert spending.set_aside(0.4)
