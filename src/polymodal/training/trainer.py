"""The loop that every kind of training shares: steps, schedule, checkpoints, resuming.

Notable: a task adds gradients and says a loss; everything else is here. The state after a step is
one checkpoint, and the loader's place follows from the number of steps, so a run that was killed
goes on bit for bit. A loss that is no number stops the run before it can touch a weight.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from polymodal.errors import TrainingError
from polymodal.training.average import Average
from polymodal.training.checkpoints import Checkpoints
from polymodal.training.loading import Batch, Loader
from polymodal.training.ranks import of_all_ranks, ranks
from polymodal.training.rates import parameter_groups
from polymodal.training.runfolder import RunFolder
from polymodal.training.settings import Recipe

__all__ = ["Task", "Trainer", "rate_factor", "steps_of", "warmup_steps"]

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Task(Protocol):
    """What is trained: `model` holds every parameter, trained or not."""

    model: nn.Module
    loader: Loader
    device: torch.device

    def step(self, batch: Batch, scale: float) -> Tensor:
        """Add the batch's gradient, times `scale`, to `.grad`; give the loss, alike on all ranks.

        Gradients are averaged over the ranks when it returns.
        """

    def after_step(self) -> None:
        """Whatever holds after each step, such as a clamped scale."""

    def validate(self) -> dict[str, float]:
        """Scores; the first decides which checkpoint is the best, higher is better."""


def steps_of(recipe: Recipe, loader: Loader) -> int:
    """Steps of the whole run."""
    steps = max(1, round(recipe.epochs * loader.steps_per_epoch))
    return min(steps, recipe.steps) if recipe.steps else steps


def warmup_steps(recipe: Recipe, steps: int) -> int:
    """Steps in which the rate rises."""
    warmup = recipe.warmup
    return round(warmup * steps) if warmup < 1 else min(int(warmup), steps)


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """What the peak rates are multiplied by in step `step` (0 is the first)."""
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


class Trainer:
    """Runs a task by a recipe in a run folder."""

    def __init__(self, task: Task, recipe: Recipe, folder: RunFolder) -> None:
        self.task, self.recipe, self.folder = task, recipe, folder
        self.steps = steps_of(recipe, task.loader)
        self.warmup = warmup_steps(recipe, self.steps)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(task.model, recipe.rates, recipe.decay),
            betas=recipe.betas,
            eps=recipe.eps,
            fused=task.device.type == "cuda",
        )
        self.trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.average = Average(self.trained, recipe.ema) if recipe.ema else None
        self.scaler = torch.amp.GradScaler(task.device.type, enabled=recipe.precision == "float16")
        self.checkpoints = Checkpoints(folder.checkpoints, recipe.keep_last)
        self.step, self.best = 0, -math.inf
        self.failed: set[str] = set()

    def run(self) -> dict[str, float]:
        """Train to the end; gives the last scores.

        Raises:
            TrainingError: the loss or its gradient is no number, or the disk refused a checkpoint.
        """
        self._random_state(self.recipe.seed)
        if steps := self.checkpoints.steps():
            self._restore(self.checkpoints.load(steps[-1]))
        meter = _Meter(self.task.loader.batch, self.task.device)
        scores: dict[str, float] = {}
        if not self.step:
            self._validate()  # what a gain is measured from
        self.task.model.train()
        for batch in meter.timed(self.task.loader.from_step(self.step, self.steps)):
            loss = self._step(batch.to(self.task.device))
            self.step += 1
            self._name_failures(batch)
            last = self.step == self.steps
            if last or self.step % self.recipe.log_every == 0:
                values = {"loss": float(loss), "rate": self.optimiser.param_groups[0]["lr"]}
                self.folder.report(self.step, values | meter.read() | self._skipped())
            measured = last or _due(self.step, self.recipe.validate_every)
            if measured:
                scores = self._validate()
            if last or _due(self.step, self.recipe.save_every):
                self._save(scores if measured else {})
                meter.restart()
        if self.average:
            self.average.swap()  # the average is what is kept
        return scores

    def _random_state(self, seed: int) -> None:
        torch.manual_seed(seed * 1009 + ranks().rank)  # ranks drop differently

    def _step(self, batch: Batch) -> Tensor:
        factor = rate_factor(self.step, self.steps, self.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        try:
            loss = self.task.step(batch, float(self.scaler.get_scale()) if self._scaled else 1.0)
        except TrainingError as error:  # which item it was; here, in which step
            raise TrainingError(
                f"step {self.step + 1} stopped before it changed a weight: {error} The last"
                f" checkpoint: {self._kept()}."
            ) from error
        self._refuse(loss, "loss", batch)
        if self._scaled:
            self.scaler.scale(torch.zeros((), device=self.task.device))  # begins its bookkeeping
            self.scaler.unscale_(self.optimiser)
        norm = self._clip()
        if not self._scaled:  # a scaler passes over such a step by itself
            self._refuse(norm, "gradient", batch)
        if self._scaled:
            self.scaler.step(self.optimiser)
            self.scaler.update()
        else:
            self.optimiser.step()
        self.task.after_step()
        if self.average:
            self.average.update(self.step + 1)
        return loss

    @property
    def _scaled(self) -> bool:
        return bool(self.scaler.is_enabled())

    def _clip(self) -> Tensor:
        """The norm of the whole gradient, which is then no longer than `clip_norm`."""
        gradients = [p.grad for p in self.trained if p.grad is not None]
        norms = [_whole(torch.linalg.vector_norm(g.float())) for g in gradients]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self.recipe.clip_norm:
            factor = (self.recipe.clip_norm / (norm + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(factor)
        return norm

    def _refuse(self, value: Tensor, what: str, batch: Batch) -> None:
        if torch.isfinite(value):
            return
        names = ", ".join(batch.names[:8]) + (", ..." if len(batch.names) > 8 else "")
        raise TrainingError(
            f"the {what} of step {self.step + 1} is {float(value)}, so the run stopped before it"
            f" changed a weight. The batch: {names}. The last checkpoint: {self._kept()}. Look at"
            " these items, or lower the rates or clip_norm."
        )

    def _kept(self) -> str:
        steps = self.checkpoints.steps()
        return f"{self.checkpoints.path(steps[-1])} is intact" if steps else "none was saved yet"

    def _name_failures(self, batch: Batch) -> None:
        for line in batch.failures:
            if line not in self.failed:
                self.failed.add(line)
                self.folder.report(self.step, {"skipped": line})

    def _skipped(self) -> dict[str, int]:
        return {"skipped_items": len(self.failed)} if self.failed else {}

    def _validate(self) -> dict[str, float]:
        if self.average:
            self.average.swap()
        random = torch.get_rng_state()
        self.task.model.eval()
        with torch.no_grad():
            scores = self.task.validate()
        self.task.model.train()
        torch.set_rng_state(random)
        if self.average:
            self.average.swap()
        if scores:
            self.folder.report(self.step, scores)
        return scores

    def _save(self, scores: dict[str, float]) -> None:
        first = next(iter(scores.values()), None)
        best = first is not None and first > self.best
        self.best = first if best and first is not None else self.best
        state = self._state()
        if ranks().first:
            self.checkpoints.save(self.step, state, best=best)

    def _state(self) -> dict[str, Any]:
        model, optimiser = self.task.model, self.optimiser
        state = {
            "step": self.step,
            "best": self.best,
            "model": get_model_state_dict(model, options=WHOLE),
            "optimiser": get_optimizer_state_dict(model, optimiser, options=WHOLE),
            "scaler": self.scaler.state_dict(),
            "failed": sorted(self.failed),
            "random": of_all_ranks(torch.get_rng_state()),
        }
        if self.task.device.type == "cuda":
            state["random_cuda"] = of_all_ranks(torch.cuda.get_rng_state(self.task.device))
        if self.average:
            self.average.swap()
            kept = get_model_state_dict(model, options=WHOLE)
            # On a CPU these are the weights themselves, which the next line puts back.
            state["average"] = {name: value.clone() for name, value in kept.items()}
            self.average.swap()
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        model = self.task.model
        if self.average and "average" in state:
            set_model_state_dict(model, state["average"], options=WHOLE)
            self.average.take()
        set_model_state_dict(model, state["model"], options=WHOLE)
        set_optimizer_state_dict(model, self.optimiser, state["optimiser"], options=WHOLE)
        if self._scaled:
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.best = int(state["step"]), float(state["best"])
        self.failed = set(state["failed"])
        me = ranks()
        if len(state["random"]) != me.world:  # it was run by another number of processes
            self._random_state(self.recipe.seed + self.step)
            return
        torch.set_rng_state(state["random"][me.rank])
        if "random_cuda" in state and self.task.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"][me.rank], self.task.device)


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _whole(value: Tensor) -> Tensor:
    """A shard's number as the number of the whole."""
    full: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full


class _Meter:
    """Samples a second, the share of time spent waiting for data, and peak memory."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self._batch, self._device = batch, device
        self.restart()

    def restart(self) -> None:
        """Begin anew; what was saved or validated in between does not count."""
        self._began, self._waited, self._steps = time.perf_counter(), 0.0, 0

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches, with the time that each took to come."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - began
            if batch is None:
                return
            self._steps += 1
            yield batch

    def read(self) -> dict[str, float]:
        """Numbers since the last reading."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        spent = time.perf_counter() - self._began
        found = {
            "samples_per_s": round(self._steps * self._batch / spent, 2),
            "data_wait": round(self._waited / spent, 3),
            "peak_memory_mb": round(_peak_bytes(self._device) / 1e6, 1),
        }
        self.restart()
        return found


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
