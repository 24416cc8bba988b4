"""The models in memory: loaded on first use, within a budget, given back when they are idle.

Notable: one part of a model is loaded at a time, so that what it takes can be measured (memory
before and after) and nobody else takes the room that was made for it. What is in use is never
unloaded: who needs room waits until enough is idle, except a thread that holds a part itself, which
nobody could then give back; it goes over the budget rather than wait for itself.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from polymodal.errors import NotEnoughMemory, UsageError
from polymodal.models.fitting import is_out_of_memory
from polymodal.models.protocols import Unloadable
from polymodal.models.resident import Resident
from polymodal.runtime import memory
from polymodal.runtime.processes import LoadedModel, announce

__all__ = ["Pool"]

SHARE_OF_FREE = 0.8
"""Of the memory that is free at the first load: the budget where none is given."""
WAIT_S = 600.0
"""How long to wait for others to give back what they use."""


@dataclass
class _Held:
    """A loaded part; `leases` are those of each thread."""

    value: Any
    device: str
    host_bytes: int
    device_bytes: int
    loaded_s: float
    used_s: float
    uses: int = 0
    leases: Counter[int] = field(default_factory=Counter)


class Pool:
    """Keeps the parts of all models that it adopted. Safe between threads."""

    def __init__(
        self,
        memory_bytes: int | None = None,
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is loaded.

        Args:
            memory_bytes: what models may take, on the host and on each accelerator; 80 % of what
                is free at the first load by default.
            ttl_s: how long an idle part stays; for ever by default.
        """
        if ttl_s is not None and ttl_s <= 0:
            raise UsageError(f"the time to live is seconds above 0, not {ttl_s:g}.")
        if memory_bytes is not None and memory_bytes <= 0:
            raise UsageError(f"the memory for models is bytes above 0, not {memory_bytes}.")
        self.memory_bytes = memory_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._changed = threading.Condition()
        self._held: OrderedDict[Resident[Any], _Held] = OrderedDict()
        self._budgets: dict[str, int] = {}
        self._known: dict[tuple[str, str], tuple[int, int]] = {}
        self._loader: int | None = None
        self._depth = 0
        self._reaper: threading.Thread | None = None

    def adopt(self, model: object, name: str) -> None:
        """Keep the parts of a model from now on; one that has none is left as it is."""
        if isinstance(model, Unloadable):
            for part in model.residents:
                part.adopt(self, name)

    def take(self, part: Resident[Any]) -> Any:
        """See `Keeper.take`.

        Raises:
            NotEnoughMemory: it does not fit into the budget, even alone.
        """
        me = threading.get_ident()
        with self._changed:
            held = self._held.get(part)
            if held is not None:
                return self._leased(part, held, me)
        part.prepare()
        device = part.device()
        with self._changed:
            victims = self._turn(part, device, me)
            if victims is None:  # another thread loaded it meanwhile
                return self._leased(part, self._held[part], me)
        try:
            self._free(victims, always="torch" in sys.modules)
            del victims
            held = self._measured(part, device)
            with self._changed:
                self._held[part] = held
                value = self._leased(part, held, me)
        finally:
            with self._changed:
                self._depth -= 1
                self._loader = self._loader if self._depth else None
                self._changed.notify_all()
        self._after_load(part, device)
        return value

    def give_back(self, part: Resident[Any]) -> None:
        """See `Keeper.give_back`."""
        me = threading.get_ident()
        with self._changed:
            held = self._held[part]
            # A generator may end in another thread than it began in.
            holder = me if held.leases[me] else next(iter(held.leases))
            held.leases[holder] -= 1
            held.leases += Counter()  # without zeros
            held.used_s = self._clock()
            self._changed.notify_all()

    def make_room(self, part: Resident[Any]) -> None:
        """See `Keeper.make_room`."""
        self._free(self._idle(lambda other, _: other is not part))

    def unload(self, name: str | None = None) -> list[LoadedModel]:
        """Take a model out of memory, or all; parts in use stay.

        Returns:
            What was unloaded.
        """
        victims = self._idle(lambda part, _: name is None or part.model == name)
        gone = [self._shown(part, held) for part, held in victims]
        self._free(victims)
        return gone

    def models(self) -> list[LoadedModel]:
        """What is loaded, the longest idle first."""
        with self._changed:
            return [self._shown(part, held) for part, held in self._held.items()]

    def _turn(
        self, part: Resident[Any], device: str, me: int
    ) -> list[tuple[Resident[Any], _Held]] | None:
        """Become the one that loads; what to unload for it first, or None if it is there."""
        deadline = time.monotonic() + WAIT_S
        while True:
            if part in self._held:
                return None
            if self._loader in (None, me):
                found = self._room(part, device, me)
                if found is not None:
                    self._loader = me
                    self._depth += 1
                    for victim, _ in found:
                        del self._held[victim]
                    return found
            if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                used = {each.model for each, held in self._held.items() if held.leases}
                raise NotEnoughMemory(
                    f"{part.model} waited {WAIT_S:.0f} s for memory that {', '.join(sorted(used))}"
                    " did not give back. Give models more of it: --memory, pm.Suite(memory=...)."
                )

    def _room(
        self, part: Resident[Any], device: str, me: int
    ) -> list[tuple[Resident[Any], _Held]] | None:
        """The idle parts to unload so that `part` fits; None where it has to wait."""
        needed = self._needed(part, device)
        for place, count in needed.items():
            if count > self._budget(place):
                raise self._too_large(part, place, count)
        over = {place: self._over(place, count) for place, count in needed.items()}
        victims = []
        for other, held in self._held.items():  # the longest idle first
            if all(count <= 0 for count in over.values()):
                break
            taken = _places(held)
            if held.leases or not any(over.get(place, 0) > 0 and taken[place] for place in taken):
                continue
            victims.append((other, held))
            over = {place: count - taken.get(place, 0) for place, count in over.items()}
        if all(count <= 0 for count in over.values()):
            return victims
        users = {thread for held in self._held.values() for thread in held.leases}
        return victims if me in users else None

    def _needed(self, part: Resident[Any], device: str) -> dict[str, int]:
        """Bytes by place: as measured the last time, else the least it can take."""
        known = self._known.get((part.model, part.part))
        if known is not None:
            return {"host": known[0], device: known[1]} if device != "cpu" else {"host": known[0]}
        return {"host" if device == "cpu" else device: part.least_bytes()}

    def _over(self, place: str, more: int) -> int:
        """By how many bytes the budget of a place is passed with `more`."""
        held = sum(_places(each).get(place, 0) for each in self._held.values())
        return held + more - self._budget(place)

    def _budget(self, place: str) -> int:
        if self.memory_bytes is not None:
            return self.memory_bytes
        if place not in self._budgets:
            free = memory.free_bytes("cpu" if place == "host" else place)
            self._budgets[place] = int(SHARE_OF_FREE * free)
        return self._budgets[place]

    def _too_large(self, part: Resident[Any], place: str, count: int) -> NotEnoughMemory:
        where = "" if place == "host" else f" on {place}"
        return NotEnoughMemory(
            f"{part.model} ({part.part}) needs {memory.in_words(count)} of memory{where}, and"
            f" models may take {memory.in_words(self._budget(place))}. Give them more (--memory),"
            " load it smaller (--dtype bfloat16, --quantize 8bit or 4bit), or use a smaller model."
        )

    def _measured(self, part: Resident[Any], device: str) -> _Held:
        """The part, loaded, with what it took."""
        host, on_device = memory.host_used(), memory.device_used(device)
        value = self._loaded(part, device)
        memory.trim()
        taken = max(0, memory.host_used() - host), max(0, memory.device_used(device) - on_device)
        now = self._clock()
        held = _Held(value, device, *taken, now, now)
        for place, count in _places(held).items():
            if count > self._budget(place):
                del value, held
                memory.give_back()
                raise self._too_large(part, place, count)
        self._known[part.model, part.part] = taken
        return held

    def _loaded(self, part: Resident[Any], device: str) -> Any:
        """What `load` gives; where memory runs out, once more with all that is idle unloaded."""
        if (value := _tried(part)) is None:
            self.make_room(part)
            value = _tried(part)
        if value is None:
            raise NotEnoughMemory(
                f"{part.model} ({part.part}) does not fit into the memory of {device}, with all"
                " that is idle unloaded. Load it smaller (--dtype bfloat16, --quantize 8bit or"
                " 4bit), or use a smaller model."
            )
        return value

    def _after_load(self, part: Resident[Any], device: str) -> None:
        """Unload what no longer fits beside a part that took more than was thought."""
        with self._changed:
            over = {place: self._over(place, 0) for place in ("host", device) if place != "cpu"}
        for place, count in over.items():
            if count > 0:
                self._shrink(part, place, count)
        announce(self)
        if self._ttl_s is not None:
            self._start_reaper(self._ttl_s)

    def _shrink(self, part: Resident[Any], place: str, count: int) -> None:
        def wanted(other: Resident[Any], held: _Held) -> bool:
            nonlocal count
            if count <= 0 or other is part or not _places(held).get(place):
                return False
            count -= _places(held)[place]
            return True

        self._free(self._idle(wanted))

    def _idle(
        self, wanted: Callable[[Resident[Any], _Held], bool]
    ) -> list[tuple[Resident[Any], _Held]]:
        """Take idle parts out of the list of what is loaded."""
        with self._changed:
            found = [
                (part, held)
                for part, held in self._held.items()
                if not held.leases and wanted(part, held)
            ]
            for part, _ in found:
                del self._held[part]
            self._changed.notify_all()
        return found

    def _free(
        self, victims: Sequence[tuple[Resident[Any], _Held]], *, always: bool = False
    ) -> None:
        """Give back what they took; `always` also what torch left behind, which would be counted
        as part of what is loaded next (the starter leaves nothing)."""
        for _, held in victims:
            held.value = None
        if victims or always:
            memory.give_back()

    def _leased(self, part: Resident[Any], held: _Held, me: int) -> Any:
        held.leases[me] += 1
        held.uses += 1
        self._held.move_to_end(part)
        return held.value

    def _shown(self, part: Resident[Any], held: _Held) -> LoadedModel:
        now, in_use = self._clock(), held.leases.total()
        return LoadedModel(
            model=part.model,
            part=part.part,
            device=held.device,
            host_bytes=held.host_bytes,
            device_bytes=held.device_bytes,
            age_s=now - held.loaded_s,
            idle_s=0.0 if in_use else now - held.used_s,
            uses=held.uses,
            in_use=in_use,
        )

    def _start_reaper(self, ttl_s: float) -> None:
        with self._changed:
            if self._reaper is not None:
                return
            self._reaper = threading.Thread(
                target=_reap, args=(weakref.ref(self), ttl_s), name="polymodal-pool", daemon=True
            )
        self._reaper.start()

    def expire(self) -> None:
        """Unload what was idle for longer than the time to live."""
        if self._ttl_s is not None:
            oldest = self._clock() - self._ttl_s
            self._free(self._idle(lambda _, held: held.used_s <= oldest))


def _tried(part: Resident[Any]) -> Any:
    """None where memory ran out; the failed attempt is over then, and what it held is free."""
    try:
        return part.load()
    except (NotEnoughMemory, MemoryError):
        return None
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _places(held: _Held) -> dict[str, int]:
    """Bytes by place."""
    if held.device == "cpu":
        return {"host": held.host_bytes}
    return {"host": held.host_bytes, held.device: held.device_bytes}


def _reap(pool: weakref.ref[Pool], ttl_s: float) -> None:
    """Until the pool is gone; often enough that nothing stays a tenth longer than it should."""
    while (alive := pool()) is not None:
        alive.expire()
        del alive
        time.sleep(min(max(ttl_s / 10, 0.02), 30.0))
