"""The one loop: judge, start, wait, publish, record, tell. The only place where the parts meet.

A job goes through it like this; whatever happens at any moment, each target is the last good one, the new one, or none:

    ready ──judge──> up to date                          (settled: its readers are judged next)
              └────> fetch remote inputs (no slot) ──> fingerprint inputs, stage, start ──> ended
    ended ──> a target missing, an exit code, a signal ──> discard, put back what was there, failed (or another attempt)
        └───> fingerprint targets, upload remote ones (no slot), write the trace to the journal, rename the targets into place, settled

The journal line comes before the renames: after a kill between the two, the next start finds the staged files that the line describes and
completes the renames. Jobs whose inputs come from a dynamic target wait for its maker; if its members changed, the steps are expanded
again and a further round runs.

The thread of a call that has made a value goes that way by itself, from there to its next call, while the loop waits (`Loop.follow`); one of
them at a time.
"""

from __future__ import annotations

import gc
import heapq
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from . import events as ev
from .errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, DuctError
from .interrupts import Interrupts
from .launching import Launcher, failure_of, may_retry
from .notifying import for_project
from .plan.select import Selection, gone, select
from .publishing import NotMadeError, Recording
from .runners.base import Done, Lost
from .scheduler import Scheduler, longest_paths
from .stores.refusals import Changed
from .survey import plan_ahead, survey, total
from .text import count as count_of
from .trace.fingerprints import TICK_NS
from .tuples import NamedTuple
from .turns import InOrder, Turn
from .workspace import Workspace, open_workspace, retried

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    from .events import Event, Reporter
    from .judging import Judged
    from .launching import Attempt
    from .plan.columns import Plan
    from .publishing import Made, Published
    from .rebuilder import Reason
    from .runners.base import Runner, RunnerEvent, Task
    from .runners.shell import LocalRunner
    from .survey import Round
    from .workspace import Where

TRANSFERS = 32
"""Transfers at once."""
TRIES = 3
"""How often an input may change between its judging and its fetching."""
LARGE = 16 << 20
"""Bytes of targets from which on a thread reads them, so that the loop goes on."""
LONG_WAIT, SHORT_WAIT = 0.25, 0.05
"""Seconds that the loop waits for something to happen at most; the second where threads of calls go on meanwhile, and tell of it."""
BRIEF = 0.0005
"""Seconds: a call that takes less is mostly Python's own work, and that of the loop around it."""
LONGEST_LINE = 100_000
"""Bytes of names that a batch may put into one command; the system takes 128 KiB as one argument."""
ROUNDS = 100
"""A build whose dynamic targets still change after so many expansions does not converge."""


class Options(NamedTuple):
    """How to build. `jobs` is the number of slots, 0 for the cores; `targets` are as the user wrote them; `grace` is in seconds."""

    targets: tuple[str, ...] = ()
    jobs: int = 0
    keep_going: bool = False
    dry_run: bool = False
    force: bool = False
    wait: bool = True
    grace: float = 5.0


class Totals:
    """How the jobs of a build ended. `waiting`: not reached any more, for the build stopped at a failure."""

    def __init__(self) -> None:
        self.ran = self.failed = self.skipped = self.up_to_date = self.interrupted = self.waiting = 0

    @property
    def exit_code(self) -> int:
        return EXIT_FAILED if self.failed or self.skipped else EXIT_OK


def build(
    where: Where, options: Options, reporter: Reporter, *, listen: Callable[[Interrupts, Plan], None] = lambda *_: None
) -> int:
    """Bring the targets up to date (or tell what would be done); the exit code. DuctError where nothing can be done at all.

    `listen` is given what can ask the build to end, and the plan, before the first job starts.
    """
    began = time.monotonic()
    if options.dry_run:
        return _dry_run(where, options, reporter, began)
    with open_workspace(where, write=True, wait=options.wait, tell=reporter.tell, mend=True) as space:
        told = for_project(space.project, reporter, where.state, where.environ)
        return Builder(space, options, told, began, listen).build()


def _dry_run(where: Where, options: Options, reporter: Reporter, began: float) -> int:
    """Nothing is written, nothing is locked: the state is opened for reading only."""
    with open_workspace(where, write=False, tell=reporter.tell) as space:
        ahead = plan_ahead(space, options.targets, force=options.force)
        _tell_warnings(space, reporter)
        reporter.tell(ev.BuildStarted(0, space.where.root, total(ahead), len(ahead.jobs), slots(options)))
        count = 0
        for answer, judged in survey(space, ahead):
            if answer != "no":
                count += 1
            name = space.plan.job_name(judged.job)
            command = space.commands.shown(judged.about)
            reporter.tell(ev.JobPlanned(name, answer, judged.reasons, command))
        reporter.tell(
            ev.BuildEnded(
                ran=count,
                failed=0,
                skipped=0,
                up_to_date=total(ahead) - count,
                interrupted=0,
                seconds=time.monotonic() - began,
                orphans=space.orphans(),
                dry_run=True,
            )
        )
    return EXIT_OK


def _tell_warnings(space: Workspace, reporter: Reporter) -> None:
    for text, facts in space.warnings():
        reporter.tell(ev.Warned(text, facts))


def slots(options: Options) -> int:
    """How many jobs run at a time: as asked for, else one for each core that this process may use."""
    if options.jobs > 0:
        return options.jobs
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _runner(space: Workspace, slots: int, grace: float) -> LocalRunner:
    """The runner of this machine; one that calls functions only where there are any."""
    if any(step.body is not None for step in space.plan.steps):
        from .runners.threads import ThreadRunner

        return ThreadRunner(space.logs, slots=slots, grace=grace)
    if any(step.call is not None for step in space.plan.steps):
        from .runners.python import PythonRunner

        return PythonRunner(space.logs, slots=slots, grace=grace)
    from .runners.shell import LocalRunner

    return LocalRunner(space.logs, slots=slots, grace=grace)


def facts_of(error: DuctError | NotMadeError) -> list[str]:
    """The facts of an error, and its hint."""
    hint = getattr(error, "hint", None)
    return [*error.facts, hint] if hint else list(error.facts)


class Builder:
    """One build: a round for each expansion of the plan.

    `alone`: the process is there for builds only. What a build leaves behind in circles is for the caller to collect then (`gc.collect`): the
    collector does not count what it was kept away from meanwhile, and may not come to it by itself.
    """

    def __init__(
        self,
        space: Workspace,
        options: Options,
        reporter: Reporter,
        began: float,
        listen: Callable[[Interrupts, Plan], None] = lambda *_: None,
        *,
        alone: bool = True,
    ) -> None:
        self._listen = listen
        self._alone = alone
        self._space = space
        self._options = options
        self._reporter = InOrder(reporter)
        self._began = began
        self._slots = slots(options)
        self._totals = Totals()
        self._over: set[str] = set()
        """Ids of jobs that ran or failed in an earlier round: they are judged again, but neither forced nor counted again."""
        self._failed: set[str] = set()
        self._unwritten = False
        self.selection = Selection(None)
        """What was asked for, in the last round's plan."""
        self.unreached: set[int] = set()
        """Jobs of the last round that the build did not come to."""

    def build(self) -> int:
        space = self._space
        ahead = plan_ahead(space, self._options.targets, force=self._options.force)
        self.selection = ahead.selection
        self.tell_retries()
        _tell_warnings(space, self._reporter)
        jobs = total(ahead)
        run = 0
        interrupted = False
        if space.postponed is not None and not ahead.jobs:
            raise space.postponed
        if ahead.jobs:
            run = self._begin_run()
            runner = _runner(space, self._slots, self._options.grace)
            if self._alone:
                gc.freeze()  # the plan is not looked through again and again while jobs run
                gc.enable()
            try:
                with Interrupts(runner.wake) as interrupts:
                    self._listen(interrupts, space.plan)
                    interrupted = self._rounds(ahead, jobs, run, runner, interrupts)
            finally:
                if self._alone:
                    gc.unfreeze()
                runner.close()
        totals = self._totals
        self._save()
        if self._options.targets and not (interrupted or totals.exit_code):
            still = select(space.plan, space.project, self._options.targets, space.where.standing).returning
            if still:
                raise gone(still[0])
        totals.up_to_date = max(
            jobs - totals.ran - totals.failed - totals.skipped - totals.interrupted - totals.waiting, 0
        )
        ended = ev.BuildEnded(
            ran=totals.ran,
            failed=totals.failed,
            skipped=totals.skipped + totals.waiting,
            up_to_date=totals.up_to_date,
            interrupted=totals.interrupted,
            seconds=time.monotonic() - self._began,
            orphans=space.orphans(),
            moved=sorted(space.plan.names[key] for key in space.contents.wavering),
        )
        if run and not self._unwritten:
            space.end_run(run, ended)
        self._reporter.tell(ended)
        return EXIT_INTERRUPTED if interrupted else totals.exit_code

    def _begin_run(self) -> int:
        try:
            return self._space.begin_run()
        except DuctError as error:
            self.state_lost(error)
            return 0

    def _save(self) -> None:
        try:
            self._space.save()
        except (DuctError, OSError) as error:
            self.state_lost(error)

    def state_lost(self, error: DuctError | OSError) -> None:
        """The state cannot be written (a full disk): the jobs say how they fare, and the next build looks at all that this one did."""
        if not self._unwritten:
            what = error.what if isinstance(error, DuctError) else f"{error.filename}: {(error.strerror or '').lower()}"
            self._tell(ev.Warned(f"the state cannot be written: {what}"))
        self._unwritten = True

    def _rounds(self, ahead: Round, jobs: int, run: int, runner: Runner, interrupts: Interrupts) -> bool:
        space = self._space
        self._tell(ev.BuildStarted(run, space.where.root, jobs, len(ahead.jobs), self._slots))
        forced = self._options.force
        for number in range(ROUNDS):
            loop = Loop(self, space, ahead, run=run, runner=runner, interrupts=interrupts, forced=forced)
            loop.run()
            if interrupts.count:
                return True
            if not loop.expand_again and space.postponed is None:
                return False
            if number == ROUNDS - 1:
                break
            warned = set(space.plan.warnings)
            space.expand_again()
            for text, facts in space.plan.warnings:
                if (text, facts) not in warned:
                    self._tell(ev.Warned(text, facts))
            ahead = plan_ahead(space, self._options.targets, force=forced)
            self.selection = ahead.selection
        raise DuctError(
            "the plan does not settle: the members of a dynamic target change with each run",
            hint="look at the steps whose targets hold a *: one of them makes other files each time",
        )

    def tell_retries(self) -> None:
        """Tell of what remote stores try again."""
        retries = self._space.store.retries
        while retries:
            self._tell(retried(retries.popleft()))

    # -- what the rounds share ----------------------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        self._reporter.tell(event)

    @property
    def reporter(self) -> InOrder:
        return self._reporter

    @property
    def options(self) -> Options:
        return self._options

    @property
    def totals(self) -> Totals:
        return self._totals

    @property
    def over(self) -> set[str]:
        return self._over

    @property
    def failed(self) -> set[str]:
        return self._failed

    @property
    def slots(self) -> int:
        return self._slots


class Loop:
    """One round: the affected jobs of one plan, each judged, and run where it is stale."""

    def __init__(
        self,
        builder: Builder,
        space: Workspace,
        ahead: Round,
        *,
        run: int,
        runner: Runner,
        interrupts: Interrupts,
        forced: bool,
    ) -> None:
        plan = space.plan
        self.expand_again = False
        self._builder = builder
        self._totals = builder.totals
        self._ended_well = builder.over
        self._remote = space.has_remote
        self._tell: Callable[[Event], None] = builder.reporter.tell
        self._space = space
        self._plan = plan
        self._runner = runner
        self._interrupts = interrupts
        self._forced = forced
        self._run = run
        runner.follower = self
        self._launcher = Launcher(space, runner, run)
        durations = space.durations(ahead.jobs)
        self._durations = durations
        usual = sum(durations.values()) / len(durations) if durations else 1.0
        # Rounded, so that the order does not follow the noise of a machine: jobs that take about the same keep the plan's order.
        expected = {job: round(seconds, 1) for job, seconds in durations.items()}
        priority = longest_paths(ahead.graph, expected, round(usual, 1))
        steps = plan.steps
        self._scheduler = Scheduler(
            ahead.graph,
            slots=builder.slots,
            priority=priority,
            cpus=(lambda job: steps[plan.step_of(job)].cpus) if any(step.cpus != 1 for step in steps) else None,
            pool=(lambda job: steps[plan.step_of(job)].pool) if space.project.pools else None,
            pools=space.project.pools,
        )
        space.judge.expect(sorted(ahead.jobs, key=priority.__getitem__, reverse=True))
        self._ahead = ahead.jobs
        self._verdicts: dict[int, Judged] = {}
        self._running: dict[int, list[Attempt]] = {}
        self._aside = 0
        """How much work threads do besides: transfers, the hashing of large targets."""
        self._ended_aside: deque[tuple[Future[Any], Callable[[Future[Any]], None]]] = deque()
        """Such work that is done, and what the loop does with its result."""
        self._fetches: dict[int, list[int]] = {}
        """The remote inputs that are being fetched, each with the jobs that wait for it."""
        self._lacking: dict[int, set[int]] = {}
        """The jobs that wait for remote inputs, each with those that are still to come."""
        self._refetched: dict[int, int] = {}
        self._retries: list[tuple[float, int]] = []
        """The jobs that are to be tried again, by the time."""
        self._retried: dict[int, tuple[Attempt, Callable[[], None]]] = {}
        """Their failed attempts, and what fails them for good where the build stops before that time."""
        self._threads: ThreadPoolExecutor | None = None
        self._transfers: ThreadPoolExecutor | None = None
        self._stopping = False
        self._asked = 0
        self._turn = Turn()
        """Held by whoever works on what this holds: the loop, but for when it waits, or a thread of calls that goes on."""
        self._is_over = False
        self._calling: dict[int, float] = {}
        """The running calls that make values, by attempt, with their start."""
        self._brief = True
        """Are they brief, as far as is known: did the last one end so, and has none been found to be a long one since?"""
        self._look_in = 4 * BRIEF
        """Seconds after which is looked whether one of them is a long one by now, and another thread is to go on beside it."""
        self._leaves = False
        """Is a ready job left to one of them, so that this has to be looked at?"""
        self._dozing = False
        """Does the loop wait for long, so that it has to be woken for what threads tell?"""
        self._behind = ahead.behind_dynamic()
        for job in [job for job in ahead.jobs if plan.job_id(job) in builder.failed] if builder.failed else ():
            self._scheduler.fail(job)

    def run(self) -> None:
        """Until nothing runs and nothing can be started any more."""
        try:
            with self._turn:
                self._go_round()
        finally:
            for threads in (self._threads, self._transfers):
                if threads is not None:
                    threads.shutdown(wait=True)
            self._totals.waiting = self._scheduler.unsettled
            self._builder.tell_retries()
            self._builder.unreached = {job for job in self._ahead if not self._scheduler.is_over(job)}

    def _go_round(self) -> None:
        try:
            while True:
                self._heed_interrupts()
                self._start_ready()
                if not (self._running or self._aside or self._retries):
                    break
                self._wait()
        finally:
            self._is_over = True

    # -- starting -----------------------------------------------------------------------------------------------------------------------

    def _start_ready(self) -> None:
        scheduler = self._scheduler
        self._leaves = False
        while not self._stopping and scheduler.free > 0:
            if self._retries and self._retries[0][0] <= time.monotonic():
                _, job = heapq.heappop(self._retries)
                failed, _ = self._retried.pop(job)
                self._verdicts[job] = failed.judged
                self._launcher.attempts[job] = failed.number + 1
                scheduler.push(job)
            if self._calling and self._brief and self._is_light(scheduler.peek()):
                if self._has_brief_call():
                    self._look_in = min(2 * self._look_in, SHORT_WAIT)
                    self._leaves = True
                    return
                self._brief = False
            self._look_in = 4 * BRIEF
            judged = self._take()
            if judged is None:
                return
            self._start(self._batch(judged))

    def _is_light(self, job: int | None) -> bool:
        return job is not None and self._plan.job(job).is_light

    def _has_brief_call(self) -> bool:
        """Is there a thread that will soon come to the next light job? Two of them would only wait for each other: one of them runs at a time."""
        now = time.time()
        return any(0 <= now - started < BRIEF for started in self._calling.values())

    def _take(self) -> Judged | None:
        """The first ready job that is stale, with its slot; None where there is none, or no room for it."""
        scheduler = self._scheduler
        while (job := scheduler.pop()) is not None:
            judged = self._verdicts.pop(job, None) or self._judge(job)
            if judged is None or (self._remote and self._fetch(judged)):
                continue
            if not scheduler.fits(job):
                self._verdicts[job] = judged
                scheduler.push(job)
                return None
            if scheduler.take(job):
                return judged
            self._verdicts[job] = judged
        return None

    # -- on the threads of calls --------------------------------------------------------------------------------------------------------

    def follow(self, done: Done, submit: Callable[[Task | None], None]) -> bool:
        """Publish the value that a call has made, and start the next one by `submit`; see `runners.base.Follower`."""
        with self._turn:
            mine = not (self._is_over or self._stopping or self._interrupts.count > self._asked)
            if not mine or self._calling.pop(done.attempt, None) is None:
                return False
            (attempt,) = self._running.pop(done.attempt)
            self._brief = done.seconds < BRIEF
            self._made(attempt, done)
            started = self._start_value(submit)
            if not started:
                submit(None)
            scheduler = self._scheduler
            if self._dozing or not started or (not self._brief and scheduler.free > 0 and scheduler.peek() is not None):
                self._dozing = False
                self._runner.wake()
            return True

    def _start_value(self, submit: Callable[[Task], None]) -> bool:
        """Start the next job, if it is a value's: any other one is the loop's."""
        while not (self._stopping or self._retries or (self._calling and self._brief and self._has_brief_call())):
            judged = self._take()
            if judged is None:
                return False
            if not judged.about.is_light:
                self._scheduler.release(judged.job)
                self._verdicts[judged.job] = judged
                self._scheduler.push(judged.job)
                return False
            if self._prepare(judged):
                attempt = self._launcher.call(judged, self._tell, self._durations.get(judged.job), submit)
                self._running[attempt.id] = [attempt]
                self._calling[attempt.id] = attempt.started
                return True
        return False

    def _batch(self, first: Judged) -> list[Judged]:
        """The stale job, and more ready ones of its step if one command may work on several. The first one holds the slot for all.

        A batch is cut where its names would take more than a command line should hold.
        """
        scheduler = self._scheduler
        step = first.about.step_number
        batch = [first]
        most = first.about.step.batch
        room = LONGEST_LINE - (self._space.commands.names_length(first.about) if most > 1 else 0)
        while len(batch) < most:
            job = scheduler.peek()
            if job is None or self._plan.step_of(job) != step:
                break
            scheduler.pop()
            judged = self._verdicts.pop(job, None) or self._judge(job)
            if judged is None or self._fetch(judged):
                continue
            room -= self._space.commands.names_length(judged.about)
            if room < 0:
                self._verdicts[job] = judged
                scheduler.push(job)
                break
            batch.append(judged)
        return batch

    def _judge(self, job: int) -> Judged | None:
        """The verdict, where the job is to be run; None where it is settled now: up to date, or failed before it could start."""
        space = self._space
        if (self.expand_again or space.postponed is not None) and job in self._behind:
            # Its inputs are about to change: the next round judges it.
            space.dirty.add(job)
            self._scheduler.fail(job)
            return None
        about = self._plan.job(job)
        try:
            again = about.id in self._ended_well
            judged = space.judge.judge(job, forced=self._forced and not again)
        except DuctError as error:
            self._fail_before(job, error.what, facts_of(error), ())
            return None
        if not judged.reasons:
            space.dirty.discard(job)
            if judged.adopted:
                space.take_for_made(job, judged.packed, self._run, "made elsewhere")
            space.judge.drop(job)
            self._scheduler.settle(job)
            if not again:
                self._tell(ev.JobUpToDate(about.name))
            return None
        if judged.missing:
            names = [self._plan.names[key] for key in judged.missing[:3]]
            self._fail_before(job, f"an input is not there: {', '.join(names)}", (), judged.reasons)
            return None
        return judged

    def _start(self, batch: list[Judged]) -> None:
        holder = batch[0].job
        ready = [judged for judged in batch if self._prepare(judged)]
        if not ready:
            return
        if ready[0].job != holder:
            # Whoever failed before the start gave the slot back.
            self._scheduler.take(ready[0].job)
        if ready[0].about.step.copy:
            self._copy(ready[0])
            return
        try:
            attempts = self._launcher.start(ready, self._tell, self._durations.get(ready[0].job))
        except DuctError as error:
            for judged in ready:
                self._launcher.undo(judged)
                self._fail_before(judged.job, error.what, facts_of(error), judged.reasons)
            return
        self._running[attempts[0].id] = attempts
        if ready[0].about.is_light:
            self._calling[attempts[0].id] = attempts[0].started

    # -- transfers ----------------------------------------------------------------------------------------------------------------------

    def _in_thread(self, work: Callable[[], Any], then: Callable[[Future[Any]], None], *, transfer: bool) -> None:
        """Have a thread do it, then go on with the result: transfers mostly wait, hashing does not."""
        from concurrent.futures import ThreadPoolExecutor

        if transfer:
            self._transfers = self._transfers or ThreadPoolExecutor(TRANSFERS, thread_name_prefix="transfer")
            future = self._transfers.submit(work)
        else:
            self._threads = self._threads or ThreadPoolExecutor(min(self._builder.slots, 8))
            future = self._threads.submit(work)
        self._aside += 1
        future.add_done_callback(lambda done: self._done_aside(done, then))

    def _done_aside(self, future: Future[Any], then: Callable[[Future[Any]], None]) -> None:
        """Called by a thread that has done its work."""
        self._ended_aside.append((future, then))
        self._runner.wake()

    def _fetch(self, judged: Judged) -> bool:
        """Have the remote inputs fetched that the job's command reads; False where they are here. The job is ready again afterwards."""
        job, space = judged.job, self._space
        keys = {key for key in space.commands.remote_inputs(judged.about) if space.lacks_copy(key)}
        if not keys:
            return False
        self._verdicts[job] = judged
        self._lacking[job] = keys
        for key in sorted(keys):
            if key in self._fetches:
                self._fetches[key].append(job)
            else:
                self._fetches[key] = [job]
                stamp = space.contents.stamp(key)
                self._tell(ev.FetchStarted(self._plan.names[key], 0 if stamp is None else stamp.size))
                self._in_thread(partial(space.fetch, key), partial(self._fetched, key), transfer=True)
        return True

    def _fetched(self, key: int, future: Future[Any]) -> None:
        """A remote input is here, or cannot be had: whoever waits for it goes on, or fails."""
        error = future.exception()
        if error is not None and not isinstance(error, DuctError):
            raise error
        self._tell(ev.FetchEnded(self._plan.names[key], error is None))
        for job in self._fetches.pop(key):
            lacking = self._lacking.get(job)
            if lacking is None:
                continue  # it failed over another input
            lacking.discard(key)
            if error is not None:
                del self._lacking[job]
                self._not_fetched(job, key, error)
            elif not lacking:
                del self._lacking[job]
                self._scheduler.push(job)

    def _not_fetched(self, job: int, key: int, error: DuctError) -> None:
        judged = self._verdicts.pop(job)
        if self._asked:
            return
        self._refetched[job] = self._refetched.get(job, 0) + 1
        if not isinstance(error, Changed) or self._refetched[job] > TRIES:
            self._fail_before(job, error.what, facts_of(error), judged.reasons)
            return
        # It is another one by now: judged anew, by what is there.
        self._space.store.forget([self._plan.names[key]])
        self._space.contents.confirm(key)
        self._scheduler.push(job)

    def _copy(self, judged: Judged) -> None:
        """The work of a step that copies: a transfer, without a process or a slot."""
        job = judged.job
        publisher = self._launcher.publisher
        attempt = self._launcher.copying(judged, self._tell, self._durations.get(job))
        self._scheduler.release(job)
        began, began_ns = time.monotonic(), time.time_ns()

        def work() -> tuple[list[Made], list[bytes]]:
            made = publisher.copy(judged)
            return made, publisher.fingerprints(judged, made, {})

        def then(future: Future[Any]) -> None:
            seconds = time.monotonic() - began
            try:
                made, found = future.result()
            except (NotMadeError, DuctError) as error:
                if self._asked:
                    self._interrupted(attempt, Done(attempt.id, 1, seconds, 0))
                else:
                    self._failed(attempt, error.what, facts_of(error), None, seconds)
                return
            publish = partial(publisher.publish, judged, made, found, began_ns)
            self._publish(attempt, Done(attempt.id, 0, seconds, 0), publish)

        self._in_thread(work, then, transfer=True)

    def _prepare(self, judged: Judged) -> bool:
        """Fingerprint the inputs and make room for the targets; False where the job has failed over it."""
        try:
            self._space.judge.fingerprint_inputs(judged)
            kept = self._launcher.prepare(judged)
        except DuctError as error:
            self._launcher.undo(judged)
            self._fail_before(judged.job, error.what, facts_of(error), judged.reasons)
            return False
        for key, path in kept:
            self._tell(ev.Kept(key, path))
        return True

    # -- waiting ------------------------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        timeout = LONG_WAIT if self._dozing else SHORT_WAIT
        if self._leaves:
            timeout = self._look_in
        if self._retries and self._scheduler.free > 0:  # without a slot, it is some job's end that is waited for
            timeout = min(max(self._retries[0][0] - time.monotonic(), 0.0), timeout)
        for event in self._events(timeout):
            attempts = self._running.pop(event.attempt)
            self._calling.pop(event.attempt, None)
            if isinstance(event, Lost):
                for attempt in attempts:
                    self._failed(attempt, event.why, (), None, 0.0)
            else:
                self._ended(attempts, event)
        while self._ended_aside:
            future, then = self._ended_aside.popleft()
            self._aside -= 1
            then(future)
        self._builder.tell_retries()
        try:
            self._space.traces.maybe_fold()
        except DuctError as problem:
            self._builder.state_lost(problem)
        self._space.contents.settle(before_ns=time.time_ns() - TICK_NS)
        self._builder.reporter.tick()

    def _events(self, timeout: float) -> list[RunnerEvent]:
        """Wait for what happens to the running jobs; threads of calls may go on by themselves meanwhile."""
        self._turn.give()
        try:
            return self._runner.events(timeout)
        finally:
            self._turn.take()
            self._dozing = not self._builder.reporter.pass_on()

    def _ended(self, attempts: list[Attempt], done: Done) -> None:
        if self._asked and done.code != 0:
            attempts[0].said = done.output
            for attempt in attempts:
                self._interrupted(attempt, done)
            return
        if len(attempts) > 1:
            done = done._replace(seconds=done.seconds / len(attempts))
        failure = failure_of(done, attempts[0])
        whole = attempts if failure is None else self._made_whole(attempts)
        if attempts[0].witness is not None:
            attempts[0].witness.close()
        succeeded = {attempt.job for attempt in whole}
        failing = [attempt for attempt in attempts if attempt.job not in succeeded]
        voice = failing[0] if failing else attempts[0]
        voice.said = done.output
        for attempt in whole:
            self._made(attempt, done)
        others = [f"its batch: {count_of(len(attempts), 'job')}, of which {len(whole)} were made whole"]
        for attempt in failing:
            told_by = None if attempt is voice else self._plan.job_name(voice.job)
            facts = others if len(attempts) > 1 else []
            self._failed(
                attempt,
                failure or "",
                facts,
                done.code,
                done.seconds,
                timed_out=done.timed_out,
                raised=done.raised,
                told_by=told_by,
            )

    def _made_whole(self, attempts: list[Attempt]) -> list[Attempt]:
        """Of a batch whose command failed: the jobs whose targets it was seen to finish."""
        witness = attempts[0].witness
        finished = witness.finished() if witness is not None else set()
        places = self._launcher.publisher.places
        return [each for each in attempts if (wanted := places(each.judged)) and finished.issuperset(wanted)]

    def _made(self, attempt: Attempt, done: Done) -> None:
        """The command has made the job's targets: look at them, and publish them."""
        publisher, judged = self._launcher.publisher, attempt.judged
        if judged.about.is_value:
            product = done.made.get(judged.declared.every[0].place)
            content = None if product is None else product.content
            if product is not None and content is not None:
                self._publish(
                    attempt, done, lambda recording: publisher.publish_value(judged, product, content, recording)
                )
                return
        began = time.time_ns()
        try:
            made = publisher.collect(judged, done.made)
        except (NotMadeError, DuctError) as error:
            self._failed(attempt, error.what, facts_of(error), 0, done.seconds)
            return
        far = judged.declared.far

        def publish(fingerprints: Callable[[], list[bytes]]) -> None:
            self._publish(
                attempt,
                done,
                lambda recording: publisher.publish(judged, made, fingerprints(), began, recording),
            )

        if not far and sum([each.stamp.size for each in made]) < LARGE:
            # Recorded before the slot is given on: after a kill, no more jobs run again than were running.
            publish(lambda: publisher.fingerprints(judged, made, done.made))
            return
        self._scheduler.release(attempt.job)
        self._in_thread(
            lambda: publisher.fingerprints(judged, made, done.made),
            lambda future: publish(future.result),
            transfer=far,
        )

    def _publish(self, attempt: Attempt, done: Done, publish: Callable[[Recording], Published]) -> None:
        job = attempt.job
        space, about, seconds, number = self._space, attempt.judged.about, done.seconds, attempt.number
        log = attempt.log if done.output else None
        recording = Recording(self._run, attempt.started, seconds, number, done.output, log)
        try:
            published = publish(recording)
        except (NotMadeError, DuctError) as error:
            if self._asked and attempt.judged.declared.far:
                self._interrupted(attempt, done)
            else:
                self._failed(attempt, error.what, facts_of(error), 0, done.seconds)
            return
        space.judge.drop(job)
        self._ended_well.add(about.id)
        self._totals.ran += 1
        space.dirty.discard(job)
        name = about.name
        changed, keys, members_changed, moved, kept, left = published
        for key, path in kept:
            self._tell(ev.Kept(key, path))
        if left:
            self._tell(ev.Warned(f"{name} no longer makes what stands there, edited since: it stays", left))
        if moved:
            space.dirty.add(job)
            self._tell(ev.Warned(f"an input changed while {name} ran: the job is stale again", moved))
        if members_changed:
            self.expand_again = True
        said = attempt.said
        self._tell(
            ev.JobEnded(name, "done", done.seconds, changed, attempt.number, log, said, exit_code=0, targets=keys)
        )
        self._scheduler.settle(job)

    # -- failing ------------------------------------------------------------------------------------------------------------------------

    def _failed(
        self,
        attempt: Attempt,
        error: str,
        facts: Sequence[str],
        code: int | None,
        seconds: float,
        *,
        timed_out: bool = False,
        raised: Sequence[str] = (),
        told_by: ev.JobName | None = None,
    ) -> None:
        job = attempt.job
        self._launcher.undo(attempt.judged)
        about = attempt.judged.about
        fail = partial(self._failed_for_good, attempt, error, facts, code, seconds, told_by)
        if self._stopping or not may_retry(about.step, attempt.number, code, timed_out=timed_out, raised=raised):
            fail()
            return
        delay = about.step.backoff * 2 ** (attempt.number - 1)
        self._scheduler.release(job)
        if told_by is None:
            self._tell(ev.JobRetried(about.name, attempt.number, delay, error))
        heapq.heappush(self._retries, (time.monotonic() + delay, job))
        self._retried[job] = attempt, fail

    def _failed_for_good(
        self,
        attempt: Attempt,
        error: str,
        facts: Sequence[str],
        code: int | None,
        seconds: float,
        told_by: ev.JobName | None,
    ) -> None:
        job, about = attempt.job, attempt.judged.about
        log = attempt.log if attempt.said or told_by else None
        self._record_failure(job, error, facts, attempt.judged.reasons, code, seconds, log)
        self._tell(
            ev.JobEnded(
                about.name,
                "failed",
                seconds,
                False,
                attempt.number,
                log,
                attempt.said,
                exit_code=code,
                repeat=self._space.commands.repeat(about) if about.step.batch == 1 else "",
                error=error,
                facts=facts,
                told_by=told_by,
            )
        )
        self._give_up(job)

    def _fail_before(self, job: int, error: str, facts: Sequence[str], reasons: Sequence[Reason]) -> None:
        """The job failed before its command could be started."""
        self._record_failure(job, error, facts, reasons, None, 0.0, None)
        name = self._plan.job_name(job)
        self._tell(ev.JobEnded(name, "failed", 0.0, False, 1, None, 0, error=error, facts=facts))
        self._give_up(job)

    def _record_failure(
        self,
        job: int,
        error: str,
        facts: Sequence[str],
        reasons: Sequence[Reason],
        code: int | None,
        seconds: float,
        log: str | None,
    ) -> None:
        try:
            self._launcher.record_failure(job, error, facts, reasons, code, seconds, log)
        except DuctError as problem:
            self._builder.state_lost(problem)
        self._space.dirty.add(job)
        self._builder.failed.add(self._plan.job_id(job))
        self._totals.failed += 1

    def _give_up(self, job: int) -> None:
        self._skip(self._scheduler.fail(job), job)
        if not self._builder.options.keep_going:
            self._stopping = True
            waiting = [self._retried.pop(again) for _, again in self._retries]
            self._retries.clear()
            for _, fail in waiting:
                fail()

    def _skip(self, jobs: Sequence[int], because: int) -> None:
        name = self._plan.job_name(because)
        for job in jobs:
            self._space.dirty.add(job)
            self._totals.skipped += 1
            self._tell(ev.JobSkipped(self._plan.job_name(job), name))

    # -- interrupting -------------------------------------------------------------------------------------------------------------------

    def _heed_interrupts(self) -> None:
        count = self._interrupts.count
        if count > self._asked:
            self._asked = count
            self._stopping = True
            self._retries.clear()
            if self._running and count == 1:
                jobs = count_of(len(self._running), "job")
                self._tell(ev.Warned(f"stopping: waits for {jobs} to end; Ctrl-C again ends them at once"))
            for attempt in self._running:
                self._runner.kill(attempt, hard=count > 1)
            self._space.store.hang_up()

    def _interrupted(self, attempt: Attempt, done: Done) -> None:
        job = attempt.job
        self._launcher.undo(attempt.judged)
        self._space.dirty.add(job)
        self._totals.interrupted += 1
        name = self._plan.job_name(job)
        log = attempt.log if done.output else None
        self._tell(ev.JobEnded(name, "interrupted", done.seconds, False, attempt.number, log, attempt.said))
        # Not looked at: neither up to date nor failed.
        self._totals.skipped += len(self._scheduler.fail(job))
