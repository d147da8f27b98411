"""Deduplicate by a runner's state: what is dropped, for how long, and that the state goes.

On Beam's bundle-based runner, which TestStream drives and which keeps state by key. The stream's
watermark stands for the subscription's, `Now` for the workers' clock. What the runner keeps is read
from the runner itself, at moments of the stream.
"""

import threading

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils import proto_utils
from hypothesis import given
from hypothesis import strategies as st

from schemas.failure import Failure, dead_letter
from schemas.message import DEDUP_ID, EVENT_ID, Message
from schemas.raw import from_raw
from transforms.deduplicate import SeenIds
from transforms.first_of_key import DropRepeats, FirstOfKey, keyed

HORIZON = 3_600
START = 1_700_000_000
LOOK = Message(b"", {"look": ""})
FAIL = Message(b"", {EVENT_ID: "fails the first attempts of its bundle"})


class Now:
    """The workers' clock, which the stream's messages move."""

    seconds = 0.0


class Run:
    """What the steps of a running pipeline share with the test: they are pickled, this is not."""

    began = threading.Event()
    result = None
    looks = ()
    attempts = 0


def clock():
    return Now.seconds


class Arrive(beam.DoFn):
    """From (seconds, message) to the message, with the clock moved; looks when asked to."""

    def process(self, pair):
        Now.seconds, message = pair
        if message == LOOK:
            assert Run.began.wait(30)
            Run.looks = (*Run.looks, kept(Run.result))
        else:
            yield message


class FirstOfKeyOnceItWorks(FirstOfKey):
    """Raises at one message, after others of its bundle, in the first two attempts."""

    def process(
        self,
        element,
        seen=beam.DoFn.StateParam(FirstOfKey.SEEN),  # noqa: B008
        expiry=beam.DoFn.TimerParam(FirstOfKey.EXPIRY),  # noqa: B008
    ):
        if element[0] == SeenIds.key(FAIL.event_id):
            Run.attempts += 1
            if Run.attempts < 3:
                raise RuntimeError("the bundle fails")
        yield from super().process(element, seen, expiry)


def kept(result):
    """The keys of which the runner keeps a state, and those of which it keeps a timer."""
    steps = result._evaluation_context._transform_keyed_states
    [by_key] = [states for step, states in steps.items() if step.full_label.endswith("First")]
    return (
        {key for key, each in by_key.items() if any(map(any, each.state.values()))},
        {key for key, each in by_key.items() if any(each.timers.values())},
    )


class Stream:
    """A TestStream of messages that come at times of the workers' clock."""

    def __init__(self):
        self._stream = test_stream.TestStream()

    def come(self, after, *messages, published=None):
        """One bundle, so many seconds after START; published then, or at another time."""
        published = START + (after if published is None else published)
        pairs = [TimestampedValue((START + after, each), published) for each in messages]
        self._stream = self._stream.add_elements(pairs)
        return self

    def watermark(self, after):
        """The watermark so many seconds after START."""
        self._stream = self._stream.advance_watermark_to(START + after)
        return self

    def look(self):
        """Notes what the runner keeps at that moment."""
        return self.come(0, LOOK)

    def run(self, expected, do_fn=FirstOfKey):
        """To the end, which is what a drain does: no more messages, the watermark to infinity.

        Returns:
            What each look saw, and what is kept at the end.
        """
        Run.began.clear()
        Run.looks, Run.attempts = (), 0
        options = PipelineOptions(["--streaming"])
        p = beam.Pipeline(runner=BundleBasedDirectRunner(), options=options)
        found = (
            p
            | self._stream.advance_watermark_to_infinity()
            | beam.ParDo(Arrive()).with_output_types(Message)
            | beam.Map(keyed)
            | "First" >> beam.ParDo(do_fn(HORIZON, clock))
        )
        assert_that(found, equal_to(expected))
        Run.result = p.run()
        Run.began.set()
        Run.result.wait_until_finish()
        return [*Run.looks, kept(Run.result)]


def message(id_, data=b""):
    return Message(data, {EVENT_ID: id_})


def keys(ids):
    return {SeenIds.key(each) for each in ids}


def counters(pipeline):
    return {
        (c.key.metric.namespace, c.key.metric.name): c.committed
        for c in pipeline.result.metrics().query()["counters"]
        if c.committed
    }


FIRST, REPEAT, LATER = (message("a", data) for data in (b"1", b"2", b"3"))
OTHER = message("b")


def test_repeats_within_the_horizon_are_dropped():
    """The first of each key goes through; a repeat in its bundle is dropped as a later one is."""
    (
        Stream()
        .come(0, FIRST, REPEAT, OTHER)
        .watermark(10)
        .come(10, REPEAT, OTHER)
        .watermark(HORIZON - 1)
        .come(HORIZON - 1, REPEAT)
        .run([FIRST, OTHER])
    )


def test_after_the_horizon_a_key_is_new():
    """Its next message is a first again, and is known from then on; other keys have their time."""
    (
        Stream()
        .come(0, FIRST)
        .watermark(1_000)
        .come(1_000, OTHER)
        .watermark(HORIZON)
        .come(HORIZON, LATER, REPEAT, OTHER)
        .watermark(2 * HORIZON - 1)
        .come(2 * HORIZON - 1, REPEAT)
        .run([FIRST, OTHER, LATER])
    )


def test_the_runner_keeps_the_keys_of_the_last_horizon():
    """One state and one timer a key, whatever repeats come, and none once the horizon is over."""
    a, b, c = map(message, "abc")
    looks = (
        Stream()
        .come(0, a)
        .watermark(1_000)
        .come(1_000, b, *[a] * 50)
        .watermark(HORIZON - 1)
        .look()
        .watermark(HORIZON)
        .look()
        .come(HORIZON, c)
        .watermark(HORIZON + 1_000)
        .look()
        .watermark(2 * HORIZON)
        .look()
        .run([a, b, c])
    )
    assert looks == [(keys(ids), keys(ids)) for ids in ("ab", "b", "c", "", "")]


def test_a_drain_waits_for_no_horizon():
    """The watermark of a drain fires every timer, whatever the time is: nothing is kept."""
    looks = Stream().come(0, FIRST, OTHER).watermark(5).look().come(5, REPEAT).run([FIRST, OTHER])
    assert looks == [(keys("ab"), keys("ab")), (set(), set())]
    assert Now.seconds == START + 5


def test_a_late_message_is_known_for_the_whole_horizon():
    """One published long before the watermark, as after a seek: its repeats are dropped too."""
    day = 86_400
    (
        Stream()
        .watermark(day)
        .come(day, FIRST, published=0)
        .watermark(day + 1)
        .come(day + 1, REPEAT, published=0)
        .watermark(day + HORIZON - 1)
        .come(day + HORIZON - 1, REPEAT, published=1)
        .watermark(day + HORIZON)
        .come(day + HORIZON, LATER, published=2)
        .run([FIRST, LATER])
    )


def test_while_the_watermark_lags_nothing_is_forgotten():
    """A backlog keeps the watermark back: a key is known until that has passed its horizon."""
    looks = (
        Stream()
        .watermark(0)
        .come(0, FIRST)
        .come(3 * HORIZON, REPEAT, published=0)
        .look()
        .watermark(HORIZON)
        .look()
        .come(3 * HORIZON + 1, LATER)
        .run([FIRST, LATER])
    )
    assert looks[:2] == [(keys("a"), keys("a")), (set(), set())]


def test_a_replayed_dead_letter_is_no_repeat():
    """Its dedup_id is the next attempt's; the replay of the replay has one of its own again."""
    letter = dead_letter(Failure(FIRST, "decode", "E", "r"), time=0, job="j")
    replay = Message(letter.data, letter.attributes)
    assert replay.attributes[DEDUP_ID] == "a:1"
    again = dead_letter(Failure(replay, "shape", "E", "r"), time=0, job="j")
    replay_of_replay = Message(again.data, again.attributes)
    (
        Stream()
        .come(0, FIRST, replay)
        .watermark(1)
        .come(1, replay, replay_of_replay, FIRST, replay_of_replay)
        .run([FIRST, replay, replay_of_replay])
    )


def test_a_bundle_that_is_tried_again_loses_nothing():
    """State is the runner's to commit with the bundle: what a failed attempt has seen is unseen."""
    looks = (
        Stream()
        .come(0, FIRST, REPEAT, FAIL, OTHER)
        .watermark(1)
        .look()
        .come(1, REPEAT, FAIL)
        .run([FIRST, FAIL, OTHER], FirstOfKeyOnceItWorks)
    )
    assert Run.attempts == 4  # two failed, one that went through, one repeat
    assert looks[0] == (keys(["a", "b", FAIL.event_id]),) * 2


def test_what_is_dropped_is_counted():
    """The metric of the metrics page, under the name that DirectRunner's step counts by too.

    On the engine that keeps counters over bundles; it does not need the timers.
    """
    messages = [message("a", bytes([i])) for i in range(50)] + [OTHER, message("c"), OTHER]
    with beam.Pipeline(runner=FnApiRunner()) as p:
        found = (
            p
            | beam.Create(messages, reshuffle=False)
            | DropRepeats(HORIZON)
            | beam.Map(lambda each: each.event_id)
        )
        assert_that(found, equal_to(["a", "b", "c"]))
    assert counters(p) == {("deduplicate", "dropped"): 50}


_name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(
    st.binary(max_size=64),
    st.dictionaries(_name, st.text(st.characters(codec="utf-8"), max_size=40), max_size=5),
    st.text("0123456789", max_size=20),
    st.integers(0, 4_102_444_800_000_000),
)
def test_a_message_crosses_the_shuffle_whole(data, attributes, message_id, publish_time):
    """Data, attributes, and what the broker gave it, to the microsecond; the key is its id's."""
    given_ = Message(data, attributes, message_id, publish_time)
    key, value = keyed(given_)
    assert key == SeenIds.key(given_.dedup_id)
    assert len(key) == 16
    assert from_raw(value) == given_
    assert keyed(from_raw(value)) == (key, value)


def test_what_is_shuffled_and_kept_is_in_standard_coders():
    """No class of ours in it: a running job can be updated by code whose classes have changed."""
    p = beam.Pipeline(runner=FnApiRunner())
    _ = p | beam.Create([FIRST], reshuffle=False) | "Deduplicate" >> DropRepeats(HORIZON)
    proto = p.to_runner_api(use_fake_coders=False)
    coders = proto.components.coders
    steps = {each.unique_name: each for each in proto.components.transforms.values()}

    def urns(coder):
        made = coders[coder]
        return [made.spec.urn, *[urn for part in made.component_coder_ids for urn in urns(part)]]

    [shuffled] = steps["Deduplicate/Key"].outputs.values()
    pair = ["beam:coder:kv:v1", "beam:coder:bytes:v1", "beam:coder:bytes:v1"]
    assert urns(proto.components.pcollections[shuffled].coder_id) == pair
    first = proto_utils.parse_Bytes(
        steps["Deduplicate/First"].spec.payload, beam_runner_api_pb2.ParDoPayload
    )
    [(state, seen)] = first.state_specs.items()
    assert state == "seen"
    assert urns(seen.read_modify_write_spec.coder_id) == ["beam:coder:bool:v1"]
    [(family, expiry)] = first.timer_family_specs.items()
    assert family == "ts-expiry"
    assert expiry.time_domain == beam_runner_api_pb2.TimeDomain.EVENT_TIME
    assert urns(expiry.timer_family_coder_id) == [
        "beam:coder:timer:v1", "beam:coder:bytes:v1", "beam:coder:global_window:v1",
    ]  # fmt: skip
