"""The order of jobs, their slots and pools, and what a failure takes with it."""

from __future__ import annotations

from miniduct.scheduler import Graph, Scheduler, longest_paths


def graph(edges: list[tuple[int, int]], nodes: int) -> Graph:
    made = Graph()
    for node in range(nodes):
        made.add(node)
    for first, then in edges:
        made.edge(first, then)
    return made


def start(scheduler: Scheduler) -> int | None:
    job = scheduler.pop()
    if job is None or not scheduler.fits(job):
        if job is not None:
            scheduler.push(job)
        return None
    return job if scheduler.take(job) else start(scheduler)


def test_job_is_given_out_only_after_those_it_waits_for() -> None:
    scheduler = Scheduler(graph([(0, 1), (1, 2)], 3), slots=4)
    assert (start(scheduler), start(scheduler)) == (0, None)
    scheduler.settle(0)
    assert (start(scheduler), start(scheduler)) == (1, None)
    scheduler.settle(1)
    assert start(scheduler) == 2


def test_two_edges_between_the_same_jobs_count_once_each_way() -> None:
    scheduler = Scheduler(graph([(0, 1), (0, 1)], 2), slots=1)
    assert start(scheduler) == 0
    scheduler.settle(0)
    assert start(scheduler) == 1


def test_longest_expected_path_goes_first() -> None:
    made = graph([(1, 2), (2, 3)], 4)
    longest = longest_paths(made, {0: 5.0, 2: 2.0, 3: 3.0}, 1.0)
    assert longest == {0: 5.0, 1: 6.0, 2: 5.0, 3: 3.0}
    scheduler = Scheduler(made, slots=2, priority=longest)
    assert (start(scheduler), start(scheduler)) == (1, 0)


def test_slots_bound_what_runs() -> None:
    scheduler = Scheduler(graph([], 3), slots=2)
    assert (start(scheduler), start(scheduler), start(scheduler)) == (0, 1, None)
    scheduler.settle(0)
    assert start(scheduler) == 2


def test_wide_job_waits_for_room_and_is_not_passed() -> None:
    scheduler = Scheduler(graph([], 3), slots=2, cpus=lambda job: 2 if job == 1 else 1, priority={0: 3, 1: 2, 2: 1})
    assert (start(scheduler), start(scheduler)) == (0, None)
    scheduler.settle(0)
    assert (start(scheduler), start(scheduler)) == (1, None)


def test_job_wider_than_the_machine_gets_all_of_it() -> None:
    scheduler = Scheduler(graph([], 2), slots=2, cpus=lambda _job: 8)
    assert (start(scheduler), start(scheduler)) == (0, None)


def test_full_pool_parks_its_jobs_and_lets_others_pass() -> None:
    scheduler = Scheduler(graph([], 3), slots=3, pool=lambda job: "db" if job < 2 else None, pools={"db": 1})
    assert (start(scheduler), start(scheduler), start(scheduler)) == (0, 2, None)
    scheduler.release(0)
    assert start(scheduler) == 1


def test_failure_skips_all_that_wait_for_it_and_nothing_else() -> None:
    scheduler = Scheduler(graph([(0, 1), (1, 2), (3, 4), (3, 2)], 5), slots=5)
    assert (start(scheduler), start(scheduler)) == (0, 3)
    assert scheduler.fail(0) == [1, 2]
    scheduler.settle(3)
    assert start(scheduler) == 4
    scheduler.settle(4)
    assert (scheduler.unsettled, scheduler.idle) == (0, True)


def test_barrier_opens_when_all_before_it_are_settled() -> None:
    made = graph([], 4)
    barrier = made.barrier([0, 1])
    made.edge(barrier, 2)
    made.edge(barrier, 3)
    scheduler = Scheduler(made, slots=4)
    assert (start(scheduler), start(scheduler), start(scheduler)) == (0, 1, None)
    scheduler.settle(0)
    assert start(scheduler) is None
    scheduler.settle(1)
    assert (start(scheduler), start(scheduler)) == (2, 3)


def test_failure_goes_through_a_barrier() -> None:
    made = graph([], 2)
    made.edge(made.barrier([0]), 1)
    scheduler = Scheduler(made, slots=1)
    assert start(scheduler) == 0
    assert scheduler.fail(0) == [1]


def test_empty_barrier_is_open() -> None:
    made = graph([], 1)
    made.edge(made.barrier([]), 0)
    assert start(Scheduler(made, slots=1)) == 0
