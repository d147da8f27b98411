"""What the memory bench measures with."""

import subprocess
import sys
import threading

import pytest

from bench import altered_job, in_memory, memory
from pipeline import pull, resident


def test_the_graph_in_memory_takes_one_event_a_bundle():
    """All become rows and are acknowledged, memory is looked at, and nothing stays behind."""
    found = in_memory.run(40)
    assert len(found.memory) == 37
    assert min(found.memory) > 0
    assert found.seconds > 0
    assert not resident.stopping.is_set()
    assert resident.existing("seen") is None


def test_longer_bundles_and_a_bounded_cache_are_the_million_events_own(monkeypatch):
    """So many events a bundle, the last one shorter; the cache is full long before the end."""
    sizes, ids = [], []

    class Watched(in_memory.Source):
        def acknowledge(self, batch):
            super().acknowledge(batch)
            sizes.append(len(batch))
            ids.append(len(resident.existing("seen")))

    monkeypatch.setattr(in_memory, "Source", Watched)
    in_memory.run(250, 100, 120)
    assert sizes == [100, 100, 50]
    assert max(ids) == 120


def test_a_run_that_loses_an_event_is_no_figure(monkeypatch):
    """Events that are dropped on the way would make memory look flat."""
    same = next(in_memory.pulled(1))
    monkeypatch.setattr(in_memory, "pulled", lambda count: iter([same] * count))
    with pytest.raises(RuntimeError, match="of 3 events 3 were acknowledged, 1 became rows"):
        in_memory.run(3)


def test_no_two_events_are_the_same():
    """Else the duplicate cache would drop them."""
    found = [*in_memory.pulled(2_500)]
    assert len({each.message.dedup_id for each in found}) == len({each.ack_id for each in found})
    assert len({each.message.event_id for each in found}) == len(found) == 2_500


def test_an_id_of_the_cache_costs_some_hundred_bytes():
    """Alone in its bundle, with its place in the order of forgetting."""
    assert 100 < memory.cache_bytes_an_id(2_000) < 1_000


def test_flatness_is_judged_by_the_most_of_each_half():
    """Single moments of what goes up and down would tell anything."""
    figures = memory.busy_figures("job", 1_000, [10.0, 30.0, 12.0, 31.4, 15.0], 33.0, 400.0)
    assert figures == {
        "job: one-event bundles": 1_000,
        "job: memory after a tenth, MB": 10,
        "job: memory at the end, MB": 15,
        "job: memory most, MB": 33,
        "job: memory most in the first half, MB": 30,
        "job: memory most in the second half, MB": 31,
        "job: of the growth from a tenth to the end the cache, MB": 0.4,
    }


def test_what_a_process_of_its_own_prints_is_read_back(monkeypatch, capsys):
    """The command takes what it is given; here it is run in this process, to save its start."""

    def run(command, **_):
        assert command[:3] == [sys.executable, "-m", "bench.in_memory"]
        assert in_memory.main(command[3:]) == 0
        return subprocess.CompletedProcess(command, 0, stdout=capsys.readouterr().out)

    monkeypatch.setattr(memory.subprocess, "run", run)
    found = memory.in_memory(30, 10, 20)
    assert len(found.memory) == 3
    assert found.seconds > 0


def test_the_figures_of_the_million_say_what_was_run():
    """How many, in which bundles, with which cache, how fast, and memory."""
    run = in_memory.Run((160.2, 185.0, 150.0, 184.0, 161.4), 250.0)
    assert memory.million_figures(run) == {
        "million: events": 1_000_000,
        "million: events a bundle": 100,
        "million: ids in the cache at the most": 1_000,
        "million: events/s": 4_000,
        "million: memory after a tenth, MB": 160,
        "million: memory at the end, MB": 161,
        "million: memory most, MB": 185,
        "million: memory most in the first half, MB": 185,
        "million: memory most in the second half, MB": 184,
    }


def puller_with(messages):
    puller = pull.Puller(None, "projects/p/subscriptions/s")
    puller._queue.extend(messages)
    return puller


def test_the_altered_job_takes_one_event_a_bundle(monkeypatch):
    """However many wait."""
    monkeypatch.setattr(pull, "BUNDLE_MESSAGES", pull.BUNDLE_MESSAGES)
    altered_job.one_event()
    puller = puller_with(in_memory.pulled(3))
    assert [len(puller.take(0)) for _ in range(4)] == [1, 1, 1, 0]


def test_the_altered_job_polls_without_patience(monkeypatch):
    """An empty subscription is said to be empty at once; a message is still taken."""
    monkeypatch.setattr(pull.Puller, "take", pull.Puller.take)
    altered_job.no_patience()
    puller = puller_with([])
    taken = []
    thread = threading.Thread(target=lambda: taken.append(puller.take(60)), daemon=True)
    thread.start()
    thread.join(10)
    assert taken == [[]]
    assert len(puller_with(in_memory.pulled(2)).take(60)) == 2
