"""What each kind of request becomes."""

import base64
import json

import pytest

from publisher.form import read_form
from publisher.head import Head
from publisher.intake import (
    MANUAL_SOURCE,
    Accepted,
    Kind,
    Refused,
    Stamp,
    judge,
    judge_form,
)
from schemas.cloudevents import OLDER_SOURCE
from schemas.message import event_id_of, event_id_of_data, issue_id_of_manual

STAMP = Stamp(new_id=lambda: "an-id", now=lambda: 1_795_514_400_000_001)
JSON = b"application/json"
STRUCTURED = b"application/cloudevents+json"
EVENT = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s"}


def accepted(body, content_type=JSON, *headers):
    return judge([(b"content-type", content_type), *headers], body, STAMP)


def refused(body, content_type=JSON, *headers):
    with pytest.raises(Refused) as error:
        accepted(body, content_type, *headers)
    return error.value.status, error.value.reason


class TestManual:
    BODY = b' {"issue": "Test", "priority":"P1", "n": 1.10, "m": 2}\n'

    def test_message(self):
        """A manual issue is its body byte for byte, as a CloudEvent of ours with an issue id."""
        (message,) = accepted(self.BODY).messages
        event_id = event_id_of(MANUAL_SOURCE, "an-id")
        assert message.data == self.BODY
        assert message.attributes == {
            "ce-specversion": "1.0",
            "ce-id": "an-id",
            "ce-source": "//firestore-to-pubsub/manual",
            "ce-type": "issues.manual.created",
            "ce-time": "2026-11-24T10:00:00.000001Z",
            "content-type": "application/json",
            "event_id": event_id,
            "dedup_id": event_id,
            "issue_id": issue_id_of_manual(event_id),
        }

    def test_answer(self):
        """The answer carries the message's issue id: INC- and eight upper-case hex digits."""
        got = accepted(self.BODY)
        assert got.answer == {
            "issue_id": got.messages[0].attributes["issue_id"],
            "status": "created",
        }
        assert got.answer["issue_id"].startswith("INC-")

    def test_every_call_is_an_issue_of_its_own(self):
        """The same body twice is two issues: ids are random."""
        first, second = (judge([], self.BODY, Stamp()).messages[0] for _ in range(2))
        assert first.event_id != second.event_id
        assert first.data == second.data

    @pytest.mark.parametrize(
        "content_type",
        [JSON, b"application/json; charset=utf-8", b"", b"text/json", b"application/x+json"],
    )
    def test_content_types(self, content_type):
        """JSON by any JSON type, or by none."""
        assert accepted(self.BODY, content_type).answer

    def test_no_content_type(self):
        """A request without the header is JSON."""
        assert judge([], self.BODY, STAMP).answer

    def test_curl(self):
        """Without a header curl says that it sends a form; its JSON is taken as JSON."""
        assert accepted(self.BODY, b"application/x-www-form-urlencoded").answer

    @pytest.mark.parametrize(
        "body", ['{"data": "no base64"}', '{"data": {}}', '{"a": "\\ud800"}', '{"data": null}']
    )
    def test_any_object(self, body):
        """Any other JSON object is a manual issue; what its values may be is the job's to say."""
        assert accepted(body.encode()).messages[0].data == body.encode()

    @pytest.mark.parametrize("body", [b"", b" \n", b"{}", b" { } "])
    def test_empty(self, body):
        """An empty request is told so, in the contract's own words."""
        assert refused(body) == (400, "Empty request")

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"[1]", "not a JSON object"),
            (b'"text"', "not a JSON object"),
            (b"null", "not a JSON object"),
            (b"12", "not a JSON object"),
            (b"issue=Test", "is not JSON: Expecting value at character 0"),
            (b'{"a": NaN}', "NaN is not JSON"),
            (b'{"a": {"n": 1, "n": 2}}', "the key 'n' stands twice in one object"),
            (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
            (b'{"a": 1', "is not JSON"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "More than 500 levels"),
        ],
    )
    def test_no_object(self, body, reason):
        """What is no JSON object is refused with what is wrong."""
        status, told = refused(body)
        assert (status, reason in told) == (400, True), told

    @pytest.mark.parametrize("content_type", [b"text/plain", b"application/xml", b"\xff"])
    def test_wrong_type(self, content_type):
        """Another content type without ce- headers is refused, whatever the body."""
        assert refused(self.BODY, content_type)[0] == 415
        assert refused(b"", content_type)[0] == 415


class TestForm:
    URLENCODED = "application/x-www-form-urlencoded"

    def form(self, body):
        return read_form(self.URLENCODED, body)

    def test_message(self):
        """A form is the manual issue that its JSON object would be, answered alike."""
        got = judge_form(self.form(b"title=Test&labels=a,b"), STAMP)
        assert got == accepted(b'{"title":"Test","labels":["a","b"]}')
        assert got.kind is Kind.ISSUE

    def test_never_the_older_body(self):
        """A form is an issue, also where its JSON would be the older body."""
        got = judge_form(self.form(b"data=CgI%3D"), STAMP)
        assert got.messages[0].data == b'{"data":"CgI="}'
        assert got.answer

    def test_empty(self):
        """A form of empty controls is told what an empty request is told."""
        for body in (b"", b"title=&labels=+,+", b"api_key=k"):
            with pytest.raises(Refused) as error:
                judge_form(self.form(body), STAMP)
            assert (error.value.status, error.value.reason) == (400, "Empty request")

    def test_too_large_for_pubsub(self):
        """A form whose JSON is more than Pub/Sub carries is 413: controls grow when escaped."""
        with pytest.raises(Refused, match="413: message: 12000") as error:
            judge_form(self.form(b"title=a" + b"\x01" * 2_000_000), STAMP)
        assert error.value.status == 413


class TestKind:
    EVENT = (b"ce-id", b"1")

    @pytest.mark.parametrize(
        ("headers", "kind"),
        [
            ([], Kind.JSON),
            ([(b"content-type", b"")], Kind.JSON),
            ([(b"content-type", b"application/json; charset=utf-8")], Kind.JSON),
            ([(b"content-type", b"application/x-www-form-urlencoded")], Kind.FORM),
            ([(b"Content-Type", b"Multipart/Form-Data; boundary=x")], Kind.FORM),
            ([(b"content-type", STRUCTURED + b"; charset=utf-8")], Kind.EVENT),
            ([(b"content-type", b"application/cloudevents-batch+json")], Kind.EVENT),
            ([EVENT], Kind.EVENT),
            ([(b"Ce-X", b"")], Kind.EVENT),
            ([EVENT, (b"content-type", b"text/plain")], Kind.EVENT),
            ([(b"content-type", b"multipart/form-data"), EVENT], Kind.EVENT),
        ],
    )
    def test_by_headers(self, headers, kind):
        """Headers alone say what needs which credentials, before anything is read."""
        assert Head(headers).kind is kind

    def test_wrong_type(self):
        """What can be none of them is refused before its body is read."""
        with pytest.raises(Refused) as error:
            _ = Head([(b"content-type", b"text/csv")]).kind
        assert error.value.status == 415
        assert "'text/csv' is not taken without ce- headers" in error.value.reason

    def test_by_body(self):
        """What was accepted says which it was: an event or an issue."""
        assert accepted(b'{"data": "CgI="}').kind is Kind.EVENT
        assert accepted(b'{"data": "CgI"}').kind is Kind.ISSUE
        assert accepted(b"[]", b"application/cloudevents-batch+json") == Accepted((), None)
        assert accepted(b"", JSON, *TestEvents.HEADERS).kind is Kind.EVENT
        assert accepted(json.dumps(EVENT).encode(), STRUCTURED).kind is Kind.EVENT


class TestEvents:
    HEADERS = (
        (b"ce-specversion", b"1.0"),
        (b"ce-id", b"1"),
        (b"ce-type", b"google.cloud.firestore.document.v1.written"),
        (b"ce-source", b"//firestore.googleapis.com/projects/projects/p/databases/(default)"),
    )

    @pytest.mark.parametrize("content_type", [b"", b"application/protobuf", JSON, b"text/plain"])
    @pytest.mark.parametrize("body", [b"", b"\x0a\x00\xff", b"CgI=", b'{"data": "CgI="}', b"{}"])
    def test_binary(self, content_type, body):
        """Any body of a binary event goes on untouched, under any content type, answered 204."""
        got = accepted(body, content_type, *self.HEADERS)
        assert got.answer is None
        assert [message.data for message in got.messages] == [body]
        assert "issue_id" not in got.messages[0].attributes

    def test_redelivery(self):
        """The same event sent again carries the same event_id."""
        first, second = (accepted(b"x", JSON, *self.HEADERS).messages[0] for _ in range(2))
        assert first == second

    def test_half_an_event(self):
        """Any ce- header says that an event is meant: what is missing is named."""
        status, told = refused(b'{"a": 1}', JSON, (b"Ce-Id", b"1"))
        assert status == 400
        assert told.count("missing") == 3

    def test_structured_wins(self):
        """The content type says structured, whatever headers came besides."""
        body = json.dumps(EVENT | {"data": {"a": 1}}).encode()
        (message,) = accepted(
            body, b"Application/CloudEvents+JSON; charset=UTF-8", *self.HEADERS
        ).messages
        assert message.data == b'{"a": 1}'
        assert message.attributes["ce-source"] == "/s"

    def test_batch(self):
        """A batch is a message an event, in order, answered 204; an empty one is valid."""
        batch = [EVENT | {"data": 1.50}, EVENT | {"id": "2", "data_base64": "AAE="}]
        kind = b"application/cloudevents-batch+json"
        got = accepted(json.dumps(batch).encode(), kind)
        assert [message.data for message in got.messages] == [b"1.5", b"\x00\x01"]
        assert got.answer is None
        assert accepted(b"[]", kind).messages == ()

    def test_bad_batch(self):
        """One bad event refuses the whole batch."""
        batch = [EVENT, EVENT | {"id": ""}]
        status, told = refused(json.dumps(batch).encode(), b"application/cloudevents-batch+json")
        assert (status, told) == (400, "[1].id: is empty")

    def test_too_many_events(self):
        """A batch of more events than Pub/Sub takes at once is 413."""
        batch = json.dumps([EVENT] * 1_001).encode()
        status, told = refused(batch, b"application/cloudevents-batch+json")
        assert (status, told) == (413, "batch: more than 1000 events (send them in several)")

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (json.dumps({"\u00fc" * 64 + str(n): 1 for n in range(900)}).encode(), STRUCTURED),
            (b"{}", b"x" * 100_000),
            (b"{}", "ü€".encode() * 50_000),
        ],
    )
    def test_a_reason_is_short(self, body, kind):
        """Whatever a request makes us quote, a reason ends at two kilobytes and says so."""
        reason = refused(body, kind)[1]
        assert 2_000 < len(reason.encode()) <= 2_048
        assert reason.endswith(" ... and more")

    def test_other_formats(self):
        """A format that we don't read is a binary event with ce- headers, and refused without."""
        kind = b"application/cloudevents+avro"
        assert accepted(b"avro", kind, *self.HEADERS).messages[0].data == b"avro"
        assert refused(b"avro", kind)[0] == 415

    def test_older(self):
        """The older body becomes the event that it wraps."""
        body = json.dumps({"data": base64.b64encode(b"\x0a\x02").decode()}).encode()
        got = accepted(body)
        event_id = event_id_of(OLDER_SOURCE, event_id_of_data(b"\x0a\x02"))
        assert got.answer is None
        assert [message.data for message in got.messages] == [b"\x0a\x02"]
        assert got.messages[0].attributes == {
            "ce-specversion": "1.0",
            "ce-id": event_id_of_data(b"\x0a\x02"),
            "ce-source": OLDER_SOURCE,
            "ce-type": "google.cloud.firestore.document.v1.written",
            "content-type": "application/protobuf",
            "event_id": event_id,
            "dedup_id": event_id,
        }

    def test_too_large_for_pubsub(self):
        """What Pub/Sub could not carry is 413, not 400: the event itself is valid."""
        headers = (*self.HEADERS[:1], (b"ce-id", b"x" * 1025), *self.HEADERS[2:])
        status, told = refused(b"", JSON, *headers)
        assert status == 413
        assert "ce-id" in told

    @pytest.mark.parametrize("changes", [{"time": "noon"}, {"id": 1}, {"source": " "}])
    def test_broken(self, changes):
        """An event that breaks the specification is 400."""
        body = json.dumps(EVENT | changes).encode()
        assert refused(body, b"application/cloudevents+json")[0] == 400
