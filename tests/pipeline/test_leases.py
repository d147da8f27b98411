"""Leases are extended while a message is held and ended by one acknowledgement."""

import logging
import threading
import time

import pytest
from google.api_core import exceptions

from pipeline import leases
from pipeline.leases import LEASE_SECONDS, Leases
from schemas.problem import ProblemsFound
from tests.pipeline.fakes import Clock, Subscriber

SUBSCRIPTION = "projects/demo-project/subscriptions/s"
SOON = LEASE_SECONDS / 4


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def subscriber():
    return Subscriber()


@pytest.fixture
def held(subscriber, clock):
    made = Leases(subscriber, SUBSCRIPTION, clock)
    made.start()
    yield made
    made.close()


def pass_time(held, clock, seconds):
    """Lets time pass, and has the thread look at the clock now rather than in real seconds."""
    clock.advance(seconds)
    held.acknowledge(())


def test_extends_before_the_lease_ends(held, subscriber, clock, until):
    """A held message is extended well before its lease can end, again and again."""
    held.hold(["a", "b"])
    for times in range(1, 6):
        pass_time(held, clock, SOON)
        until(lambda times=times: len(subscriber.extended) == times)
    assert subscriber.extended == [(["a", "b"], LEASE_SECONDS)] * 5


def test_first_extension_is_within_the_shortest_lease():
    """A subscription's own lease is 10 s at the least; the first extension comes before."""
    assert SOON < 10


def test_not_before_it_is_due(held, subscriber, clock, until):
    """What was delivered later is extended later."""
    held.hold(["early"])
    clock.advance(SOON - 1)
    held.hold(["late"])
    pass_time(held, clock, 1)
    until(lambda: subscriber.extended)
    pass_time(held, clock, SOON - 1)
    until(lambda: len(subscriber.extended) == 2)
    assert subscriber.extended == [(["early"], LEASE_SECONDS), (["late"], LEASE_SECONDS)]


def test_no_extension_after_the_acknowledgement(held, subscriber, clock, until):
    """An acknowledged message is never extended again."""
    held.hold(["kept", "done"])
    held.acknowledge(["done"])
    until(lambda: subscriber.acked == ["done"])
    pass_time(held, clock, SOON)
    until(lambda: subscriber.extended)
    assert subscriber.extended == [(["kept"], LEASE_SECONDS)]


def test_requests_are_bounded(held, subscriber, clock, until):
    """2,500 messages are extended and acknowledged by a thousand a request, each once."""
    ids = [f"id-{n}" for n in range(2_500)]
    held.hold(ids)
    pass_time(held, clock, SOON)
    until(lambda: len(subscriber.extended) == 3)
    held.acknowledge(ids)
    assert held.drain(10) == 0
    assert [len(part) for part, _ in subscriber.extended] == [1_000, 1_000, 500]
    assert [len(part) for part in subscriber.acks] == [1_000, 1_000, 500]
    assert subscriber.acked == ids


def test_acknowledgements_outlast_an_outage(held, subscriber, until):
    """While Pub/Sub is away they are kept and sent again, the same ones, until it takes them."""
    subscriber.ack_errors.extend(
        [exceptions.ServiceUnavailable("away"), exceptions.DeadlineExceeded("slow")]
    )
    held.acknowledge(["a", "b"])
    assert held.drain(10) == 0
    assert subscriber.acks == [["a", "b"]] * 3
    assert subscriber.acked == ["a", "b"]
    assert held.waits == 2


def test_extensions_outlast_an_outage(held, subscriber, clock, until):
    """An extension that failed is tried again, not forgotten."""
    subscriber.modify_errors.append(exceptions.ServiceUnavailable("away"))
    held.hold(["a"])
    pass_time(held, clock, SOON)
    until(lambda: len(subscriber.extended) == 2)
    assert subscriber.extended == [(["a"], LEASE_SECONDS)] * 2


def test_an_outage_is_not_hammered(held, subscriber, clock, until):
    """While Pub/Sub is away and leases are due, attempts come by a growing pause."""
    subscriber.away = []
    held.hold(["a"])
    pass_time(held, clock, SOON)
    until(lambda: held.waits >= 4)  # after pauses of 0.2, 0.4 and 0.8 s
    assert len(subscriber.away) <= 6


def test_a_refused_acknowledgement_is_not_sent_again_and_counts_as_not_taken(
    held, subscriber, caplog
):
    """Pub/Sub's no is final: the message comes back, and that is told to the end of the run."""
    subscriber.ack_errors.append(exceptions.InvalidArgument("not an id"))
    held.acknowledge(["a", "b"])
    assert held.drain(10) == 2
    assert held.pending() == 0
    held.acknowledge(["c"])
    assert held.drain(10) == 2
    assert subscriber.acked == ["c"]
    assert subscriber.acks == [["a", "b"], ["c"]]
    assert "Pub/Sub refused to acknowledge 2 messages" in caplog.text


LOST = [
    (exceptions.NotFound("gone"), "is not there any more: 404 gone", "create it again"),
    (exceptions.PermissionDenied("no"), "is closed to this account: 403 no", "pubsub.subscriber"),
    (exceptions.Unauthenticated("who"), "refuses the credentials: 401 who", "gcloud auth"),
]


def assert_lost(error, lost):
    _, what, remedy = lost
    assert isinstance(error, ProblemsFound)
    [problem] = error.problems
    assert problem.where == f"--input_subscription {SUBSCRIPTION}"
    assert problem.what == what
    assert remedy in problem.remedy


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost[0]).__name__)
def test_a_lost_subscription_ends_the_acknowledgements(held, subscriber, until, lost):
    """Deleted, or closed to the job: a Problem, and what was not taken is known without a wait."""
    subscriber.ack_errors.append(lost[0])
    held.acknowledge(["a", "b"])
    until(lambda: held.error)
    assert_lost(held.error, lost)
    began = time.monotonic()
    assert held.drain(60) == 2
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost[0]).__name__)
def test_a_lost_subscription_ends_the_extensions(held, subscriber, clock, until, lost):
    """The same where an extension meets it first."""
    subscriber.modify_errors.append(lost[0])
    held.hold(["a"])
    pass_time(held, clock, SOON)
    until(lambda: held.error)
    assert_lost(held.error, lost)


def test_extensions_keep_their_turn_while_acknowledgements_keep_coming(
    held, subscriber, clock, until
):
    """However fast bundles end, a lease that is due is extended."""
    acknowledge, ended = subscriber.acknowledge, threading.Event()

    def and_another(**request):
        acknowledge(**request)
        if not ended.is_set():
            held.acknowledge([f"id-{len(subscriber.acks)}"])

    subscriber.acknowledge = and_another
    held.hold(["slow"])
    held.acknowledge(["first"])
    until(lambda: len(subscriber.acked) > 10)
    clock.advance(SOON)
    try:
        until(lambda: subscriber.extended)
    finally:
        ended.set()
    assert subscriber.extended[0] == (["slow"], LEASE_SECONDS)


def test_says_when_fewer_are_pending(subscriber, clock, until):
    """Told after each request and after the end by a fault, while no lock is held."""
    seen = []

    def changed():
        asker = threading.Thread(target=lambda: seen.append((told.pending(), told.error)))
        asker.start()
        asker.join(10)

    told = Leases(subscriber, SUBSCRIPTION, clock, changed)
    told.acknowledge([f"id-{n}" for n in range(1_500)])
    told.start()
    until(lambda: len(seen) == 2)
    fault = ValueError("ours")
    subscriber.ack_errors.append(fault)
    told.acknowledge(["a"])
    until(lambda: len(seen) == 3)
    told.close()
    assert seen == [(500, None), (0, None), (1, fault)]


def test_a_refused_extension_is_logged(held, subscriber, clock, until, caplog):
    """A refused extension ends nothing; the others go on."""
    subscriber.modify_errors.append(exceptions.InvalidArgument("too old"))
    held.hold(["a"])
    pass_time(held, clock, SOON)
    until(lambda: "Pub/Sub refused to extend 1 leases" in caplog.text)
    held.acknowledge(["a"])
    assert held.drain(10) == 0
    assert subscriber.acked == ["a"]


def test_give_back(held, subscriber, clock, until):
    """What is given back is delivered again at once, and is not extended any more."""
    held.hold(["mine", "yours"])
    held.give_back(["yours"])
    assert subscriber.extended == [(["yours"], 0)]
    pass_time(held, clock, SOON)
    until(lambda: len(subscriber.extended) == 2)
    assert subscriber.extended[1] == (["mine"], LEASE_SECONDS)


def test_give_back_during_an_outage(held, subscriber, caplog):
    """With Pub/Sub away, giving back does not fail: the leases run out by themselves."""
    subscriber.modify_errors.append(exceptions.ServiceUnavailable("away"))
    with caplog.at_level(logging.WARNING):
        held.give_back(["a", "b"])
    assert "2 messages come back only after their lease" in caplog.text


def test_give_back_of_a_lost_subscription(held, subscriber, caplog):
    """Closing does not fail since the subscription is gone."""
    subscriber.modify_errors.append(exceptions.NotFound("gone"))
    held.give_back(["a"])
    assert "1 messages come back only after their lease: 404 gone" in caplog.text


def test_give_back_is_bounded_by_request(held, subscriber):
    """A full queue is given back by a thousand a request."""
    held.give_back([f"id-{n}" for n in range(2_500)])
    assert [len(part) for part, _ in subscriber.extended] == [1_000, 1_000, 500]


def test_giving_back_nothing_asks_nothing(held, subscriber):
    """No request is made for no message."""
    held.give_back([])
    assert subscriber.extended == []


def test_drain_says_what_is_left(held, subscriber):
    """When the time is up, the number of acknowledgements that Pub/Sub does not have is told."""
    subscriber.away = []
    held.acknowledge(["a", "b", "c"])
    assert held.drain(0.05) == 3
    assert held.pending() == 3


def test_close_ends_the_thread(subscriber, clock):
    """After `close` nothing is sent any more."""
    closed = Leases(subscriber, SUBSCRIPTION, clock)
    closed.start()
    closed.hold(["a"])
    closed.close()
    pass_time(closed, clock, SOON)
    assert not closed._thread.is_alive()
    assert subscriber.extended == []


def test_ids_fit_a_request():
    """A thousand ids of the length that Pub/Sub gives (some 200 bytes) stay under 512 KiB."""
    assert leases._IDS_A_REQUEST * 300 < 512 * 1024


def test_what_nobody_foresaw_is_kept(held, subscriber, until):
    """An error of our own ends the thread and is there for the read to raise."""
    fault = ValueError("ours")
    subscriber.ack_errors.append(fault)
    held.acknowledge(["a"])
    until(lambda: held.error is not None)
    assert held.error is fault
