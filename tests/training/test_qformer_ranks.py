"""A Q-Former's contrast and matching see the pairs of all ranks."""

import pytest
import torch

from tests.training.qformer_ranks import batch, model
from tests.training.running import on_ranks


def test_losses_and_gradients_of_two_ranks_are_those_of_the_full_batch(tmp_path):
    on_ranks("tests.training.qformer_ranks", 2, tmp_path / "rendezvous")


def test_without_the_others_the_losses_are_not_those_of_the_full_batch():
    """What the gather is for: the halves by themselves are an easier task."""
    whole = model()(*batch()).itc
    halves = [model()(*(each[rows] for each in batch())).itc for rows in (slice(3), slice(3, 6))]
    assert sum(halves) / 2 < whole - 0.1


def test_an_offset_without_the_others_is_refused():
    token, ids, mask = batch()
    with pytest.raises(ValueError, match="6 pairs at offset 6 do not lie within 6: give `gather`"):
        model()(token, ids, mask, offset=6)
    with pytest.raises(ValueError, match="batch to two or more"):
        model()(token[:1], ids[:1], mask[:1])
    both = model()(token[:1], ids[:1], mask[:1], gather=lambda mine: torch.cat([mine, mine]))
    assert torch.isfinite(both.total)  # a rank may hold one pair, as long as there are others
