"""The job as a process of a bench: its end and its memory."""

import sys

import pytest

from bench.job import Job, resident_megabytes
from local.processes import Command, NotReadyError, Processes

BIG = "block = bytearray(200_000_000); block[::4096] = b'x' * len(block[::4096]); del block\n"
# Still there for some looks after the block is gone.
LINGERS = "import time\ntime.sleep(1)\n"
DRAINS = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))\n"
    "print('connected to nothing', flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def start(tmp_path):
    with Processes(tmp_path / "logs") as processes:

        def begin(code):
            return Job(processes, Command("job", (sys.executable, "-c", code)))

        yield begin


def test_the_peak_is_the_kernels_not_the_last_look(start):
    """Memory that was given back long before the end is in it."""
    assert 200 < start(BIG + LINGERS).wait(30) < 400


def test_a_job_that_is_told_to_stop_tells_its_peak(start):
    """It must end by itself, with exit code 0."""
    job = start(DRAINS.format(code=0))
    job.wait_ready(seconds=10)
    assert job.running()
    assert 1 < job.resident() <= job.drain(10) < 100


def test_a_bad_end_is_an_error_with_the_log(start):
    """A figure of a job that failed would be none."""
    job = start(DRAINS.format(code=3))
    job.wait_ready(seconds=10)
    with pytest.raises(NotReadyError, match=r"(?s)exit code 3.*connected to nothing"):
        job.drain(10)


def test_a_job_that_does_not_end_is_an_error(start):
    """The wait has a deadline."""
    job = start("import time; print('busy', flush=True); time.sleep(60)")
    job.wait_ready(lambda child: "busy" in child.logged(), 10)
    with pytest.raises(NotReadyError, match=r"(?s)still runs after 0 s.*busy"):
        job.wait(0.3)


def test_memory_is_in_millions_of_bytes():
    """Of this process, which has some tens of them at least."""
    assert 10 < resident_megabytes() < 10_000
