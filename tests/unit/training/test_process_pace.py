"""The pace of the processes of a run, and those that hold up the others."""

from __future__ import annotations

from itertools import count

from joint_threads import in_threads
from tiny_parts import CPU

from dit_run.compute.distributed import Processes
from dit_run.compute.memory_meter import MemoryMeter
from dit_run.training.process_pace import Pace, ProcessPace, Stragglers


class Memory(MemoryMeter):
    """A meter whose peak is known."""

    def __init__(self, known: int) -> None:
        super().__init__(CPU)
        self.known = known

    @property
    def peak(self) -> int:
        return self.known


def test_all_get_the_slowest_and_the_median_time_of_a_step_and_the_largest_memory() -> None:
    def work(processes: Processes) -> dict[str, float]:
        ticks = count(step=1 + processes.rank)  # a phase of process r takes r + 1 seconds
        pace = ProcessPace(processes, CPU, Memory(10**9 * processes.rank), print, lambda: float(next(ticks)))
        for done in (1, 2):
            for phase in ("data", "forward", "forward", "backward", "optimizer"):
                with pace.phase(phase):  # type: ignore[arg-type]
                    pass
            pace.step(done)
        return dict(pace.read(1.0))

    assert (
        in_threads(3, work)
        == [
            {
                "processes/step_seconds_slowest": 9.0,
                "processes/step_seconds_median": 6.0,
                "processes/memory_gb": 2.0,
            }
        ]
        * 3
    )


def test_a_straggler_is_reported_once_with_its_machine() -> None:
    told: list[str] = []
    stragglers = Stragglers(told.append)
    even = [Pace(1.0, 0, f"gpu-{rank}") for rank in range(3)]
    slow = [*even[:2], Pace(1.6, 0, "gpu-2")]
    for paces in (slow, slow, slow, slow, even):
        stragglers.add(paces)
    assert told == []
    for _ in range(12):
        stragglers.add(slow)
    for paces in (even, *[slow] * 12):
        stragglers.add(paces)
    (notice,) = told
    assert notice.startswith(
        "process 2 on gpu-2 holds up the others: loading and forward passes of a step take it 1.6 s"
    )
