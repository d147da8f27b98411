"""The puller: bounded by messages and bytes, waiting out outages, handing on everything else."""

import logging
import threading
import time

import grpc
import pytest
from google.api_core import exceptions

from pipeline import pull, resident
from pipeline.pull import BUNDLE_BYTES, BUNDLE_MESSAGES, MAX_HELD_BYTES, MAX_HELD_MESSAGES, Puller
from schemas.message import Message
from schemas.problem import ProblemsFound
from tests.pipeline.fakes import Clock, RpcError, Subscriber, received, unavailable

SUBSCRIPTION = "projects/demo-project/subscriptions/s"
CONNECTED = f"connected to {SUBSCRIPTION}"
LOST = [
    (grpc.StatusCode.NOT_FOUND, "is not there any more: 404 said", "create it again"),
    (grpc.StatusCode.PERMISSION_DENIED, "closed to this account: 403 said", "pubsub.subscriber"),
    (grpc.StatusCode.UNAUTHENTICATED, "refuses the credentials: 401 said", "gcloud auth"),
]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def subscriber():
    return Subscriber()


@pytest.fixture
def start(subscriber, clock):
    """Starts pullers and closes them at the end."""
    started = []

    def begin():
        started.append(Puller(subscriber, SUBSCRIPTION, clock))
        started[-1].start()
        return started[-1]

    yield begin
    for puller in started:
        puller.close(deadline=1)


@pytest.fixture
def puller(start):
    return start()


def open_pulls(subscriber):
    return [call for call in subscriber.pulls if not call._done.is_set()]


def flood(subscriber, puller, until, size):
    """Answers every pull in full with messages of a size until no more are asked for."""
    sent = 0

    def settled():
        nonlocal sent
        for call in open_pulls(subscriber):
            assert call.asked <= pull._PULL_MESSAGES
            batch = [received(f"id-{sent + n}", b"x" * size) for n in range(call.asked)]
            sent += len(batch)
            call.answer(batch)
            # One after the other, so that their order is known.
            until(lambda sent=sent: len(puller._held) == sent)
        with puller._condition:
            return not puller._asked and puller._room() <= 0

    until(settled, 60)
    return sent


def test_delivers_the_message_as_it_was_published(puller, subscriber, until):
    """Data, attributes, id and publish time (cut to microseconds) come through unchanged."""
    until(lambda: subscriber.pulls)
    data = bytes(range(256))
    subscriber.pulls[0].answer([received("a", data, {"ce-id": "1", "Ünï": "😀"})])
    [taken] = puller.take(10)
    assert taken.ack_id == "a"
    assert taken.message == Message(
        data, {"ce-id": "1", "Ünï": "😀"}, "id-a", 1_700_000_000_123_456
    )


def test_memory_is_bounded_by_messages_when_nobody_takes(puller, subscriber, until):
    """No more small messages are ever asked for than may be held."""
    assert flood(subscriber, puller, until, size=10) == MAX_HELD_MESSAGES
    assert open_pulls(subscriber) == []


def test_memory_is_bounded_by_bytes_when_nobody_takes(start, subscriber, until, monkeypatch):
    """Large messages stop the pulling once the bytes are held; the calls under way may add."""
    monkeypatch.setattr(pull, "MAX_HELD_BYTES", 2_000_000)
    monkeypatch.setattr(pull, "_PULL_MESSAGES", 10)  # Pub/Sub gives few where they are large
    puller = start()
    sent = flood(subscriber, puller, until, size=100_000)
    most = 2_000_000 + pull._PULLERS * 10 * 100_000
    assert 2_000_000 <= puller._held_bytes == sent * 100_000 <= most
    assert open_pulls(subscriber) == []


def test_attributes_count_as_bytes(puller, subscriber, until):
    """What is held is data and attributes, until the bundle is done."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer([received("a", b"x" * 10, {"key": "v" * 1_000}), received("b")])
    until(lambda: puller._queue)
    assert puller._held_bytes == 10 + 3 + 1_000 + 2
    puller.acknowledge(puller.take(10))
    assert puller._held_bytes == 0


def test_asks_for_less_where_messages_are_large(puller, subscriber, until):
    """What a pull asks for follows the size of what has come."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    assert [call.asked for call in subscriber.pulls] == [1_000, 1_000]
    for call in subscriber.pulls[:2]:
        call.answer([received(f"{call.asked}-{id(call)}-{n}", b"x" * 100_000) for n in range(300)])
    until(lambda: len(subscriber.pulls) > pull._PULLERS)
    assert sum(call.asked for call in open_pulls(subscriber)) * 90_000 < MAX_HELD_BYTES


def test_an_acknowledgement_makes_room(puller, subscriber, until):
    """Room that was used up is there again once a bundle is done, and not before."""
    sent = flood(subscriber, puller, until, size=10)
    calls = len(subscriber.pulls)
    batch = puller.take(10)
    assert len(subscriber.pulls) == calls  # in a bundle is still held
    puller.acknowledge(batch)
    until(lambda: len(subscriber.pulls) > calls)
    assert sum(call.asked for call in open_pulls(subscriber)) == len(batch)
    assert sent == MAX_HELD_MESSAGES


def test_unsent_acknowledgements_stop_the_pulling(puller, subscriber, until):
    """Where pulls go through and acknowledgements do not, the queue of these is bounded too."""
    subscriber.away = []
    sent = 0
    for _ in range(3):
        sent += flood(subscriber, puller, until, size=10)
        while puller._queue:
            puller.acknowledge(puller.take(10))
    assert sent == puller.leases.pending() == MAX_HELD_MESSAGES
    assert open_pulls(subscriber) == []
    subscriber.away = None
    until(lambda: puller.leases.pending() == 0)
    until(lambda: open_pulls(subscriber))


def test_a_bundle_is_bounded_by_messages(puller, subscriber, until):
    """A bundle has at most its number of messages, in the order of their delivery."""
    sent = flood(subscriber, puller, until, size=10)
    taken = []
    while len(taken) < sent:
        batch = puller.take(10)
        assert len(batch) == BUNDLE_MESSAGES
        taken += batch
    assert [pulled.ack_id for pulled in taken] == [f"id-{n}" for n in range(sent)]


def test_a_bundle_is_bounded_by_bytes(puller, subscriber, until):
    """A bundle ends before its bytes would be too many; one large message is one all the same."""
    until(lambda: subscriber.pulls)
    sizes = [3_000_000, 3_000_000, 3_000_000, 9_000_000, 10]
    subscriber.pulls[0].answer([received(f"{n}", b"x" * size) for n, size in enumerate(sizes)])
    bundles = []
    while sum(map(len, bundles)) < len(sizes):
        bundles.append([pulled.ack_id for pulled in puller.take(10)])
    assert bundles == [["0", "1"], ["2"], ["3"], ["4"]]
    assert BUNDLE_BYTES < MAX_HELD_BYTES


def test_a_bundle_is_bounded_by_bytes_of_attributes(puller, subscriber, until):
    """Attributes fill a bundle as data does."""
    until(lambda: subscriber.pulls)
    large = {"key": "v" * 3_000_000}
    subscriber.pulls[0].answer([received(f"{n}", b"", large) for n in range(3)])
    assert [pulled.ack_id for pulled in puller.take(10)] == ["0", "1"]
    assert [pulled.ack_id for pulled in puller.take(10)] == ["2"]


def test_take_waits_no_longer_than_told(puller):
    """Without a message, `take` returns nothing when its time is up."""
    assert puller.take(0.01) == []


def test_a_pull_that_nothing_came_for_is_no_outage(puller, subscriber, until, caplog):
    """Its own deadline ends an idle pull: the next one is asked for at once, nothing is said."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    subscriber.pulls[0].fail(RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
    until(lambda: len(subscriber.pulls) == pull._PULLERS + 1)
    assert puller.waits == 0
    assert "waiting for" not in caplog.text


def test_an_outage_is_waited_out(puller, subscriber, until):
    """Pulls that fail since Pub/Sub is away are made again, counted, and then deliver."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    for call in subscriber.pulls:
        call.fail(unavailable())
    until(lambda: len(subscriber.pulls) == 2 * pull._PULLERS)
    assert puller.waits == pull._PULLERS
    subscriber.pulls[-1].answer([received("a")])
    assert [pulled.ack_id for pulled in puller.take(10)] == ["a"]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: lost[0].name)
def test_a_lost_subscription_is_a_problem(puller, subscriber, until, lost):
    """Deleted, or closed to the job: every `take` says which one and what to do."""
    code, what, remedy = lost
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    subscriber.pulls[0].fail(RpcError(code, "said"))
    for _ in range(2):
        with pytest.raises(ProblemsFound) as raised:
            puller.take(10)
        [problem] = raised.value.problems
        assert problem.where == f"--input_subscription {SUBSCRIPTION}"
        assert what in problem.what
        assert remedy in problem.remedy
    assert len(subscriber.pulls) == pull._PULLERS


def test_what_nobody_foresaw_is_raised(puller, subscriber, until):
    """Another refusal ends the read as it is; nothing is pulled again by that thread."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    subscriber.pulls[0].fail(RpcError(grpc.StatusCode.FAILED_PRECONDITION, "detached"))
    with pytest.raises(exceptions.FailedPrecondition, match="detached"):
        puller.take(10)
    assert len(subscriber.pulls) == pull._PULLERS


@pytest.mark.parametrize("errors", ["ack_errors", "modify_errors"])
def test_a_subscription_lost_to_the_leases_wakes_take(puller, subscriber, clock, until, errors):
    """A `take` that waits for a minute raises at once what an acknowledgement has met."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer([received("a"), received("b")])
    batch = puller.take(10)
    found = []

    def take():
        try:
            puller.take(60)
        except ProblemsFound as error:
            found.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: puller._condition._waiters)
    getattr(subscriber, errors).append(exceptions.NotFound("gone"))
    clock.advance(6)
    puller.acknowledge(batch[:1])
    thread.join(10)
    assert len(found) == 1
    with pytest.raises(ProblemsFound):
        puller.drain(deadline=10)


def test_a_fault_of_the_leases_is_raised(puller, subscriber, until):
    """When nothing can be acknowledged any more, the read ends rather than go round in circles."""
    fault = ValueError("ours")
    subscriber.ack_errors.append(fault)
    puller.leases.acknowledge(["a"])
    until(lambda: puller.leases.error)
    with pytest.raises(ValueError, match="ours"):
        puller.take(0.01)


def test_messages_are_leased_until_acknowledged(puller, subscriber, clock, until):
    """Queued and taken messages are extended alike; acknowledged ones are sent as such."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer([received("a"), received("b")])
    batch = puller.take(10)
    clock.advance(6)
    puller.leases.acknowledge(())  # has the leases look at the clock
    until(lambda: subscriber.extended)
    puller.acknowledge(batch)
    until(lambda: subscriber.acked)
    assert subscriber.extended[0][0] == subscriber.acked == ["a", "b"]


def test_idle_seconds(puller, subscriber, clock, until):
    """Idle is: Pub/Sub listens, and nothing is queued, held or unacknowledged since then."""
    until(lambda: subscriber.pulls)
    clock.advance(0.5)
    assert puller.idle_seconds() == 0  # no answer yet: who knows
    clock.advance(100)
    assert puller.idle_seconds() == 100  # a pull that waits so long found a server to wait at
    subscriber.pulls[0].answer([received("a")])
    batch = puller.take(10)
    clock.advance(100)
    assert puller.idle_seconds() == 0  # in a bundle
    puller.acknowledge(batch)
    until(lambda: subscriber.acked)
    puller.idle_seconds()
    clock.advance(3)
    assert puller.idle_seconds() == 3


def test_not_idle_while_an_acknowledgement_is_unsent(puller, subscriber, clock, until):
    """All is acknowledged only when Pub/Sub has it."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer([received("a")])
    subscriber.away = []
    puller.acknowledge(puller.take(10))
    clock.advance(100)
    assert puller.idle_seconds() == 0


def test_not_idle_during_an_outage(puller, subscriber, clock, until):
    """An empty queue says nothing while Pub/Sub cannot be asked."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    subscriber.pulls[0].answer()
    until(lambda: not puller._away)
    subscriber.pulls[1].fail(unavailable())
    until(lambda: puller._away)
    clock.advance(100)
    assert puller.idle_seconds() == 0  # the other pull began before the failure


def test_stop_wakes_take(puller, until):
    """A `take` that waits for a minute returns at once when the process is told to stop."""
    resident.on_stop(puller.wake)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(puller.take(60)))
    thread.start()
    resident.stop()
    thread.join(10)
    assert taken == [[]]


def test_stop_leaves_the_queue(puller, subscriber, until):
    """Told to stop, `take` hands out nothing more, however much is queued."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer([received("a")])
    until(lambda: puller._queue)
    resident.stop()
    assert puller.take(10) == []


def test_close_gives_back_what_was_not_taken(puller, subscriber, until, caplog):
    """Queued messages are released, pulls cancelled, the last acknowledgements sent first."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    subscriber.pulls[0].answer([received(f"id-{n}") for n in range(1_000)])
    taken = puller.take(10)
    until(lambda: len(subscriber.pulls) == pull._PULLERS + 1)
    subscriber.pulls[1].answer([received("left")])
    until(lambda: puller._queue)
    puller.acknowledge(taken)
    puller.close()
    assert subscriber.extended == [(["left"], 0)]
    assert subscriber.acked == [pulled.ack_id for pulled in taken]
    assert open_pulls(subscriber) == []
    assert "waiting for" not in caplog.text  # a cancelled pull is no outage
    assert puller.waits == 0
    assert puller.take(0.01) == []


def test_what_is_delivered_while_it_closes_is_given_back(puller, subscriber, until):
    """An answer that beats the cancellation is neither queued nor kept until its lease ends."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    late = subscriber.pulls[0]
    answer = threading.Timer(0.2, late.answer, [[received("late")]])
    late.cancel = answer.start
    puller.close()
    assert subscriber.extended == [(["late"], 0)]
    assert not puller._queue
    assert not puller._held


def said(caplog):
    return caplog.messages.count(CONNECTED)


@pytest.fixture
def logged(caplog):
    with caplog.at_level(logging.INFO, logger="pipeline.pull"):
        yield caplog


def test_says_that_it_is_connected_when_a_pull_waits(logged, puller, subscriber, clock, until):
    """On an empty subscription too: a pull that waits at the server found one. Said once."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    clock.advance(0.9)
    puller.take(0.01)
    assert said(logged) == 0
    clock.advance(0.2)
    puller.take(0.01)
    assert said(logged) == 1
    subscriber.pulls[0].answer()
    until(lambda: len(subscriber.pulls) > pull._PULLERS)
    puller.take(0.01)
    assert said(logged) == 1


def test_says_that_it_is_connected_at_the_first_answer(logged, puller, subscriber, until):
    """An answer says it, with or without a message."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer()
    until(lambda: said(logged) == 1)


def test_does_not_say_that_it_is_connected_during_an_outage(
    logged, puller, subscriber, clock, until
):
    """A pull that began before the last failure proves nothing."""
    until(lambda: len(subscriber.pulls) == pull._PULLERS)
    subscriber.pulls[0].fail(unavailable())
    until(lambda: puller.waits)
    clock.advance(100)
    puller.take(0.01)
    assert said(logged) == 0
    subscriber.pulls[1].answer()
    until(lambda: said(logged) == 1)


def test_the_first_takes_are_short(puller):
    """Until it is connected, nobody waits for a message before looking again."""
    began = time.monotonic()
    assert puller.take(60) == []
    assert time.monotonic() - began < 10


def test_drain_counts_what_was_refused(puller, subscriber):
    """A refused acknowledgement is one that Pub/Sub does not have."""
    subscriber.ack_errors.append(exceptions.InvalidArgument("not an id"))
    puller.leases.acknowledge(["a"])
    assert puller.drain(deadline=10) == 1


def test_drain_says_what_could_not_be_acknowledged(puller, subscriber, until):
    """With Pub/Sub away, draining and closing end in time, and how many are left is told."""
    until(lambda: subscriber.pulls)
    subscriber.pulls[0].answer([received("a"), received("b")])
    batch = puller.take(10)
    subscriber.away = []
    puller.acknowledge(batch)
    assert puller.drain(deadline=0.05) == 2
    puller.close(deadline=0.05)
