"""Deduplicate in one process: the bounded cache, and its step in a pipeline."""

import time

import apache_beam as beam
import pytest
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import Duration
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import Message
from tests.strategies import text
from transforms.deduplicate import DropSeen, SeenIds

key = SeenIds.key


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


def message(id_, dedup_id="", data=b""):
    attributes = {"event_id": id_} | ({"dedup_id": dedup_id} if dedup_id else {})
    return Message(data, attributes)


def counters(pipeline):
    return {
        (c.key.metric.namespace, c.key.metric.name): c.committed
        for c in pipeline.result.metrics().query()["counters"]
        if c.committed
    }


# The cache


def test_an_id_is_16_bytes_that_tell_it_apart():
    """Equal ids have equal keys; a lone surrogate, which JSON can write, is an id too."""
    assert len(key("a")) == 16
    assert key("a") == key("a") != key("b")
    assert key("\ud800") != key("\ud801")


@given(text, text)
def test_different_ids_have_different_keys(left, right):
    """Keys are as distinct as ids."""
    assert (key(left) == key(right)) == (left == right)


def test_an_id_is_known_for_the_horizon():
    """From when it was added until the horizon has passed and another comes."""
    clock = Clock()
    seen = SeenIds(60, 100, clock)
    assert key("a") not in seen
    assert seen.add([key("a")]) == 0
    clock.now += 60
    seen.add([key("b")])
    assert key("a") in seen
    clock.now += 0.001
    seen.add([key("c")])
    assert key("a") not in seen
    assert key("b") in seen
    assert len(seen) == 2


def test_to_see_an_id_again_does_not_prolong_it():
    """The horizon is counted from the first time, as `id_label` counts it."""
    clock = Clock()
    seen = SeenIds(60, 100, clock)
    seen.add([key("a")])
    clock.now += 50
    seen.add([key("a")])
    clock.now += 11
    seen.add([key("b")])
    assert key("a") not in seen


def test_an_id_that_comes_after_its_horizon_is_new():
    """It is remembered from then on, and is not forgotten with its first time."""
    clock = Clock()
    seen = SeenIds(60, 100, clock)
    seen.add([key("a")])
    clock.now += 61
    seen.add([key("a")])
    assert key("a") in seen
    clock.now += 60
    seen.add([])
    assert key("a") in seen


def test_beyond_the_bound_the_oldest_go_and_are_counted():
    """The count is of ids that went before their horizon, whatever the size of the calls."""
    seen = SeenIds(60, 3, Clock())
    assert seen.add(map(key, "ab")) == 0
    assert seen.add(map(key, "cd")) == 1
    assert [c for c in "abcd" if key(c) in seen] == ["b", "c", "d"]
    assert seen.add(map(key, "efghi")) == 5
    assert [c for c in "abcdefghi" if key(c) in seen] == ["g", "h", "i"]
    assert len(seen) == 3


def test_an_evicted_id_that_comes_again_is_kept_for_its_own_time():
    """What is left of its first call does not take it away."""
    clock = Clock()
    seen = SeenIds(60, 2, clock)
    seen.add(map(key, "ab"))
    clock.now += 30
    assert seen.add(map(key, "c")) == 1
    assert seen.add(map(key, "a")) == 1
    clock.now += 31  # the first call's time is over
    seen.add([])
    assert [c for c in "abc" if key(c) in seen] == ["a", "c"]


def test_an_id_twice_in_one_call_is_one():
    """A table that the cache is warmed from can hold repeats."""
    seen = SeenIds(60, 2, Clock())
    assert seen.add(map(key, "aabab")) == 0
    assert len(seen) == 2
    assert seen.add(map(key, "c")) == 1
    assert [c for c in "abc" if key(c) in seen] == ["b", "c"]


class Model:
    """What SeenIds promises, said the slow way: ids in order with their times."""

    def __init__(self, horizon, limit):
        self.horizon, self.limit, self.times = horizon, limit, {}

    def add(self, ids, now):
        self.times = {i: t for i, t in self.times.items() if t >= now - self.horizon}
        for id_ in ids:
            self.times.setdefault(id_, now)
        surplus = max(0, len(self.times) - self.limit)
        for id_ in list(self.times)[:surplus]:
            del self.times[id_]
        return surplus


@given(
    st.integers(0, 8),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 7), st.lists(st.integers(0, 12), max_size=8)), max_size=25),
)
def test_the_cache_does_what_the_model_says(limit, horizon, calls):
    """Any calls at any times: the same ids are known, the same number evicted, never over limit."""
    clock = Clock()
    seen, model = SeenIds(horizon, limit, clock), Model(horizon, limit)
    for wait, ids in calls:
        clock.now += wait
        assert seen.add([key(str(i)) for i in ids]) == model.add(ids, clock.now)
        assert {i for i in range(13) if key(str(i)) in seen} == set(model.times)
        assert len(seen) == len(model.times) <= limit


def test_a_full_cache_stays_fast():
    """One id in, one out, of a large first call: the rest of it is not copied each time."""
    seen = SeenIds(1e9, 200_000, Clock())
    seen.add(key(str(i)) for i in range(200_000))
    fresh = [key(f"n{i}") for i in range(5_000)]
    began = time.process_time()
    assert sum(seen.add([one]) for one in fresh) == 5_000
    assert time.process_time() - began < 1  # some 0.01 s; 2 s and more with a copy each time
    assert len(seen) == 200_000


# DropSeen on the engine of one process

CACHES = {}


def open_seen():
    return CACHES["seen"]


def open_written():
    return CACHES["written"]


class _Batches(RestrictionProvider):
    def initial_restriction(self, element):
        return OffsetRange(0, len(element))

    def create_tracker(self, restriction):
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element, restriction):
        return restriction.size()

    def split(self, element, restriction):
        return (restriction,)


class BundleEach(beam.DoFn):
    """From a list of lists to their elements, each list in a bundle of its own, as a read does."""

    @beam.DoFn.unbounded_per_element()
    def process(self, batches, tracker=beam.DoFn.RestrictionParam(_Batches())):  # noqa: B008
        at = tracker.current_restriction().start
        if tracker.try_claim(at):
            yield from batches[at]
            tracker.defer_remainder(Duration(0))


class FailOn(beam.DoFn):
    def process(self, element):
        if element.event_id == "poison":
            raise RuntimeError("the bundle fails")
        yield element


def caches(seen_limit=100, written=()):
    CACHES["seen"] = SeenIds(3_600, seen_limit)
    CACHES["written"] = SeenIds(3_600, 100)
    CACHES["written"].add(map(key, written))


def run_bundles(batches, expected):
    """Runs DropSeen over bundles and asserts what comes out."""
    with beam.Pipeline(runner=FnApiRunner()) as p:
        found = (
            p
            | beam.Create([batches], reshuffle=False)
            | beam.ParDo(BundleEach())
            | beam.ParDo(DropSeen(open_seen, open_written))
        )
        assert_that(found, equal_to(expected))
    return counters(p)


def test_duplicates_are_dropped_within_a_bundle_and_across_bundles():
    """The first of each dedup_id goes through, once; the others are counted."""
    caches()
    first, second = message("a", data=b"1"), message("a", data=b"2")
    b, c = message("b"), message("c")
    found = run_bundles([[first, second, b], [second, b, c], [], [c, first]], [first, b, c])
    assert found == {("deduplicate", "dropped"): 5}
    assert len(CACHES["seen"]) == 3


def test_a_replay_is_no_duplicate_unless_its_row_is_there():
    """A letter's replay has a dedup_id of its own; a table that holds its event drops it."""
    caches()
    failed, replay = message("a"), message("a", "a:1")
    assert run_bundles([[failed], [replay], [replay]], [failed, replay]) == {
        ("deduplicate", "dropped"): 1
    }
    caches(written=["a"])
    assert run_bundles([[failed, replay], [message("b")]], [message("b")]) == {
        ("deduplicate", "dropped"): 2
    }


def test_what_the_tables_hold_is_dropped():
    """The cache that was warmed counts as the other does, and is asked at each bundle."""
    caches(written=["a", "b"])
    found = run_bundles([[message("a"), message("c")], [message("b"), message("d")]],
                        [message("c"), message("d")])  # fmt: skip
    assert found == {("deduplicate", "dropped"): 2}


def test_a_bundle_that_fails_leaves_no_id_behind():
    """Ids enter the cache in the bundle finalizer: what was not written is delivered again."""
    caches()
    a, b = message("a"), message("b")
    with (
        pytest.raises(RuntimeError, match="the bundle fails"),
        beam.Pipeline(runner=FnApiRunner()) as p,
    ):
        _ = (
            p
            | beam.Create([[[a], [b, message("poison")]]], reshuffle=False)
            | beam.ParDo(BundleEach())
            | beam.ParDo(DropSeen(open_seen, open_written))
            | beam.ParDo(FailOn())
        )
    assert key("a") in CACHES["seen"]
    assert key("b") not in CACHES["seen"]
    assert key("poison") not in CACHES["seen"]
    run_bundles([[a, b]], [b])


def test_ids_that_had_to_go_are_counted():
    """The metric tells that the bound bites; what was forgotten goes through again."""
    caches(seen_limit=2)
    a, b, c, d = map(message, "abcd")
    found = run_bundles([[a, b], [c, d], [a, d], []], [a, b, c, d, a])
    assert found == {
        ("deduplicate", "dropped"): 1,
        ("deduplicate", "evicted_before_horizon"): 3,
    }
