"""Where models of a deployment run, in which precision, how many of each, and what breaks first.

Notable: arithmetic that can be checked by hand. Memory is that of `catalog/estimate.py`. Requests
wait as in a queue with several servers (Erlang 1917, M/M/c): arrivals at random, replicas as
servers. vLLM answers several requests at once, so there the servers are its places for sequences.
How long a request takes is never guessed: it is in the file, or was measured on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from polymodal.choosing.deployment import Deployment, WantedDevice, WantedModel, read_deployment
from polymodal.choosing.queueing import latency_p95_s, most_rate, servers_for
from polymodal.choosing.selecting import footprint, usual_load
from polymodal.runtime.memory import in_words

__all__ = ["Plan", "PlannedDevice", "PlannedModel", "plan", "read_deployment"]

Step = tuple[str, str | None]
GPU_LADDER: tuple[Step, ...] = (("bfloat16", None), ("bfloat16", "8bit"), ("bfloat16", "4bit"))
CPU_LADDER: tuple[Step, ...] = (("float32", None), ("bfloat16", None))
ROOM = 0.9
"""Of a device's memory that is planned with; drivers and libraries take the rest."""
SEQUENCES = 64
"""Requests that one vLLM is planned to answer at once, at the most."""
NOT_SERVED = frozenset({"idefics", "idefics2", "instructblip", "mllama"})
"""Model types that vLLM does not serve (vllm/model_executor/models/registry.py at bf8e762: none of
the first three; Mllama until 0.10.2 only, as later registries say)."""


@dataclass(frozen=True)
class PlannedModel:
    """Where and how a model runs.

    Attributes:
        devices: one name for each replica; empty where it has no place.
        memory_bytes: of one replica.
        sequences: requests that one replica answers at once.
        busy: share of the servers' time; None where nobody says how long a request takes.
        latency_s: that 95 % of the requests stay under.
        most_per_s: the rate at which that reaches the target.
    """

    name: str
    devices: tuple[str, ...]
    precision: str
    quantize: str | None
    resident: bool
    memory_bytes: int
    device_bytes: int
    sequences: int
    context_tokens: int
    pictures: int
    served_by_vllm: bool
    requests_per_s: float
    busy: float | None = None
    latency_s: float | None = None
    target_s: float | None = None
    most_per_s: float | None = None

    @property
    def replicas(self) -> int:
        """How many of it run."""
        return len(self.devices)

    @property
    def where(self) -> str:
        """For a table."""
        if not self.devices:
            return "nowhere"
        kinds = ", ".join(dict.fromkeys(self.devices))
        return kinds if self.resident else f"{kinds}, on demand"


@dataclass(frozen=True)
class PlannedDevice:
    """A device, and what is planned on it."""

    name: str
    kind: str
    memory_bytes: int
    used_bytes: int


@dataclass(frozen=True)
class Plan:
    """The whole. `carries`: every model has its place and holds its target."""

    models: tuple[PlannedModel, ...]
    devices: tuple[PlannedDevice, ...]
    breaks_first: str
    problems: tuple[str, ...]
    carries: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "models": [{**asdict(each), "replicas": each.replicas} for each in self.models],
            "devices": [asdict(each) for each in self.devices],
            "breaks_first": self.breaks_first,
            "problems": list(self.problems),
            "carries": self.carries,
        }


class _Space:
    """What is left on each device."""

    def __init__(self, devices: Sequence[WantedDevice]) -> None:
        self.devices = [
            replace_name(device, number) for device in devices for number in range(device.count)
        ]
        self.free = {device.name: int(ROOM * device.bytes) for device in self.devices}
        self.on_demand: dict[str, int] = {}

    def used(self, name: str) -> int:
        """Bytes that are planned on a device."""
        device = next(each for each in self.devices if each.name == name)
        return int(ROOM * device.bytes) - self.free[name] + self.on_demand.get(name, 0)

    def take(self, kinds: Sequence[str], size: int) -> WantedDevice | None:
        """The device of these kinds with the most room, if there is enough."""
        fitting = [
            each
            for each in self.devices
            if each.kind in kinds and self.free[each.name] - self.shared(each.name) >= size
        ]
        if not fitting:
            return None
        best = max(fitting, key=lambda each: (each.kind != "cpu", self.free[each.name]))
        self.free[best.name] -= size
        return best

    def shared(self, name: str) -> int:
        """Bytes that models on demand take turns in."""
        return self.on_demand.get(name, 0)

    def lend(self, kinds: Sequence[str], size: int) -> WantedDevice | None:
        """Room that a model shares with others that are there on demand, one at a time."""
        fitting = [
            each for each in self.devices if each.kind in kinds and self.free[each.name] >= size
        ]
        if not fitting:
            return None
        best = max(fitting, key=lambda each: (each.kind != "cpu", self.free[each.name]))
        self.on_demand[best.name] = max(self.shared(best.name), size)
        return best


def replace_name(device: WantedDevice, number: int) -> WantedDevice:
    """One of several devices of a kind: `gpu:0`, `gpu:1`."""
    return device.model_copy(
        update={"name": f"{device.name}:{number}" if device.count > 1 else device.name, "count": 1}
    )


def plan(deployment: Deployment) -> Plan:
    """Place every model: the busiest first, in the best precision that has room.

    Raises:
        UsageError: a model's configuration lacks a number.
        ModelUnavailable: a model is not known; with the nearest names.
    """
    space = _Space(deployment.devices)
    problems: list[str] = []
    wanted = sorted(deployment.models, key=lambda each: -each.requests_per_s * (each.service or 1))
    placed = {each.name: _place(each, space, problems) for each in wanted}
    models = tuple(placed[each.name] for each in deployment.models)
    for each in models:
        problems += _too_slow(each)
    devices = tuple(
        PlannedDevice(each.name, each.kind, each.bytes, space.used(each.name))
        for each in space.devices
    )
    carries = not problems
    problems += [
        f"{each.name}: nobody says how long a request takes; give service_s, or task and a"
        " measurement of this machine (models select --measure)"
        for each in models
        if each.busy is None and each.devices
    ]
    gpus = {each.name for each in devices if each.kind == "cuda"}
    problems += [
        f"{each.name}: vLLM does not serve its family; polymodal runs it, one request at a time"
        for each in deployment.models
        if each.choice.writes and not _served(each) and gpus & set(placed[each.name].devices)
    ]
    return Plan(models, devices, _breaks_first(models), tuple(problems), carries)


def _place(wanted: WantedModel, space: _Space, problems: list[str]) -> PlannedModel:
    """Resident where there is room for every replica, else on demand, else nowhere."""
    kinds = [wanted.device] if wanted.device else ["cuda", "cpu"]
    for kind in kinds:
        if not any(each.kind == kind for each in space.devices):
            continue
        for step in _ladder(wanted, kind):
            found = _resident(wanted, kind, step, space)
            if found is not None:
                return found
    found = _on_demand(wanted, kinds, space)
    if found is not None:
        return found
    kind = kinds[-1]
    sized = _sized(wanted, kind, _ladder(wanted, kind)[-1], 1)
    problems.append(
        f"{wanted.name} has no place: one of it needs {in_words(sized.memory_bytes)}"
        f" in {sized.precision}, and no device has that left"
    )
    return sized


def _served(wanted: WantedModel) -> bool:
    """Whether vLLM can serve the model where it runs on a GPU."""
    return wanted.choice.writes and wanted.choice.config.get("model_type") not in NOT_SERVED


def _ladder(wanted: WantedModel, kind: str) -> list[Step]:
    choice = wanted.choice
    if wanted.quantize is not None or wanted.dtype is not None:
        return [(wanted.dtype or ("bfloat16" if kind == "cuda" else "float32"), wanted.quantize)]
    if not choice.writes:
        return [(choice.dtype or "float32", None)]
    return list(GPU_LADDER if kind == "cuda" else CPU_LADDER)


def _sized(wanted: WantedModel, kind: str, step: Step, sequences: int) -> PlannedModel:
    """The model in a precision, with room for so many requests at once."""
    choice = wanted.choice
    load = usual_load(choice, *step)
    tokens = wanted.context_tokens or load.context_tokens
    load = replace(
        load, context_tokens=tokens, pictures=wanted.pictures, picture_px=wanted.picture_px
    )
    total, parts = footprint(choice, load)
    if parts is not None:  # weights and the widest step once, keys and values for each request
        total += (sequences - 1) * parts.kv_cache_bytes
    return PlannedModel(
        name=wanted.name,
        devices=(),
        precision=" ".join(filter(None, step)) if choice.config else "its own",
        quantize=step[1],
        resident=True,
        memory_bytes=total,
        device_bytes=0,
        sequences=sequences,
        context_tokens=tokens,
        pictures=wanted.pictures,
        served_by_vllm=kind == "cuda" and _served(wanted),
        requests_per_s=wanted.requests_per_s,
        target_s=wanted.latency_s,
    )


def _resident(wanted: WantedModel, kind: str, step: Step, space: _Space) -> PlannedModel | None:
    """All replicas that the rate needs, or None where one of them has no room."""
    batched = kind == "cuda" and _served(wanted)
    service = wanted.service
    servers = 1
    if service is not None:
        servers = servers_for(wanted.requests_per_s, service, wanted.latency_s)
    sequences = min(SEQUENCES, servers) if batched else 1
    replicas = math.ceil(servers / sequences)
    sized = _sized(wanted, kind, step, sequences)
    before = dict(space.free)
    taken: list[WantedDevice] = []
    for _ in range(replicas):
        device = space.take([kind], sized.memory_bytes)
        if device is None:
            space.free.update(before)
            return None
        taken.append(device)
    names = tuple(each.name for each in taken)
    return _timed(replace(sized, devices=names, device_bytes=taken[0].bytes), wanted)


def _on_demand(wanted: WantedModel, kinds: Sequence[str], space: _Space) -> PlannedModel | None:
    """Loaded for a request and unloaded for others, where the target leaves time for that."""
    service, loads = wanted.service, wanted.load_s
    if service is None or loads is None:
        return None
    if wanted.latency_s is not None and service + loads > wanted.latency_s:
        return None
    if wanted.requests_per_s * (service + loads) >= 1:
        return None
    for kind in kinds:
        for step in _ladder(wanted, kind):
            sized = _sized(wanted, kind, step, 1)
            device = space.lend([kind], sized.memory_bytes)
            if device is not None:
                sized = replace(sized, served_by_vllm=False, resident=False)
                sized = replace(sized, devices=(device.name,), device_bytes=device.bytes)
                return _timed(sized, wanted)
    return None


def _timed(sized: PlannedModel, wanted: WantedModel) -> PlannedModel:
    """With how busy it is, and up to which rate it holds its target."""
    service = wanted.service
    if service is None:
        return sized
    whole = service if sized.resident else service + (wanted.load_s or 0.0)
    servers = sized.replicas * sized.sequences
    return replace(
        sized,
        busy=wanted.requests_per_s * whole / servers,
        latency_s=latency_p95_s(wanted.requests_per_s, whole, servers),
        most_per_s=most_rate(whole, servers, wanted.latency_s),
    )


def _too_slow(each: PlannedModel) -> list[str]:
    if each.target_s is None or each.latency_s is None or each.latency_s <= each.target_s:
        return []
    return [f"{each.name} needs {each.latency_s:.2f} s, more than its target {each.target_s:g} s"]


def _breaks_first(models: Sequence[PlannedModel]) -> str:
    """The model whose rate may grow least."""
    homeless = next((each.name for each in models if not each.devices), None)
    if homeless is not None:
        return f"{homeless}: it has no place even now"
    known = [
        (each.most_per_s / each.requests_per_s, each)
        for each in models
        if each.most_per_s is not None
    ]
    if not known:
        return ""
    times, first = min(known, key=lambda each: each[0])
    what = f"its latency passes {first.target_s:g} s" if first.target_s else "its queue grows"
    return (
        f"{first.name}: at {first.most_per_s:.2f} requests a second, {times:.1f} x of its rate,"
        f" {what}"
    )
