"""What the memory bench measures with."""

import threading

from bench import altered_job, in_memory, memory
from pipeline import pull, resident


def test_the_graph_in_memory_takes_one_event_a_bundle():
    """All are acknowledged, memory is looked at after each tenth, and nothing stays behind."""
    source = in_memory.run(40)
    assert source.acknowledged == 40
    assert len(source.memory) == 10
    assert not resident.stopping.is_set()


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


def puller_with(messages):
    puller = pull.Puller(None, "projects/p/subscriptions/s")
    puller._queue.extend(messages)
    return puller


def test_the_altered_job_takes_one_event_a_bundle(monkeypatch):
    """However many wait."""
    monkeypatch.setattr(pull, "BUNDLE_MESSAGES", pull.BUNDLE_MESSAGES)
    altered_job.one_event()
    puller = puller_with(in_memory._pulled(3))
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
    assert len(puller_with(in_memory._pulled(2)).take(60)) == 2
