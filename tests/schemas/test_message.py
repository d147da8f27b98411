"""A message: who it is, and the limits that Pub/Sub sets."""

import dataclasses
import hashlib
import pickle
import uuid

import pytest
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given
from hypothesis import strategies as st

from schemas.message import (
    MAX_MESSAGE_BYTES,
    Message,
    event_id_of,
    event_id_of_data,
    issue_id_of_document,
    issue_id_of_manual,
    limit_problems,
    serialized_size,
)
from tests.strategies import NAME, text


def problems(data, attributes):
    return [str(problem) for problem in limit_problems(data, attributes)]


def test_event_ids_stay_what_they_were():
    """Ids are a contract with rows that are already written: the values are pinned."""
    assert event_id_of("//test", "1") == "ac876a0c-2d63-5153-9a6f-d8f4927706b9"
    assert event_id_of_data(b"") == "92a4ee60-1672-575d-a0c7-f8f43e2c870d"
    assert event_id_of_data(b"{}") == "82ec1563-f30b-5cf7-9f1c-5f99881bfbc5"


def test_an_event_id_is_a_uuid_of_version_5_in_the_projects_namespace():
    """The id is what RFC 9562 makes of the namespace and of length-prefixed source and id."""
    namespace = uuid.UUID("b4fa0467-479e-42cb-bd94-aada206da801")
    assert event_id_of("//ü", "id") == str(uuid.uuid5(namespace, "4://ü2:id"))
    assert uuid.UUID(event_id_of("//ü", "id")).version == 5


@given(text, text, text, text)
def test_different_events_have_different_ids(source, id_, other_source, other_id):
    """Only the same source and the same id make the same event, wherever the two are cut."""
    same = (source, id_) == (other_source, other_id)
    assert (event_id_of(source, id_) == event_id_of(other_source, other_id)) == same
    together = source + id_
    for cut in range(len(together)):
        if cut != len(source):
            assert event_id_of(together[:cut], together[cut:]) != event_id_of(source, id_)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_redelivery_carries_the_same_id(data, other):
    """The id comes from source and id alone, whatever else differs between two deliveries."""
    attributes = {"ce-source": "//s", "ce-id": "1"}
    first = Message(data, attributes, "11", 1)
    second = Message(other, {**attributes, "ce-time": "later"}, "12", 2)
    assert first.event_id == second.event_id == event_id_of("//s", "1")
    assert first.dedup_id == first.event_id


@pytest.mark.parametrize(
    "attributes", [{}, {"ce-id": "1"}, {"ce-source": "//s"}, {"ce-id": "", "ce-source": ""}]
)
def test_a_message_without_source_or_id_is_known_by_its_data(attributes):
    """Flat messages and strangers are the same event when they have the same bytes."""
    assert Message(b"x", attributes).event_id == event_id_of_data(b"x")
    assert Message(b"y", attributes).event_id == event_id_of_data(b"y")
    assert event_id_of_data(b"x") != event_id_of_data(b"y")


def test_attributes_are_found_by_their_lower_case_names():
    """The very mapping where all names are lower-case already; a name that is so comes first."""
    plain = Message(b"", {"ce-id": "1", "ce-type": ""})
    assert plain.lowered() is plain.attributes
    odd = Message(b"", {"Ce-Id": "1", "CE-ID": "2", "Ce-Type": "x", "ce-type": "y"})
    wanted = ("ce-id", "ce-type", "ce-time")
    assert [odd.lowered().get(name) for name in wanted] == ["2", "y", None]
    assert [odd.attribute(name) for name in wanted] == ["2", "y", ""]
    assert odd.attributes == {"Ce-Id": "1", "CE-ID": "2", "Ce-Type": "x", "ce-type": "y"}


def test_an_id_that_is_made_is_kept_and_is_no_part_of_the_message():
    """Several steps ask for it; two messages with the same content are equal all the same."""
    asked, fresh = (Message(b"x", {"CE-ID": "1", "ce-source": "//s"}) for _ in range(2))
    assert asked.event_id == event_id_of("//s", "1")
    assert asked.event_id is asked.event_id
    assert asked == fresh
    assert repr(asked) == repr(fresh)
    assert pickle.loads(pickle.dumps(asked)) == fresh
    assert dataclasses.replace(asked, attributes={}).event_id == event_id_of_data(b"x")


def test_ids_that_the_message_carries_are_taken():
    """The publisher's event_id, and a replayed letter's dedup_id, are not computed again."""
    message = Message(b"x", {"ce-id": "1", "ce-source": "s", "event_id": "E"})
    assert (message.event_id, message.dedup_id) == ("E", "E")
    replayed = Message(b"x", {"event_id": "E", "dedup_id": "E:1"})
    assert (replayed.event_id, replayed.dedup_id) == ("E", "E:1")


@pytest.mark.parametrize("source", ["ce-source", "CE-Source", "Ce-sOURCE"])
@pytest.mark.parametrize("id_", ["ce-id", "CE-ID"])
def test_names_of_attributes_count_in_any_case(source, id_):
    """The CloudEvents binding's names are found however a sender wrote them."""
    message = Message(b"", {source: "//s", id_: "1", "Content-Type": "application/json"})
    assert message.event_id == event_id_of("//s", "1")
    assert message.attribute("content-type") == "application/json"
    assert message.attribute("ce-type") == ""
    assert Message(b"", {"Event_ID": "E", "DEDUP_id": "D"}).dedup_id == "D"


def test_the_exact_name_goes_before_another_case():
    """Where both are there, the lower-case name is the one that counts."""
    assert Message(b"", {"CE-ID": "other", "ce-id": "own"}).attribute("ce-id") == "own"


def test_issue_ids_are_the_first_digits_of_sha_256():
    """`FS-` over the document's full name, `INC-` over a manual issue's event_id."""
    digits = hashlib.sha256(NAME.encode()).hexdigest()[:8].upper()
    assert issue_id_of_document(NAME) == f"FS-{digits}" == "FS-CA875F58"
    event_id = event_id_of("//test/manual", "7")
    digits = hashlib.sha256(event_id.encode()).hexdigest()[:8].upper()
    assert issue_id_of_manual(event_id) == f"INC-{digits}"


@given(st.binary(max_size=300), st.dictionaries(text, text, max_size=10))
def test_the_size_is_never_below_the_serialized_one(data, attributes):
    """What is counted is an upper bound of the protobuf that Pub/Sub measures."""
    actual = PubsubMessage.pb()(data=data, attributes=attributes).ByteSize()
    assert actual <= serialized_size(data, attributes) <= actual + 8 + 8 * len(attributes)


def test_a_message_at_each_limit_has_no_problem():
    """100 attributes, keys of 256 bytes, values of 1,024 and 10,000,000 bytes in all are fine."""
    attributes = {f"{i:03}" + "k" * 253: "v" * 1_024 for i in range(99)} | {"é" * 128: "ü" * 512}
    room = MAX_MESSAGE_BYTES - serialized_size(b"", attributes)
    assert problems(b"x" * room, attributes) == []
    assert problems(b"x" * (room + 1), attributes) == [
        "message: 10000001 bytes, Pub/Sub takes 10000000"
    ]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({str(i): "" for i in range(101)}, "attributes: 101 of them, Pub/Sub takes 100"),
        (
            {"k" * 257: ""},
            f"attribute {'k' * 64!r}: key of 257 bytes, Pub/Sub takes 256",
        ),
        (
            {"é" * 129: ""},
            f"attribute {'é' * 64!r}: key of 258 bytes, Pub/Sub takes 256",
        ),
        ({"k": "v" * 1_025}, "attribute 'k': value of 1025 bytes, Pub/Sub takes 1024"),
        ({"k": "ü" * 513}, "attribute 'k': value of 1026 bytes, Pub/Sub takes 1024"),
        ({"googclient": "v"}, "attribute 'googclient': the prefix 'goog' is Pub/Sub's own"),
        ({"GOOG": "v"}, "attribute 'GOOG': the prefix 'goog' is Pub/Sub's own"),
        ({"": "v"}, "attribute: has an empty key"),
    ],
)
def test_each_broken_limit_is_named(attributes, expected):
    """One problem a limit, with the attribute's name and both figures; bytes, not characters."""
    assert problems(b"x", attributes) == [expected]


def test_every_broken_limit_is_reported_at_once():
    """A message that breaks several limits has a problem for each."""
    found = problems(b"", {"googx": "v" * 2_000, "k" * 300: ""})
    assert len(found) == 3


def test_a_message_of_nothing_is_refused():
    """Pub/Sub takes no message that has neither data nor attributes."""
    assert problems(b"", {}) == ["message: has neither data nor attributes (Pub/Sub refuses it)"]
    assert problems(b"", {"a": ""}) == []
    assert problems(b"x", {}) == []
