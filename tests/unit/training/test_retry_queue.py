"""Writes that fail: they wait, and a slow failure is not repeated at once."""

from __future__ import annotations

import pytest

from dit_run.training.retry_queue import RetryQueue


class Service:
    """Takes writes, unless it is down: then each takes some seconds to fail."""

    def __init__(self) -> None:
        self.now, self.down, self.seconds = 0.0, False, 0.0
        self.tries, self.got = 0, []  # type: int, list[str]
        self.said: list[str] = []
        self.queue = RetryQueue("the service", self.said.append, clock=lambda: self.now)

    def write(self, text: str) -> None:
        self.tries += 1
        if self.down:
            self.now += self.seconds
            raise ConnectionError("no answer")
        self.got.append(text)

    def do(self, text: str) -> None:
        self.queue.do(lambda: self.write(text))


@pytest.fixture
def service() -> Service:
    return Service()


def test_waiting_writes_come_in_order_and_a_failure_is_reported_once(service: Service) -> None:
    service.do("a")
    service.down = True
    service.do("b")
    service.do("c")
    assert (service.got, service.queue.waiting) == (["a"], 2)
    service.down = False
    service.do("d")
    assert (service.got, service.queue.waiting) == (["a", "b", "c", "d"], 0)
    assert service.said == ["the service cannot be written (no answer); dit-run tries again later"]


def test_a_failure_that_takes_long_is_not_repeated_for_ten_times_as_long(service: Service) -> None:
    service.down, service.seconds = True, 6.0
    service.do("a")
    for _ in range(59):
        service.now += 1
        service.do("b")
    assert (service.now, service.tries) == (65.0, 1)
    service.down = False
    service.now += 1
    service.do("c")
    assert (service.tries, len(service.got), service.queue.waiting) == (62, 61, 0)


def test_the_last_chance_is_taken_at_once(service: Service) -> None:
    service.down, service.seconds = True, 6.0
    service.do("a")
    service.down = False
    assert not service.queue.settle()
    assert service.queue.settle(at_once=True)
    assert service.got == ["a"]


def test_an_error_of_another_kind_drops_its_write(service: Service) -> None:
    with pytest.raises(ZeroDivisionError):
        service.queue.do(lambda: 1 / 0)
    assert service.queue.waiting == 0
