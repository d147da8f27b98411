"""The same call again is the same issue, with nothing kept of the first."""

import uuid
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.form import read_form
from publisher.idempotence import id_of_call, read_key
from publisher.intake import MANUAL_SOURCE, Refused, Stamp, judge, judge_form
from schemas.message import event_id_of

URLENCODED = "application/x-www-form-urlencoded"
BODY = b'{"title":"Test"}'


def call(*keys, client="", body=BODY, now=0):
    """A call to an instance that has seen no other: nothing but its arguments is shared."""
    headers = [(b"content-type", b"application/json")]
    headers += [(b"Idempotency-Key", key) for key in keys]
    return judge(headers, body, Stamp(now=lambda: now), client)


def refusal(*keys):
    with pytest.raises(Refused) as error:
        call(*keys)
    return error.value.status, error.value.reason


class TestRepeats:
    def test_same_call(self):
        """The same call has the same event_id, issue_id and answer; its time is its own."""
        first, second = call(b"k", now=0), call(b"k", now=1_000_000)
        assert first.answer == second.answer
        (one,), (other,) = first.messages, second.messages
        times = one.attributes["ce-time"], other.attributes["ce-time"]
        assert times == ("1970-01-01T00:00:00.000000Z", "1970-01-01T00:00:01.000000Z")
        assert (one.event_id, one.dedup_id) == (other.event_id, other.dedup_id)
        assert {**one.attributes, "ce-time": ""} == {**other.attributes, "ce-time": ""}
        assert one.data == other.data

    def test_event_id(self):
        """The id is of the call, and the event_id is made of it as of any event's id."""
        (message,) = call(b"k", client="c").messages
        id_ = id_of_call("c", b"k", BODY)
        assert message.attributes["ce-id"] == id_
        assert message.event_id == event_id_of(MANUAL_SOURCE, id_)
        assert uuid.UUID(id_).version == 5

    def test_stays_the_same(self):
        """An id of today is the id of every later version: repeats may come to a new one."""
        assert id_of_call("client", b"key", b"{}") == "385b22cd-2fb2-5dfd-8a7d-94012802b0d2"

    def test_form(self):
        """A form's own key, the header on a form, and the JSON call all name the same issue."""
        form = read_form(URLENCODED, b"title=Test&idempotency_key=k")
        bare = read_form(URLENCODED, b"title=Test")
        expected = call(b"k", client="c").answer
        assert judge_form(form, Stamp(), "c").answer == expected
        assert judge_form(bare, Stamp(), "c", [(b"idempotency-key", b"k")]).answer == expected
        assert judge_form(form, Stamp(), "c", [(b"idempotency-key", b'"k"')]).answer == expected

    def test_multipart(self):
        """A form that a browser sends twice is the same issue, whatever its boundary."""

        def sent(boundary):
            lines = f"--{boundary}", 'Content-Disposition: form-data; name="title"', "", "Test"
            body = "\r\n".join((*lines, f"--{boundary}--", "")).encode()
            form = read_form(f"multipart/form-data; boundary={boundary}", body)
            return judge_form(form, Stamp(), headers=[(b"idempotency-key", b"k")]).answer

        assert sent("one") == sent("two") == call(b"k").answer


class TestOthers:
    def test_without_a_key(self):
        """Without a key every call is an issue of its own."""
        assert call().answer != call().answer
        form = read_form(URLENCODED, b"title=Test&idempotency_key=")
        assert judge_form(form, Stamp()).answer != judge_form(form, Stamp()).answer

    @pytest.mark.parametrize(
        ("key", "changes"),
        [
            (b"k", {"client": "d"}),
            (b"k", {"body": BODY + b" "}),
            (b"K", {}),
        ],
    )
    def test_another_call(self, key, changes):
        """Another client, key or body, in one byte, is another issue."""
        assert call(key, **{"client": "c"} | changes).answer != call(b"k", client="c").answer

    @given(
        calls=st.lists(
            st.tuples(st.text("1:é", max_size=4), st.binary(min_size=1, max_size=4), st.binary()),
            min_size=2,
            max_size=4,
            unique=True,
        )
    )
    def test_never_collide(self, calls):
        """Where one part ends and the next begins is part of the id."""
        ids = [id_of_call(client, key, body) for client, key, body in calls]
        assert len(set(ids)) == len(calls)

    def test_boundaries(self):
        """Bytes that move from one part to the next make another id."""
        parts = [("ab", b"c", b"d"), ("a", b"bc", b"d"), ("a", b"b", b"cd"), ("1:a", b"1:b", b"")]
        assert len({id_of_call(*part) for part in parts}) == len(parts)

    def test_events(self):
        """On events the header is ignored, however wrong: source and id are their key."""
        ids = count()
        stamp = Stamp(new_id=lambda: str(next(ids)))
        key = (b"idempotency-key", b"")
        binary = [(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-type", b"t")]
        binary += [(b"ce-source", b"/s")]
        structured = [(b"content-type", b"application/cloudevents+json")]
        event = b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s"}'
        for headers, body in ((binary, b"x"), (structured, event), ([], b'{"data": "CgI="}')):
            assert judge([*headers, key], body, stamp) == judge(headers, body, stamp)
        assert next(ids) == 0  # no id was made up


class TestKeys:
    @pytest.mark.parametrize(
        ("value", "key"),
        [
            (b"k", b"k"),
            (b" \tk ", b"k"),
            (b'"k"', b"k"),
            (b'"a \\"b\\" \\\\"', b'a "b" \\'),
            (b'" "', b" "),
            (b'"', b'"'),
            (b'"a"b"', b'"a"b"'),
            (b'"a\\b"', b'"a\\b"'),
            (b'"k";p=1', b'"k";p=1'),
            (b"\xff\x00", b"\xff\x00"),
            ("ü".encode(), "ü".encode()),
            (b"x" * 255, b"x" * 255),
        ],
    )
    def test_value(self, value, key):
        """A quoted string and the same bare name one key; all else is opaque bytes."""
        assert read_key([value]) == key

    def test_twice(self):
        """The header twice with one value, however it is written, is one key."""
        assert call(b"k", b'"k"', b"k").answer == call(b"k").answer

    def test_two_that_differ(self):
        """Two keys that differ are 400, in the header, in a form, and between the two."""
        told = (400, "Idempotency-Key: came more than once, with different values")
        assert refusal(b"k", b"l") == told
        form = read_form(URLENCODED, b"title=Test&idempotency_key=l")
        with pytest.raises(Refused) as error:
            judge_form(form, Stamp(), headers=[(b"idempotency-key", b"k")])
        assert (error.value.status, error.value.reason) == told

    @pytest.mark.parametrize(
        ("value", "size"), [(b"", 0), (b'""', 0), (b"  ", 0), (b"x" * 256, 256)]
    )
    def test_length(self, value, size):
        """A key has 1 to 255 bytes."""
        assert refusal(value) == (
            400, f"Idempotency-Key: has {size} bytes, where 1 to 255 are taken"
        )  # fmt: skip
