from __future__ import annotations

import pytest

from polymodal.models.starter import StarterEmbedder
from tests.models.weights import starter_or_skip


@pytest.fixture(scope="module")
def starter() -> StarterEmbedder:
    return starter_or_skip()
