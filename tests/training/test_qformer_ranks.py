"""A Q-Former's contrast and matching see the pairs of all ranks."""

import json

import pytest
import torch

from tests.hub import tiny
from tests.training import tiny_llava
from tests.training.qformer_ranks import batch, likeliest, model
from tests.training.qformer_run_ranks import train
from tests.training.running import assert_ends_alike, on_ranks, weights
from tests.training.test_bridges import bert, losses


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


def test_a_run_on_two_ranks_ends_where_one_process_does(tmp_path, monkeypatch):
    tiny.clip(tmp_path / "clip")
    bert(tmp_path / "bert")
    names = sorted(each.name for each in tiny_llava.shapes(tmp_path / "shapes").glob("*.png"))
    rows = [  # of different lengths, so that the ranks' texts are
        {"image": name, "caption": "a " * (number % 7) + name.split("-")[0]}
        for number, name in enumerate(names)
    ]
    uneven = tmp_path / "shapes" / "uneven.jsonl"
    uneven.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    on_ranks("tests.training.qformer_run_ranks", 2, tmp_path / "rendezvous")
    monkeypatch.setattr(torch, "multinomial", likeliest)
    before = train(tmp_path, "alone")
    alone, both = (tmp_path / name for name in ("alone", "ranks"))
    assert losses(both) == pytest.approx(losses(alone), rel=1e-4)
    wanted = weights(alone)
    assert_ends_alike({name: before[name] for name in wanted}, wanted, weights(both))
