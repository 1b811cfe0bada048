"""Turns: the next one is whoever asked first, and events are told by one thread only."""

from __future__ import annotations

import threading
import time

from miniduct.events import BuildStarted, Event, Warned
from miniduct.turns import InOrder, Turn


class Noting:
    def __init__(self) -> None:
        self.told: list[tuple[int, Event]] = []

    def tell(self, event: Event) -> None:
        self.told.append((threading.get_ident(), event))

    def tick(self) -> None: ...

    def close(self) -> None: ...


def in_thread(call: object, *given: object) -> None:
    thread = threading.Thread(target=call, args=given)  # type: ignore[arg-type]
    thread.start()
    thread.join(20)


def test_what_another_thread_tells_waits_until_it_is_passed_on() -> None:
    noting = Noting()
    reporter = InOrder(noting)
    in_thread(reporter.tell, Warned("one"))
    assert not noting.told
    assert reporter.pass_on()
    assert not reporter.pass_on()
    assert noting.told == [(threading.get_ident(), Warned("one"))]


def test_what_this_thread_tells_comes_after_what_waits() -> None:
    noting = Noting()
    reporter = InOrder(noting)
    in_thread(reporter.tell, Warned("one"))
    reporter.tell(BuildStarted(1, "/", 1, 1, 1))
    assert [type(event) for _, event in noting.told] == [Warned, BuildStarted]


def test_a_turn_that_was_not_taken_is_not_given_on() -> None:
    """An exception of a signal handler may come while it is waited for."""
    turn = Turn()
    turn.take()
    in_thread(turn.give)
    assert turn._held.locked()
    turn.give()
    turn.give()
    assert not turn._held.locked()


def test_who_asks_for_the_turn_gets_it_before_the_one_that_has_it_takes_it_again() -> None:
    turn, asked, order = Turn(), threading.Event(), []

    def ask() -> None:
        asked.set()
        with turn:
            order.append("the other")

    turn.take()
    other = threading.Thread(target=ask)
    other.start()
    asked.wait(20)
    time.sleep(0.05)  # it waits by now
    turn.give()
    for _ in range(3):
        with turn:
            order.append("this one")
    other.join(20)
    assert order[0] == "the other" or order[1] == "the other"
    assert len(order) == 4
