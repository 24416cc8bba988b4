"""Waiting: servers that take requests which arrive at random (M/M/c; Erlang 1917).

Source: Kleinrock, Queueing Systems, volume 1 (1975), section 3.5.
"""

from __future__ import annotations

import math

__all__ = ["latency_p95_s", "most_rate", "servers_for", "waits"]

MOST_SERVERS = 100_000
BUSIEST = 0.8
"""Share of its time that a server may be busy where no latency is asked for."""
TAIL = 0.05


def waits(rate: float, service_s: float, servers: int) -> float:
    """Probability that a request has to wait (Erlang's C); 1 where the queue only grows."""
    offered = rate * service_s
    if offered >= servers:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recursion, which does not overflow
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    busy = offered / servers
    return blocked / (1 - busy + busy * blocked)


def latency_p95_s(rate: float, service_s: float, servers: int) -> float:
    """Seconds that 95 of 100 requests wait at most, and are served; infinite if the queue grows."""
    if rate * service_s >= servers:
        return math.inf
    chance = waits(rate, service_s, servers)
    waiting = math.log(chance / TAIL) / (servers / service_s - rate) if chance > TAIL else 0.0
    return service_s + waiting


def servers_for(rate: float, service_s: float, latency_s: float | None) -> int:
    """The fewest servers that hold the latency; or, where service alone passes it, keep up."""
    servers = max(1, math.ceil(rate * service_s / BUSIEST))
    if latency_s is None or service_s >= latency_s:
        return servers
    servers = max(1, math.floor(rate * service_s))
    while servers < MOST_SERVERS and latency_p95_s(rate, service_s, servers) > latency_s:
        servers += 1
    return servers


def most_rate(service_s: float, servers: int, latency_s: float | None) -> float:
    """Requests a second up to which the latency holds; 0 where service alone passes it."""
    full = servers / service_s
    if latency_s is None:
        return full
    if service_s > latency_s:
        return 0.0
    low, high = 0.0, full
    for _ in range(60):
        middle = (low + high) / 2
        if latency_p95_s(middle, service_s, servers) <= latency_s:
            low = middle
        else:
            high = middle
    return low
