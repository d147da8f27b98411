"""CloudEvents 1.0.2, rule by rule, from a request to the message on the topic.

Sections are those of the HTTP protocol binding (HTTP), the JSON event format (JSON) and the core
specification (CE), at tag v1.0.2 of https://github.com/cloudevents/spec; values are our own. Rules
of single attributes are in tests/schemas/test_cloudevents.py.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent as LibraryEvent
from cloudevents.http import from_http, to_binary, to_structured
from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.intake import Refused, Stamp, judge
from schemas.document_change import from_event_data
from schemas.event import decode_message
from schemas.message import MANUAL_TYPE, event_id_of
from tests.strategies import document_event

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MODES = ("binary", "structured", "batch")

MINIMAL = {"specversion": "1.0", "id": "e-1", "type": "org.example.seen", "source": "/cams/7"}
FULL = MINIMAL | {
    "time": "2031-02-03T04:05:06.789+02:00",
    "subject": "gate",
    "dataschema": "https://schemas.example/seen",
    "zone": "north",
    "lane": "5",
}


def post(headers, body):
    """The messages of a request; header names and values as text or bytes."""
    raw = [(_bytes(name).lower(), _bytes(value)) for name, value in headers]
    return judge(raw, body, Stamp()).messages


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def request(mode, attributes, body=b"", content_type=None):
    """An event of string attributes as a request in one of the modes."""
    if mode == "binary":
        headers = [(f"ce-{name}", value) for name, value in attributes.items()]
        if content_type:
            headers.append(("content-type", content_type))
        return headers, body
    event: dict[str, Any] = dict(attributes)
    if content_type:
        event["datacontenttype"] = content_type
    if body:
        event["data_base64"] = base64.b64encode(body).decode()
    document = [event] if mode == "batch" else event
    outer = BATCH if mode == "batch" else STRUCTURED
    return [("content-type", outer)], json.dumps(document).encode()


def on_topic(attributes, content_type=None):
    """The attributes of the message that an event becomes."""
    event_id = event_id_of(attributes["source"], attributes["id"])
    expected = {f"ce-{name}": value for name, value in attributes.items()}
    if content_type:
        expected["content-type"] = content_type
    return expected | {"event_id": event_id, "dedup_id": event_id}


def refused(headers, body=b""):
    with pytest.raises(Refused) as error:
        post(headers, body)
    return error.value.status, error.value.reason


class TestModes:
    """HTTP 3: which mode a request is in, and that all three carry the same event."""

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("attributes", [MINIMAL, FULL], ids=["minimal", "full"])
    @pytest.mark.parametrize("content_type", [None, "image/png", "application/json"])
    def test_every_mode_carries_the_same(self, mode, attributes, content_type):
        """One event is one message, whatever mode it came in."""
        (message,) = post(*request(mode, attributes, b"\x89\x00\xff", content_type))
        assert message.data == b"\x89\x00\xff"
        assert message.attributes == on_topic(attributes, content_type)

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/cloudevents+json",
            "Application/CloudEvents+JSON",
            "application/cloudevents+json; charset=utf-8",
            'application/cloudevents+json;charset="UTF-8"',
            " application/cloudevents+json ;x=y",
        ],
    )
    def test_structured_by_its_type(self, content_type):
        """The media type tells, in any case and with any parameters."""
        _, body = request("structured", MINIMAL)
        assert post([("content-type", content_type)], body)[0].attributes == on_topic(MINIMAL)
        batch = content_type.lower().replace("+json", "-batch+json")
        assert post([("content-type", batch)], b"[" + body + b"]") == post(
            [("content-type", content_type)], body
        )

    def test_headers_beside_structured(self):
        """HTTP 3.2.3: headers may repeat the attributes; the body is what counts."""
        headers, body = request("structured", MINIMAL | {"id": "in the body"})
        beside, _ = request("binary", MINIMAL | {"id": "in-a-header", "other": "x"})
        (message,) = post([*headers, *beside], body)
        assert message.attributes == on_topic(MINIMAL | {"id": "in the body"})

    @pytest.mark.parametrize(
        "content_type", ["application/cloudevents+avro", "application/cloudevents+protobuf"]
    )
    def test_another_format_is_forwarded(self, content_type):
        """HTTP 3: a format that is not read goes on as a binary event, if its headers say so."""
        (message,) = post(*request("binary", MINIMAL, b"\x02\x04", content_type))
        assert message.data == b"\x02\x04"
        assert message.attributes == on_topic(MINIMAL, content_type)
        assert refused([("content-type", content_type)], b"\x02\x04")[0] == 415

    def test_other_headers_stay_behind(self):
        """Headers that are no attributes are no part of the event."""
        headers, body = request("binary", MINIMAL)
        beside = [("host", "x"), ("user-agent", "x"), ("cex", "x"), ("x-ce-id", "x")]
        assert post([*headers, *beside], body) == post(headers, body)

    @pytest.mark.parametrize("mode", MODES)
    def test_size(self, mode):
        """CE, Size Limits: an intermediary forwards events of 64 KByte, whatever is large."""
        data = bytes(range(256)) * 250
        (message,) = post(*request(mode, FULL, data, "application/octet-stream"))
        assert message.data == data


class TestRequired:
    """CE, REQUIRED Attributes: without one of them there is no event, in any mode."""

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("name", list(MINIMAL))
    @pytest.mark.parametrize("change", ["missing", "empty"])
    def test_each(self, mode, name, change):
        """A required attribute that is missing or empty is refused, and it alone is named."""
        attributes = FULL | {name: ""}
        if change == "missing":
            del attributes[name]
        where = {"binary": "ce-", "structured": "", "batch": "[0]."}[mode] + name
        status, told = refused(*request(mode, attributes, b"x"))
        what = "is empty" if change == "empty" else "missing (CloudEvents 1.0.2 requires it)"
        assert (status, told) == (400, f"{where}: {what}")

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("name", ["subject", "dataschema", "time"])
    def test_optional_ones_are_not_empty(self, mode, name):
        """CE, OPTIONAL Attributes: one that is there says something."""
        assert refused(*request(mode, MINIMAL | {name: ""}))[0] == 400

    def test_source_and_id_are_the_identity(self):
        """CE, id: events of the same source and id are the same, all others are others."""

        def event_id(**changes):
            return post(*request("binary", MINIMAL | changes))[0].event_id

        assert event_id() == event_id(
            type="another", subject="another", time="2031-01-01T00:00:00Z"
        )
        others = {event_id(), event_id(id="e-2"), event_id(source="/cams/8")}
        assert len(others | {event_id(source="/cams/7e-", id="1")}) == 4


# HTTP 3.1.3.2: header values as they come, and the attribute that they are; None is refused.
HEADER_VALUES = [
    (b"plain", "plain"),
    (b"!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    (b"caf%C3%A9", "café"),
    (b"caf%c3%a9", "café"),
    (b"caf%c3%A9", "café"),
    (b"%E6%9D%B1%20%F0%9F%9A%80", "東 🚀"),
    (b"%22quoted%22", '"quoted"'),
    (b"50%25", "50%"),
    (b"%2550", "%50"),
    (b"%61%62c", "abc"),
    (b"a b", "a b"),
    (b"\t a \t", "a"),
    (b'"a b"', "a b"),
    (b'"a \\"b\\" \\\\ \\c"', 'a "b" \\ c'),
    (b'"caf%C3%A9 %25"', "café %"),
    (b'a "b"', 'a "b"'),
    (b"(no comment)", "(no comment)"),
    ("café".encode(), "café"),
    ("東 🚀".encode(), "東 🚀"),
    ("é%C3%A9".encode(), "éé"),
    (b"%C0%A0", None),
    (b"%ED%A0%80", None),
    (b"%F4%90%80%80", None),
    (b"%C3", None),
    (b"%C3 %A9", None),
    (b"caf\xe9", None),
    (b"%0A", None),
    (b"%7F", None),
    (b"%C2%85", None),
    (b"%EF%BF%BE", None),
    (b"%F0%9F%BF%BF", None),
]


class TestHeaderValues:
    @pytest.mark.parametrize("name", ["id", "type", "subject", "zone"])
    @pytest.mark.parametrize(("raw", "value"), HEADER_VALUES)
    def test_decoding(self, name, raw, value):
        """Out of quotes, then one round of percent-decoding; broken UTF-8 is refused."""
        headers, _ = request("binary", {k: v for k, v in MINIMAL.items() if k != name})
        headers.append((f"ce-{name}", raw))
        if value is None:
            status, told = refused(headers)
            assert (status, told.partition(":")[0]) == (400, f"ce-{name}")
        else:
            assert post(headers, b"")[0].attributes == on_topic(MINIMAL | {name: value})

    @settings(max_examples=50)
    @given(
        value=st.text(
            st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=20
        ).filter(lambda text: text.strip(" ") == text)
    )
    def test_encoded_as_the_binding_says(self, value):
        """Any string arrives, encoded as the binding has it, all of it encoded, or raw."""
        raw = value.encode()
        every = "".join(f"%{byte:02x}" for byte in raw)
        needed = "".join(
            c if "!" <= c <= "~" and c not in '"%' else "".join(f"%{b:02X}" for b in c.encode())
            for c in value
        )
        forms = [every, needed] if any(c in value for c in '"%') else [every, needed, raw]
        for form in forms:
            (message,) = post([*request("binary", MINIMAL)[0], ("ce-subject", form)], b"")
            assert message.attributes == on_topic(MINIMAL | {"subject": value})

    def test_names_are_of_any_case(self):
        """HTTP 3.1.3.1: header names are case-insensitive, attribute names lower-case."""
        headers = [(f"CE-{name.title()}".encode(), value) for name, value in FULL.items()]
        raw = [(name, value.encode()) for name, value in headers]
        (message,) = judge(raw, b"", Stamp()).messages
        assert message.attributes == on_topic(FULL)

    def test_content_type(self):
        """HTTP 3.1.1: Content-Type is `datacontenttype`, and goes on as it came."""
        for content_type in ("application/json; charset=utf-8", 'multipart/mixed; boundary="a b"'):
            (message,) = post(*request("binary", MINIMAL, b"x", content_type))
            assert message.attributes == on_topic(MINIMAL, content_type)

    @pytest.mark.parametrize(
        "name", ["my-extension", "my_extension", "my.extension", "data", "", "é"]
    )
    def test_attribute_names(self, name):
        """CE, Attribute Naming Convention: lower-case letters and digits only."""
        status, told = refused([*request("binary", MINIMAL)[0], (f"ce-{name}", "x")])
        assert (status, "is no attribute name" in told) == (400, True)


@dataclass(frozen=True)
class Example:
    """One of the kinds of example in JSON 3.2: an event, and what binary mode makes of it."""

    members: dict[str, Any]
    data: bytes
    content_type: str | None
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def document(self):
        return MINIMAL | {"time": "2031-02-03T04:05:06Z"} | self.members

    @property
    def expected(self):
        attributes = MINIMAL | {"time": "2031-02-03T04:05:06Z"} | self.attributes
        return on_topic(attributes, self.content_type)


EXAMPLES = {
    "binary data": Example(
        {"datacontenttype": "application/x-thrift", "data_base64": "AP+A"}, b"\x00\xff\x80",
        "application/x-thrift",
    ),
    "binary data without a type": Example(
        {"data_base64": "eyJhIjoxfQ=="}, b'{"a":1}', None
    ),
    "text": Example(
        {"datacontenttype": "application/xml", "data": '<é a="1"/>'}, '<é a="1"/>'.encode(),
        "application/xml",
    ),
    "text in another charset": Example(
        {"datacontenttype": "text/plain; charset=latin-1", "data": "é"}, "é".encode(),
        "text/plain; charset=latin-1",
    ),
    "JSON object": Example(
        {"datacontenttype": "application/json", "data": {"a": [1, True, None]}},
        b'{"a": [1, true, null]}', "application/json",
    ),
    "JSON of another subtype": Example(
        {"datacontenttype": "application/geo+json", "data": {"a": 1}}, b'{"a": 1}',
        "application/geo+json",
    ),
    "JSON number": Example(
        {"datacontenttype": "application/json", "data": 2.5}, b"2.5", "application/json"
    ),
    "JSON string without a type": Example({"data": "a string"}, b'"a string"', "application/json"),
    "JSON in a string": Example({"data": '{"a": 1}'}, rb'"{\"a\": 1}"', "application/json"),
    "JSON null": Example({"data": None}, b"null", "application/json"),
    "no data": Example({}, b"", None),
    "no data, with a type": Example({"datacontenttype": "text/csv"}, b"", "text/csv"),
    "attributes that are null": Example(
        {"subject": None, "zone": None, "datacontenttype": None, "dataschema": None}, b"", None
    ),
    "extensions of each type": Example(
        {"zone": "north", "lane": 5, "open": True, "shut": False, "low": -2147483648,
         "raw": "AP8="},
        b"", None,
        {"zone": "north", "lane": "5", "open": "true", "shut": "false", "low": "-2147483648",
         "raw": "AP8="},
    ),
    "an extension of twenty letters": Example(
        {"comexampleextension9": "x"}, b"", None, {"comexampleextension9": "x"}
    ),
}  # fmt: skip


class TestJsonFormat:
    """JSON 3 and 4: an event in the body is the event that it would be in headers."""

    @pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
    def test_example(self, example):
        """Structured, batched, and encoded again in binary mode: the same message."""
        body = json.dumps(example.document, ensure_ascii=False).encode()
        (message,) = post([("content-type", STRUCTURED)], body)
        assert message.data == example.data
        assert message.attributes == example.expected
        assert post([("content-type", BATCH)], b"[" + body + b"]") == (message,)
        again = MINIMAL | {"time": "2031-02-03T04:05:06Z"} | example.attributes
        assert post(*request("binary", again, example.data, example.content_type)) == (message,)

    @pytest.mark.parametrize(
        "members",
        [
            {"data": "x", "data_base64": "AA=="},
            {"data_base64": "no base64"},
            {"datacontenttype": "application/xml", "data": {"a": 1}},
            {"lane": 1.5},
            {"lane": 2147483648},
            {"lane": [1]},
            {"lane": {"a": 1}},
            {"Zone": "x"},
            {"id": 1},
            {"time": 1927000000},
        ],
    )
    def test_broken(self, members):
        """An event that breaks the format is refused, alone and in a batch."""
        body = json.dumps(MINIMAL | members).encode()
        assert refused([("content-type", STRUCTURED)], body)[0] == 400
        batch = json.dumps([MINIMAL, MINIMAL | members]).encode()
        status, told = refused([("content-type", BATCH)], batch)
        assert (status, told[:4]) == (400, "[1].")

    def test_batch(self):
        """JSON 4: a batch is an array, of events of any kinds of data, in order; empty is valid."""
        documents = [
            example.document | {"id": f"e-{n}"} for n, example in enumerate(EXAMPLES.values())
        ]
        messages = post([("content-type", BATCH)], json.dumps(documents).encode())
        assert [message.attributes["ce-id"] for message in messages] == [
            document["id"] for document in documents
        ]
        singles = [post([("content-type", STRUCTURED)], json.dumps(d).encode()) for d in documents]
        assert [(message,) for message in messages] == singles
        assert post([("content-type", BATCH)], b" [\n] ") == ()

    def test_a_batch_is_no_event(self):
        """Neither is taken for the other."""
        event = json.dumps(MINIMAL).encode()
        assert refused([("content-type", STRUCTURED)], b"[" + event + b"]")[0] == 400
        assert refused([("content-type", BATCH)], event)[0] == 400

    def test_many_extensions(self):
        """CE: any number of extensions; beyond Pub/Sub's hundred attributes it is 413."""
        members = {f"x{n}": "v" for n in range(94)}
        (message,) = post(*request("structured", MINIMAL | members))
        assert message.attributes == on_topic(MINIMAL | members)
        status, told = refused(*request("structured", MINIMAL | members | {"one": "more"}))
        assert (status, told) == (413, "attributes: 101 of them, Pub/Sub takes 100")


CHANGE = document_event(
    {"title": {"string_value": "Tür"}, "n": {"integer_value": 7}},
    {"n": {"integer_value": 6}},
    mask=("title", "n"),
)
PROTOBUF = CHANGE.SerializeToString(deterministic=True)
CHANGE_JSON = from_event_data(CHANGE).to_json()
WRITTEN = {
    "specversion": "1.0",
    "id": "f-1",
    "source": "//firestore.googleapis.com/projects/p/databases/(default)",
    "type": "google.cloud.firestore.document.v1.written",
    "time": "2031-02-03T04:05:06Z",
}


class TestFirestore:
    """What Eventarc, the emulator and the older function send of one change is one event."""

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (PROTOBUF, "application/protobuf"),
            (base64.b64encode(PROTOBUF), "application/protobuf"),
            (PROTOBUF, ""),
            (CHANGE_JSON, "application/json"),
            (CHANGE_JSON, "application/json; charset=utf-8"),
        ],
    )
    @pytest.mark.parametrize("mode", MODES)
    def test_payloads(self, mode, body, content_type):
        """Protobuf, protobuf in base64 and JSON go on untouched, and decode to the same."""
        (message,) = post(*request(mode, WRITTEN, body, content_type))
        assert message.data == body
        event = decode_message(message)
        assert event.fields == {"title": "Tür", "n": 7}
        assert event.old_fields == {"n": 6}
        assert sorted(event.changed_fields) == ["n", "title"]
        assert (event.operation, event.event_id) == (
            "UPDATE",
            event_id_of(WRITTEN["source"], "f-1"),
        )

    def test_json_data(self):
        """Structured JSON, whose `data` is the document event itself, decodes to the same."""
        document = WRITTEN | {"data": json.loads(CHANGE_JSON)}
        (message,) = post([("content-type", STRUCTURED)], json.dumps(document).encode())
        assert decode_message(message).fields == {"title": "Tür", "n": 7}

    def test_older_body(self):
        """The older body has no identity: the same bytes are the same event, with that content."""
        body = json.dumps({"data": base64.b64encode(PROTOBUF).decode()}).encode()
        first, second = (post([("content-type", "application/json")], body)[0] for _ in range(2))
        assert first == second
        event = decode_message(first)
        assert (event.fields, event.operation) == ({"title": "Tür", "n": 7}, "UPDATE")

    @pytest.mark.parametrize("path", ["issues/Tür 50%", "issues/東", 'issues/"a"', "issues/%41"])
    def test_names_in_headers(self, path):
        """Eventarc percent-encodes a document's name, the emulator sends raw UTF-8."""
        encoded = "".join(f"%{byte:02X}" for byte in path.encode())
        headers, _ = request("binary", WRITTEN)
        told = [("ce-subject", f"documents/{encoded}"), ("ce-document", encoded)]
        (message,) = post([*headers, *told], PROTOBUF)
        expected = {"subject": f"documents/{path}", "document": path}
        assert message.attributes == on_topic(WRITTEN | expected)
        if "%" not in path or path.endswith("%"):
            told = [("ce-subject", f"documents/{path}"), ("ce-document", path)]
            assert post([*headers, *told], PROTOBUF) == (message,)

    def test_manual_type(self):
        """An event of the manual issues' type is an event: its id and time are its sender's."""
        attributes = WRITTEN | {"type": MANUAL_TYPE}
        (message,) = post(*request("binary", attributes, b'{"a": 1}', "application/json"))
        assert message.attributes == on_topic(attributes, "application/json")
        assert decode_message(message).fields == {"a": 1}


# Where the library (cloudevents 1.12) is no judge: what it takes that the specification refuses.
INVALID = {
    "empty id": {"id": ""},
    "empty type": {"type": ""},
    "empty subject": {"subject": ""},
    "time that is none": {"time": "noon"},
    "time without an offset": {"time": "2031-02-03T04:05:06"},
    "source that is no URI": {"source": "a b"},
    "relative dataschema": {"dataschema": "/relative"},
    "control character": {"subject": "a\tb"},
    "name with a hyphen": {"my-ext": "x"},
    "name with an underscore": {"my_ext": "x"},
    "number as an id": {"id": 1},
    "fraction": {"ext": 1.5},
    "object": {"ext": {"a": 1}},
    "data twice": {"data": 1, "data_base64": "AA=="},
    "no JSON and no string": {"datacontenttype": "text/plain", "data": {"a": 1}},
    "specversion 2.0": {"specversion": "2.0"},
    "no id": {"id": None},
}
LIBRARY_REFUSES = {"specversion 2.0", "no id"}
# What it reads otherwise than JSON 2.2 and 3.1.2 say. Beside these it leaves percent-encoded and
# quoted header values as they came, makes up a time where there is none, and writes a text of
# text/plain with quotes in binary mode.
LIBRARY_MISREADS = {
    "binary data without a type": "parses it as JSON",
    "attributes that are null": "keeps an extension that is null",
}


class TestLibrary:
    """Cross-checks with the CloudEvents SDK for Python, where it keeps to the specification."""

    @pytest.mark.parametrize(
        "data", [b"\x00\xff", b"", {"a": [1, None]}], ids=["bytes", "none", "JSON"]
    )
    def test_what_it_sends(self, data):
        """What it writes, in both modes, is read as what it was given."""
        kind = "application/json" if isinstance(data, dict) else "image/png"
        event = LibraryEvent(FULL | {"datacontenttype": kind}, data)
        expected = json.dumps(data).encode() if isinstance(data, dict) else data
        for written in (to_binary(event), to_structured(event)):
            headers, body = written
            (message,) = post(headers.items(), body)
            assert message.data == expected
            assert message.attributes == on_topic(FULL, kind)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_what_it_reads(self, name):
        """What is valid it reads as we do, but for what is listed."""
        example = EXAMPLES[name]
        body = json.dumps(example.document).encode()
        read = from_http({"content-type": STRUCTURED}, body)
        (message,) = post([("content-type", STRUCTURED)], body)
        ours = {
            name.removeprefix("ce-"): value
            for name, value in message.attributes.items()
            if name.startswith("ce-")
        }
        theirs = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in read.get_attributes().items()
            if name != "datacontenttype"
        }
        data = message.data
        if example.content_type and "json" in example.content_type:
            same = read.data == json.loads(data)
        else:
            same = (read.data or b"") in (data, data.decode("utf-8", "replace"))
        assert (theirs == ours and same) is (name not in LIBRARY_MISREADS)

    @pytest.mark.parametrize("name", INVALID)
    def test_what_it_takes(self, name):
        """What is invalid we refuse; the library refuses only what is listed."""
        document = {k: v for k, v in (MINIMAL | INVALID[name]).items() if v is not None}
        body = json.dumps(document).encode()
        assert refused([("content-type", STRUCTURED)], body)[0] == 400
        try:
            from_http({"content-type": STRUCTURED}, body)
        except (GenericException, ValueError):
            assert name in LIBRARY_REFUSES
        else:
            assert name not in LIBRARY_REFUSES
