"""The order of jobs: which are ready, which fit into the slots and pools, what a failure takes with it.

Pure: no threads, no clocks, no I/O. A node is a job number (0 or more) or a barrier (negative): a barrier stands for "all these jobs have ended",
so that 1,000 jobs that come after 1,000 others cost 2,000 edges, not a million.

States of a job, each moved in one place only:

    waiting   some of the nodes it waits for are not settled
    ready     all are; it lies in the heap, the longest expected path first
    taken     given out by `take`; it holds its slots and its place in a pool until `settle`, `fail` or `release`
    settled   up to date or made: those that wait for it may come
    failed, skipped
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


ONE_SLOT = 1, None
"""What most jobs hold."""


class Graph:
    """Who waits for whom, among the nodes of one build."""

    def __init__(self) -> None:
        self.waits: dict[int, int] = {}
        self.readers: dict[int, list[int]] = {}
        self._barriers = 0

    @property
    def jobs(self) -> int:
        """How many of the nodes are jobs."""
        return len(self.waits) - self._barriers

    def add(self, node: int) -> None:
        self.waits.setdefault(node, 0)

    def edge(self, first: int, then: int) -> None:
        """`then` waits for `first`; both must have been added."""
        self.waits[then] += 1
        readers = self.readers.get(first)
        if readers is None:
            self.readers[first] = [then]
        else:
            readers.append(then)

    def barrier(self, nodes: Iterable[int]) -> int:
        """A new node that is settled when all of `nodes` are."""
        self._barriers += 1
        node = -self._barriers
        self.add(node)
        for first in nodes:
            self.edge(first, node)
        return node


def longest_paths(graph: Graph, seconds: Mapping[int, float], usual: float) -> dict[int, float]:
    """For each node, the expected seconds from its start to the end of the last job that waits for it, directly or not.

    `seconds` are those of the jobs that are known, `usual` those of any other one.
    """
    readers = graph.readers
    left = dict(graph.waits)
    order = [node for node, count in left.items() if not count]
    for node in order:  # grows while it is read
        for then in readers.get(node, ()):
            left[then] -= 1
            if not left[then]:
                order.append(then)
    longest: dict[int, float] = {}
    for node in reversed(order):
        after = readers.get(node)
        total = max(map(longest.__getitem__, after)) if after else 0.0
        longest[node] = total + seconds.get(node, usual) if node >= 0 else total
    return longest


class Scheduler:
    """Gives out ready jobs, longest expected path first, as long as slots and pools have room."""

    def __init__(
        self,
        graph: Graph,
        *,
        slots: int,
        priority: Mapping[int, float] | None = None,
        cpus: Callable[[int], int] | None = None,
        pool: Callable[[int], str | None] | None = None,
        pools: Mapping[str, int] | None = None,
    ) -> None:
        self._graph = graph
        self._waits = dict(graph.waits)
        self._priority = priority or {}
        self._cpus = cpus
        self._pool = pool
        self._room = dict(pools or {})
        self._slots = slots
        self.free = slots
        ready = [node for node, count in self._waits.items() if not count]
        self._heap = [(-self._priority.get(node, 0.0), node) for node in ready if node >= 0]
        heapq.heapify(self._heap)
        self._parked: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._held: dict[int, tuple[int, str | None]] = {}
        self._over: set[int] = set()
        self.unsettled = graph.jobs
        for node in ready:
            if node < 0:
                self._open(node)

    def _ready(self, node: int) -> None:
        if node < 0:
            self._open(node)
        elif node not in self._over:
            heapq.heappush(self._heap, (-self._priority.get(node, 0.0), node))

    def _open(self, node: int) -> None:
        """The node is settled: tell those that wait for it."""
        waits = self._waits
        for then in self._graph.readers.get(node, ()):
            waits[then] -= 1
            if not waits[then]:
                self._ready(then)

    def peek(self) -> int | None:
        """The job that `take` would look at first, whether or not there is room for it."""
        while self._heap and self._heap[0][1] in self._over:
            heapq.heappop(self._heap)
        return self._heap[0][1] if self._heap else None

    def pop(self) -> int | None:
        """The first ready job, without slots: to be judged. It must be given back by `push` (stale) or `settle` (up to date)."""
        while self._heap:
            job = heapq.heappop(self._heap)[1]
            if job not in self._over:
                return job
        return None

    def push(self, job: int) -> None:
        """A popped job is ready again."""
        heapq.heappush(self._heap, (-self._priority.get(job, 0.0), job))

    def fits(self, job: int) -> bool:
        """Is there room in the slots? A job that wants more than there are gets all of them."""
        return self._cpus_of(job) <= self.free

    def _cpus_of(self, job: int) -> int:
        return 1 if self._cpus is None else min(self._cpus(job), self._slots)

    def take(self, job: int) -> bool:
        """Give a popped job its slots and its place in its pool; False: its pool is full, and it is parked until there is room."""
        if self._cpus is None and self._pool is None:
            self.free -= 1
            self._held[job] = ONE_SLOT
            return True
        pool = None if self._pool is None else self._pool(job)
        if pool is not None and pool in self._room:
            if not self._room[pool]:
                self._parked[pool].append((-self._priority.get(job, 0.0), job))
                return False
            self._room[pool] -= 1
        cpus = self._cpus_of(job)
        self.free -= cpus
        self._held[job] = (cpus, pool)
        return True

    def release(self, job: int) -> None:
        """The job no longer needs its slots and its place in the pool (it may still be hashed and published)."""
        held = self._held.pop(job, None)
        if held is None:
            return
        cpus, pool = held
        self.free += cpus
        if pool is not None and pool in self._room:
            self._room[pool] += 1
            if self._parked[pool]:
                parked = self._parked[pool]
                parked.sort(reverse=True)
                heapq.heappush(self._heap, parked.pop())

    def settle(self, job: int) -> None:
        """The job is up to date or made."""
        self.release(job)
        if job not in self._over:
            self._over.add(job)
            self.unsettled -= 1
            self._open(job)

    def fail(self, job: int) -> list[int]:
        """The job failed: all jobs that wait for it, directly or not, will not run; they are returned, nearest first."""
        self.release(job)
        if job not in self._over:
            self._over.add(job)
            self.unsettled -= 1
        skipped = []
        queue = [job]
        for node in queue:
            for then in self._graph.readers.get(node, ()):
                if then not in self._over:
                    self._over.add(then)
                    queue.append(then)
                    if then >= 0:
                        self.unsettled -= 1
                        skipped.append(then)
        return skipped

    def is_over(self, job: int) -> bool:
        """Is it settled, failed, or skipped?"""
        return job in self._over

    @property
    def idle(self) -> bool:
        """Nothing is ready and nothing is taken."""
        return not self._heap and not self._held
