"""Batches in a fixed order: which items, which captions and which crops follow from the seed.

Notable: a batch is a slice of its pass's order and nothing remembers where the reading stands, so
a run resumes at the exact sample from the number of steps alone, on any number of ranks or worker
processes. An item that cannot be opened is named and replaced by the next of the order that can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from polymodal.errors import MediaError, TrainingError, UsageError
from polymodal.training.pairs import Pairs
from polymodal.training.pictures import Preparation
from polymodal.training.ranks import ranks

__all__ = ["Batch", "Loader", "PairSamples", "Sample", "held_out"]

TRIES = 20
"""Neighbours that are tried in place of an item that cannot be opened."""
SHOWN = 3
"""Of those that cannot be opened, by name."""


@dataclass(frozen=True)
class Sample:
    """One item, ready for the collator."""

    name: str
    value: Any
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What a step takes.

    Attributes:
        inputs: what the collator made of this rank's items.
        names: of these items.
        failures: a line for each item that could not be opened and was replaced.
    """

    inputs: Any
    names: tuple[str, ...]
    failures: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """With its tensors on the device."""
        return Batch(_moved(self.inputs, device), self.names, self.failures)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: _moved(each, device) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_moved(each, device) for each in value)
    return value


@dataclass(frozen=True)
class PairSamples:
    """Pairs as samples: float32 pixels (3, S, S), a caption, a group.

    Attributes:
        train: draw crop and caption; otherwise the middle square and the first caption.
    """

    pairs: Pairs
    preparation: Preparation
    seed: int
    train: bool = True

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, epoch: int, index: int) -> Sample:
        """Item `index` as it looks in pass `epoch`.

        Raises:
            UsageError: neither it nor any of its neighbours can be opened.
        """
        failures: list[str] = []
        for step in range(min(TRIES, len(self.pairs))):
            number = (index + step) % len(self.pairs)
            random = np.random.default_rng((self.seed, epoch, number)) if self.train else None
            try:
                return replace(self._opened(number, random), failures=tuple(failures))
            except MediaError as error:
                failures.append(f"{self.pairs.items[number].name}: {error.reason}")
        raise UsageError(
            f"{len(failures)} pictures in a row cannot be opened in {self.pairs.source}: "
            + "; ".join(failures[:SHOWN])
        )

    def that_open(self) -> Iterator[tuple[int, Sample]]:
        """Every item that can be opened, once and in order, with its number: for measuring.

        Raises:
            TrainingError: none can.
        """
        failures = 0
        named: list[str] = []
        for number, item in enumerate(self.pairs.items):
            try:
                sample = self._opened(number, None)
            except MediaError as error:
                failures += 1
                named = [*named, f"{item.name}: {error.reason}"][:SHOWN]
            else:
                yield number, sample
        if failures == len(self.pairs):
            more = f"; and {failures - len(named)} more" if failures > len(named) else ""
            raise TrainingError(
                f"nothing can be measured: no picture of {self.pairs.source} can be opened"
                f" ({'; '.join(named)}{more}). Mend these files, or give other pairs as validation."
            )

    def _opened(self, number: int, random: np.random.Generator | None) -> Sample:
        item = self.pairs.items[number]
        pixels = self.preparation(item.open(self.preparation.size_px).image, random)
        which = int(random.integers(len(item.captions))) if random is not None else 0
        return Sample(item.name, (pixels, item.captions[which], item.group))


def held_out(pairs: Pairs | None, preparation: Preparation, seed: int) -> PairSamples | None:
    """Validation pairs as samples: the middle square, not mirrored; None where there are none."""
    if pairs is None:
        return None
    middle = Preparation(preparation.size_px, preparation.mean, preparation.std)
    return PairSamples(pairs, middle, seed, train=False)


@dataclass(frozen=True)
class _Numbered(Dataset):  # type: ignore[misc,type-arg,unused-ignore]
    samples: Any

    def __getitem__(self, where: tuple[int, int]) -> Sample:
        sample: Sample = self.samples.sample(*where)
        return sample


@dataclass(frozen=True)
class _Collated:
    collate: Callable[[Sequence[Any]], Any]

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        failures = tuple(line for each in samples for line in each.failures)
        values = [each.value for each in samples]
        return Batch(self.collate(values), tuple(each.name for each in samples), failures)


@dataclass
class Loader:
    """Batches of `batch` items over all ranks; each rank gets its share.

    Attributes:
        samples: `len()` and `sample(epoch, index)`.
        collate: values of samples to the inputs of a step.
        order: the items of a pass, in order: `order(epoch)`; shuffled by the seed unless given.
    """

    samples: Any
    collate: Callable[[Sequence[Any]], Any]
    batch: int
    seed: int
    workers: int = 0
    order: Callable[[int], NDArray[np.int64]] | None = None
    pin: bool = False
    _collated: _Collated = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be cut into whole batches."""
        world = ranks().world
        if self.batch % world:
            raise UsageError(
                f"a batch of {self.batch} cannot be shared by {world} processes: set `batch` to a"
                f" multiple of {world}, such as {-(-self.batch // world) * world}."
            )
        if self.batch > len(self.samples):
            raise UsageError(
                f"a batch of {self.batch} needs as many items, and there are"
                f" {len(self.samples)}: set `batch` to {len(self.samples)} or less."
            )
        self._collated = _Collated(self.collate)
        shuffled = lru_cache(2)(self._shuffled)
        self.order = self.order or shuffled

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in a pass; what is left over is in another pass's batches."""
        return len(self.samples) // self.batch

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.samples))

    def from_step(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of the steps from `start` (0 is the first of the run) up to `stop`."""
        loader = DataLoader(
            _Numbered(self.samples),
            batch_sampler=list(self._where(start, stop)),
            num_workers=self.workers,
            collate_fn=self._collated,
            pin_memory=self.pin,
            generator=torch.Generator(),  # it would draw a number from dropout's otherwise
            # A forked worker would inherit locks that threads of the tokenizer may hold.
            multiprocessing_context="spawn" if self.workers else None,
        )
        return iter(loader)

    def _where(self, start: int, stop: int) -> Iterator[list[tuple[int, int]]]:
        me = ranks()
        share = self.batch // me.world
        assert self.order is not None
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            first = place * self.batch + me.rank * share
            yield [(epoch, int(index)) for index in self.order(epoch)[first : first + share]]
