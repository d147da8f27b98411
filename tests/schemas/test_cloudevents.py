"""CloudEvents over HTTP: the specification's rules, case by case."""

import base64
import json
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import (
    OLDER_SOURCE,
    OLDER_TYPE,
    CloudEvent,
    MessageTooLarge,
    from_batch,
    from_binary,
    from_older,
    from_structured,
    is_json_type,
    manual_message,
    media_type,
    to_message,
)
from schemas.json_text import MAX_JSON_DEPTH, MAX_MEMBERS, NUMBER, TooMuch, parse_json
from schemas.message import (
    ISSUE_ID,
    MANUAL_TYPE,
    Message,
    event_id_of,
    event_id_of_data,
    issue_id_of_manual,
)
from schemas.problem import ProblemsFound

MINIMAL = {
    "specversion": "1.0",
    "id": "minimal",
    "type": "io.cloudevents.test",
    "source": "https://cloudevents.io",
}
MINIMAL_HEADERS = {
    b"ce-specversion": b"1.0",
    b"ce-id": b"1",
    b"ce-type": b"test",
    b"ce-source": b"/test",
}
FIRESTORE_HEADERS = MINIMAL_HEADERS | {
    b"ce-type": b"google.cloud.firestore.document.v1.written",
    b"ce-source": b"//firestore.googleapis.com/projects/projects/p/databases/(default)",
    b"ce-time": b"2026-11-24T10:00:00Z",
    b"content-type": b"application/protobuf",
}


def structured(changes=None, /, **more):
    """The minimal event with changes, read."""
    return from_structured(json.dumps(MINIMAL | (changes or {}) | more).encode())


def binary(changes=None, body=b"", base=MINIMAL_HEADERS):
    """The minimal binary event with other headers, read; a None takes a header out."""
    headers = {k: v for k, v in (base | (changes or {})).items() if v is not None}
    return from_binary(headers.items(), body)


def peak_bytes(call, *args):
    """What a call allocates at its highest, beside what was there before."""
    tracemalloc.start()
    try:
        call(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def problems_of(call, *args, **kwargs):
    with pytest.raises(ProblemsFound) as found:
        call(*args, **kwargs)
    return {problem.where: problem.what for problem in found.value.problems}


class TestStructured:
    def test_minimal(self):
        """The four required attributes make an event; nothing else is invented."""
        assert structured() == CloudEvent(
            id="minimal", type="io.cloudevents.test", source="https://cloudevents.io"
        )

    def test_null_is_absent(self):
        """An explicit null is an attribute not set, for core attributes and extensions."""
        nulls = dict.fromkeys(
            ["datacontenttype", "dataschema", "subject", "time", "ext", "data_base64"]
        )
        assert structured(nulls) == structured()

    def test_all_core_attributes(self):
        """Every core attribute is kept as it came."""
        event = structured(
            datacontenttype="text/plain",
            dataschema="https://cloudevents.io/dataschema",
            subject="tests",
            time="2018-04-05T17:31:00Z",
        )
        assert event.datacontenttype == "text/plain"
        assert event.dataschema == "https://cloudevents.io/dataschema"
        assert event.subject == "tests"
        assert event.time == "2018-04-05T17:31:00Z"

    def test_extension_types(self):
        """Extensions of every JSON type come in their canonical string encoding."""
        event = structured(
            extinteger=-2147483648, extboolean=True, extstring="", extbinary="TWE=", extnull=None
        )
        assert event.extensions == {
            "extinteger": "-2147483648",
            "extboolean": "true",
            "extstring": "",
            "extbinary": "TWE=",
        }

    @pytest.mark.parametrize(
        "time",
        [
            "2018-04-05T17:31:00.000000000Z",
            "2018-04-05T18:31:00+01:00",
            "2018-04-05T16:31:00-01:00",
            "1990-12-31T23:59:60Z",
            "2018-04-05t17:31:00.5z",
        ],
    )
    def test_valid_times(self, time):
        """What RFC 3339 allows is taken, and goes on unchanged."""
        assert to_message(structured(time=time)).attributes["ce-time"] == time

    @pytest.mark.parametrize(
        "source",
        [
            "#fragment",
            "/cloudevents/spec/pull/123",
            "1-555-123-4567",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "//firestore.googleapis.com/projects/projects/p/databases/(default)",
            "https://user:word@[::1]:8080/a%20b?q=/?#f",
            "?only=query",
        ],
    )
    def test_valid_sources(self, source):
        """Every form of RFC 3986's URI-reference is a source."""
        assert structured(source=source).source == source

    @pytest.mark.parametrize(
        ("changes", "where"),
        [
            ({"specversion": None}, "specversion"),
            ({"id": None}, "id"),
            ({"type": None}, "type"),
            ({"source": None}, "source"),
            ({"specversion": ""}, "specversion"),
            ({"specversion": "0.9"}, "specversion"),
            ({"specversion": "1.0.2"}, "specversion"),
            ({"specversion": 1.0}, "specversion"),
            ({"id": ""}, "id"),
            ({"id": 25}, "id"),
            ({"id": {"xyz": "abc"}}, "id"),
            ({"id": "a\nb"}, "id"),
            ({"id": "a\x85b"}, "id"),
            ({"id": "a\ufffeb"}, "id"),
            ({"id": "a\U0001ffffb"}, "id"),
            ({"id": "a\ud800b"}, "id"),
            ({"type": ""}, "type"),
            ({"type": True}, "type"),
            ({"source": ""}, "source"),
            ({"source": "a b"}, "source"),
            ({"source": "/ü"}, "source"),
            ({"source": "%zz"}, "source"),
            ({"source": "1a:b"}, "source"),
            ({"time": "lunchtime"}, "time"),
            ({"time": ""}, "time"),
            ({"time": 1700000000}, "time"),
            ({"time": "2018-04-05T18:31Z"}, "time"),
            ({"time": "2018-04-05T18:31:00X"}, "time"),
            ({"time": "2018-04-05T18:31:00+25:00"}, "time"),
            ({"time": "2018-04-05T18:31:00+xx:00"}, "time"),
            ({"time": "2018-04-05T18:31:00+05"}, "time"),
            ({"time": "2018-04-05 18:31:00Z"}, "time"),
            ({"time": "2018-02-30T18:31:00Z"}, "time"),
            ({"datacontenttype": "xyz"}, "datacontenttype"),
            ({"datacontenttype": ""}, "datacontenttype"),
            ({"datacontenttype": "text/plain; ; ;  " + ";  " * 300}, "datacontenttype"),
            ({"dataschema": ""}, "dataschema"),
            ({"dataschema": "/relative"}, "dataschema"),
            ({"subject": ""}, "subject"),
            ({"subject": 5}, "subject"),
            ({"MyExtension": "bad"}, "MyExtension"),
            ({"My": None}, "My"),
            ({"my.extension": "bad"}, "my.extension"),
            ({"my_extension": "bad"}, "my_extension"),
            ({"": "bad"}, ""),
            ({"\ud800": "bad"}, r"'\ud800'"),
            ({"ext": 1.5}, "ext"),
            ({"ext": 2147483648}, "ext"),
            ({"ext": -2147483649}, "ext"),
            ({"ext": [1]}, "ext"),
            ({"ext": {"a": 1}}, "ext"),
            ({"ext": "tab\t"}, "ext"),
            ({"data": "text", "data_base64": "eyAieHl6IjogMTIzIH0="}, "data"),
            ({"data_base64": "not base64"}, "data"),
            ({"data_base64": "TWE"}, "data"),
            ({"data_base64": 5}, "data"),
            ({"datacontenttype": "text/plain", "data": 5}, "data"),
            ({"datacontenttype": "text/plain", "data": {"a": 1}}, "data"),
            ({"datacontenttype": "text/plain", "data": "\ud800"}, "data"),
        ],
    )
    def test_invalid(self, changes, where):
        """What breaks a rule of the specification is refused, and that place alone is named."""
        assert list(problems_of(structured, changes)) == [where]

    @pytest.mark.parametrize("literal", ["-2147483648", "2147483647", "0", "-0"])
    def test_integer_extensions_are_read(self, literal):
        """An extension's integer is read from its own text, to the bounds of 32 bits."""
        body = json.dumps(MINIMAL)[:-1] + f', "ext": {literal}, "data": [1, 2.5]}}'
        assert from_structured(body.encode()).extensions == {"ext": str(int(literal))}

    @pytest.mark.parametrize("literal", ["1.0", "1e3", "9" * 5000])
    def test_integer_extensions_have_no_fraction(self, literal):
        """An extension's number is a 32-bit integer and nothing else, however it is written."""
        body = json.dumps(MINIMAL)[:-1] + f', "ext": {literal}}}'
        assert list(problems_of(from_structured, body.encode())) == ["ext"]

    def test_every_problem_at_once(self):
        """A sender is told all that is wrong in one answer, each with its place."""
        found = problems_of(structured, id=5, source=None, time="noon", Bad="x", data_base64="?")
        assert set(found) == {"id", "source", "time", "Bad", "data"}

    def test_no_more_than_twenty_problems(self):
        """Of many problems the first twenty are told, and that there are more."""
        found = problems_of(structured, {f"Bad{n}": "x" for n in range(500)})
        assert [*found] == [f"Bad{n}" for n in range(20)] + ["and more"]
        found = problems_of(structured, {f"Bad{n}": "x" for n in range(20)})
        assert [*found] == [f"Bad{n}" for n in range(20)]

    def test_too_many_members(self):
        """An event of more members than any message could carry is read no further."""
        nulls = {f"x{n}": None for n in range(MAX_MEMBERS - len(MINIMAL))}
        assert structured(nulls) == structured()
        with pytest.raises(TooMuch, match="more than 1000 members"):
            structured(nulls, one=None)
        body = b"{" + b",".join(b'"X%d":1' % n for n in range(100_000)) + b"}"
        assert peak_bytes(pytest.raises, TooMuch, from_structured, body) < 3 * len(body)

    @pytest.mark.parametrize(
        "changes",
        [
            {"subject": ""},
            {"dataschema": "", "time": ""},
            {"dataschema": "/relative", "datacontenttype": "xyz"},
            {"subject": 5, "authid": "tab\t", "document": {"a": 1}, "n": 1.5},
            {"MyExtension": "x", "my_extension": "x", "authid": "\ud800"},
        ],
    )
    def test_firestore_hints_never_lose_an_event(self, changes):
        """Whatever is wrong beside a Firestore event's identity and time is left out."""
        firestore = {"type": OLDER_TYPE, "location": "eur3", "data_base64": "AAE="}
        assert structured(firestore | changes) == structured(firestore)
        assert problems_of(structured, changes)

    @pytest.mark.parametrize(
        ("changes", "where"),
        [
            ({"id": ""}, "id"),
            ({"source": "a b"}, "source"),
            ({"specversion": "0.3"}, "specversion"),
            ({"type": OLDER_TYPE + "\n"}, "type"),
            ({"time": "noon"}, "time"),
            ({"time": 5}, "time"),
            ({"data_base64": "?"}, "data"),
        ],
    )
    def test_firestore_identity_is_still_judged(self, changes, where):
        """The leniency ends at id, source, type, specversion, a time that is none, and data."""
        firestore = {"type": OLDER_TYPE, "subject": ""}
        assert list(problems_of(structured, firestore | changes)) == [where]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "Expecting value at character 0"),
            (b'{"id": "1"', "Expecting ',' or '}'"),
            (b'{"id" "1"}', "Expecting ':'"),
            (b"{id: 1}", "Expecting a name"),
            (b'{"id": "1",}', "Expecting a name"),
            (b'{"id": "1"} x', "Extra data"),
            (b'{"id": "1", "id": "2"}', "'id' came twice"),
            (b'{"data": NaN}', "NaN is not JSON"),
            (b'{"data": [-Infinity]}', "-Infinity is not JSON"),
            (b'{"data": "\x01"}', "Invalid control character"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b'{"id": "\xff"}', "not UTF-8 at byte 8"),
            (b"[]", "not a JSON object"),
            (b'"text"', "not a JSON object"),
            (b'{"data": ' + b"[" * 501 + b"]" * 501 + b"}", "More than 500 levels"),
            (b'{"data": ' + b"[" * 100_000, "Nested too deeply"),
        ],
    )
    def test_no_json_object(self, body, reason):
        """A body that is no JSON object is refused with the place."""
        assert reason in problems_of(from_structured, body)["body"]


class TestStructuredData:
    @pytest.mark.parametrize(
        "text",
        [
            '{"a" : 1.10e5,  "n":12345678901234567890123.4500}',
            '{"twice": 1, "twice": 2}',
            '"a string \\u00e9 \\ud800"',
            "1E400",
            "-0",
            "true",
            "null",
            "[]",
            "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH,
        ],
    )
    def test_json_is_kept_byte_for_byte(self, text):
        """JSON data goes on as its very text, and its content type is written out."""
        event = from_structured((json.dumps(MINIMAL)[:-1] + f', "data" : {text} }}').encode())
        assert event.data == text.encode()
        assert event.datacontenttype == "application/json"

    def test_json_subtype(self):
        """A `+json` type is JSON: a string in it keeps its quotes."""
        event = structured(datacontenttype="application/x+json; charset=utf-8", data="é")
        assert event.data == b'"\\u00e9"'
        assert event.datacontenttype == "application/x+json; charset=utf-8"

    def test_text(self):
        """A string under a type that is not JSON becomes UTF-8, without quotes."""
        assert structured(datacontenttype="application/xml", data="<é/>").data == "<é/>".encode()

    def test_base64(self):
        """`data_base64` is decoded, and no content type is made up for it."""
        raw = bytes(range(256))
        event = structured(data_base64=base64.b64encode(raw).decode(), data=None)
        assert event.data == raw
        assert event.datacontenttype == ""

    def test_null_of_another_type(self):
        """A null under a type that is not JSON is no data."""
        assert structured(datacontenttype="text/plain", data=None).data == b""


class TestBatch:
    def test_events_keep_their_order(self):
        """A batch is its events in order, equal ones too."""
        body = json.dumps([MINIMAL, MINIMAL | {"data": [1.50]}, MINIMAL]).encode()
        events = from_batch(b" " + body + b"\n")
        assert events == [structured(), structured(data=[1.50]), structured()]

    def test_empty(self):
        """A batch may be empty."""
        assert from_batch(b" [ ] ") == []

    @pytest.mark.parametrize(
        ("batch", "where"),
        [
            ([MINIMAL, MINIMAL | {"specversion": "0.9"}], "[1].specversion"),
            ([MINIMAL | {"id": ""}], "[0].id"),
            (["not an object", MINIMAL], "[0]"),
            ([[MINIMAL]], "[0]"),
        ],
    )
    def test_one_bad_event_refuses_all(self, batch, where):
        """One bad event refuses the batch, with the event's index."""
        assert list(problems_of(from_batch, json.dumps(batch).encode())) == [where]

    def test_no_more_than_twenty_problems(self):
        """A batch of bad events is read until twenty problems are known, in bounded memory."""
        body = b"[" + b"{}," * 100_000 + b"{}]"
        found = problems_of(from_batch, body)
        names = ("specversion", "id", "source", "type")
        expected = [f"[{n}].{name}" for n in range(5) for name in names]
        assert [*found] == [*expected, "and more"]
        assert peak_bytes(problems_of, from_batch, body) < 3 * len(body)

    def test_too_many_events(self):
        """A batch has at most as many events as Pub/Sub takes at once."""
        event = json.dumps(MINIMAL).encode()
        body = b"[" + b",".join([event] * 1_000)
        assert len(from_batch(body + b"]")) == 1_000
        with pytest.raises(TooMuch, match="batch: more than 1000 events"):
            from_batch(body + b"," + event + b"]")

    @pytest.mark.parametrize("body", [b"{}", b"", b"[", b"[{}", b"[{},]", b"[] x", b"[{} {}]"])
    def test_no_array(self, body):
        """A body that is no JSON array is refused."""
        with pytest.raises(ProblemsFound):
            from_batch(body)


class TestBinary:
    def test_body_is_untouched(self):
        """The body is the data, whatever the content type says of it."""
        body = base64.b64encode(b"\x0a\x02")
        event = binary(body=body, base=FIRESTORE_HEADERS)
        assert event.data == body
        assert event.datacontenttype == "application/protobuf"
        assert event.source == "//firestore.googleapis.com/projects/projects/p/databases/(default)"

    def test_names_in_any_case(self):
        """Header names are read case-insensitively."""
        headers = {name.upper(): value for name, value in MINIMAL_HEADERS.items()}
        assert from_binary(headers.items(), b"") == binary()

    @pytest.mark.parametrize(
        ("value", "subject"),
        [
            (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            (b"Euro%20%e2%82%ac", "Euro €"),
            (b"%41", "A"),
            (b"%2541", "%41"),
            ("documents/issues/ü".encode(), "documents/issues/ü"),
            (b"100%", "100%"),
            (b'"in \\"quotes\\" %41"', 'in "quotes" A'),
            (b'not "in quotes"', 'not "in quotes"'),
            (b"  around  ", "around"),
        ],
    )
    def test_values_are_decoded_once(self, value, subject):
        """Values come out of quotes, then out of one round of percent-encoding; raw UTF-8 too."""
        assert binary({b"ce-subject": value}).subject == subject

    def test_second_content_type(self):
        """A `ce-datacontenttype`, which the Firestore emulator sends, yields to Content-Type."""
        both = {b"ce-datacontenttype": b"text/plain", b"content-type": b"application/protobuf"}
        for headers in (both, dict(reversed(both.items()))):
            event = binary(headers)
            assert (event.datacontenttype, event.extensions) == ("application/protobuf", {})
        assert binary(both | {b"content-type": b""}).datacontenttype == "text/plain"

    @pytest.mark.parametrize("content_type", [b"", b"nonsense", b"application/x; ;", b"\xff"])
    def test_content_type_is_never_judged(self, content_type):
        """Any content type is taken; an empty one, which uvicorn hands on, is absent."""
        event = binary({b"content-type": content_type})
        assert event.datacontenttype == content_type.decode("utf-8", "replace")
        assert ("content-type" in to_message(event).attributes) is bool(content_type)

    @pytest.mark.parametrize(
        ("changes", "where"),
        [
            ({b"ce-id": None}, "ce-id"),
            ({b"ce-specversion": b"0.3"}, "ce-specversion"),
            ({b"ce-source": b""}, "ce-source"),
            ({b"ce-type": b"%00"}, "ce-type"),
            ({b"ce-id": b"%C0%A0"}, "ce-id"),
            ({b"ce-id": b"\xff"}, "ce-id"),
            ({b"ce-subject": b"%C0%A0"}, "ce-subject"),
            ({b"ce-subject": b""}, "ce-subject"),
            ({b"ce-time": b"2026-11-24"}, "ce-time"),
            ({b"ce-data": b"x"}, "ce-data"),
            ({b"ce-my-ext": b"x"}, "ce-my-ext"),
            ({b"ce-": b"x"}, "ce-"),
            ({b"CE-ID": b"2"}, "ce-id"),
        ],
    )
    def test_invalid(self, changes, where):
        """What breaks a rule is refused, and the header alone is named."""
        assert list(problems_of(binary, changes)) == [where]

    def test_no_more_than_twenty_problems(self):
        """Of many bad headers the first twenty are told, and that there are more."""
        found = problems_of(binary, {b"ce-x_%d" % n: b"x" for n in range(30)})
        assert [*found] == [f"ce-x_{n}" for n in range(20)] + ["and more"]

    @pytest.mark.parametrize(
        "changes",
        [
            {b"ce-subject": b"", b"ce-dataschema": b"", b"ce-time": b""},
            {b"ce-dataschema": b"/relative", b"ce-authid": b"%00"},
            {b"ce-authid": b"%FF", b"ce-authtype": b"\xff", b"ce-n": b"%C0%A0"},
            {b"ce-data": b"x", b"ce-my-ext": b"x", b"ce-": b"x"},
            {b"ce-location": b"eur3", b"CE-LOCATION": b"nam5"},
        ],
    )
    def test_what_firestore_need_not_say(self, changes):
        """Any attribute of a Firestore event but its identity and time is left out when bad."""
        without = {name: None for name in changes if name == b"ce-time"}
        event = binary(changes, base=FIRESTORE_HEADERS)
        assert event == binary(without, base=FIRESTORE_HEADERS)
        assert problems_of(binary, changes)

    @pytest.mark.parametrize("value", [b"issues/%C0%A0", b"issues/%0A", b"issues/\xff", b""])
    def test_firestore_hints_never_lose_an_event(self, value):
        """A Firestore document's name that no attribute can carry is left out of the headers."""
        event = binary(
            {b"ce-subject": value, b"ce-document": value, b"ce-location": b"eur3"},
            body=b"x",
            base=FIRESTORE_HEADERS,
        )
        assert event.subject == ""
        assert event.extensions == ({"location": "eur3"} | ({} if value else {"document": ""}))

    def test_firestore_identity_is_still_judged(self):
        """The leniency is for hints alone."""
        changes = {b"ce-id": b"%C0%A0", b"ce-source": b"", b"ce-specversion": b"0.3"}
        for time in (b"noon", b"%FF"):
            headers = changes | {b"ce-time": time, b"ce-location": b"%FF"}
            found = problems_of(binary, headers, base=FIRESTORE_HEADERS)
            assert set(found) == {"ce-id", "ce-source", "ce-specversion", "ce-time"}


class TestOlder:
    def test_base64(self):
        """The older body is an event known by its bytes: sent again, it is the same one."""
        event = from_older(parse_json(b'{"data": "CgI="}'))
        assert event == CloudEvent(
            id=event_id_of_data(b"\x0a\x02"),
            source=OLDER_SOURCE,
            type=OLDER_TYPE,
            data=b"\x0a\x02",
            datacontenttype="application/protobuf",
        )

    @pytest.mark.parametrize(
        "body",
        [
            b'{"data": "hello"}',
            b'{"data": "CgI"}',
            b'{"data": "Cg-_"}',
            b'{"data": "Cg I="}',
            '{"data": "ü"}'.encode(),
            b'{"data": 1234}',
            b'{"data": null}',
            b'{"data": {"a": 1}}',
            b'{"data": "CgI=", "x": 1}',
            b"{}",
            b'["data"]',
            b'"CgI="',
        ],
    )
    def test_anything_else(self, body):
        """Another key, or text that is not base64, is no older body."""
        assert from_older(parse_json(body)) is None


class TestMessage:
    def test_attributes(self):
        """The message is the Pub/Sub binding's binary mode, with our two ids."""
        event = structured(subject="s", time="2018-04-05T17:31:00Z", ext=5, data={"a": 1})
        event_id = event_id_of("https://cloudevents.io", "minimal")
        message = to_message(event)
        assert message.data == b'{"a": 1}'
        assert message.attributes == {
            "ce-specversion": "1.0",
            "ce-id": "minimal",
            "ce-source": "https://cloudevents.io",
            "ce-type": "io.cloudevents.test",
            "ce-time": "2018-04-05T17:31:00Z",
            "ce-subject": "s",
            "ce-ext": "5",
            "content-type": "application/json",
            "event_id": event_id,
            "dedup_id": event_id,
        }

    def test_long_hints_are_left_out(self):
        """What Pub/Sub can't carry and nobody needs is left out; 1,024 bytes fit."""
        event = binary(
            {
                b"ce-subject": ("ü" * 512).encode() + b"s",
                b"ce-document": b"d" * 1024,
                b"ce-" + b"n" * 254: b"long name",
                b"content-type": b"t" * 1025,
            }
        )
        attributes = to_message(event).attributes
        assert attributes["ce-document"] == "d" * 1024
        assert set(attributes) == {
            *("ce-specversion", "ce-id", "ce-source", "ce-type", "ce-document"),
            *("event_id", "dedup_id"),
        }

    @pytest.mark.parametrize("name", ["id", "source", "type"])
    def test_long_identity_is_too_large(self, name):
        """An identity that Pub/Sub can't carry makes the event too large, not another event."""
        with pytest.raises(MessageTooLarge, match=f"ce-{name}"):
            to_message(structured({name: "x" * 1025}))

    def test_too_many_attributes(self):
        """More attributes than Pub/Sub takes make the event too large."""
        fits = {f"x{n}": "" for n in range(94)}
        assert len(to_message(structured(fits)).attributes) == 100
        with pytest.raises(MessageTooLarge, match="101 of them"):
            to_message(structured(fits, one="more"))

    def test_too_many_bytes(self):
        """Data over Pub/Sub's limit makes the event too large."""
        with pytest.raises(MessageTooLarge, match="Pub/Sub takes 10000000"):
            to_message(binary(body=b"x" * 10_000_000))


class TestJson:
    def test_numbers_stand_for_themselves(self):
        """No number passes through a float, and none is taken for a string."""
        value = parse_json(b'[1.10, 12345678901234567890123, -0, "1.10"]')
        assert value == [NUMBER, NUMBER, NUMBER, "1.10"]

    def test_numbers_cost_no_memory(self):
        """A body of numbers takes no object a number; nor does data inside an event."""
        numbers = b"[" + b"1," * 200_000 + b"1]"
        event = json.dumps(MINIMAL)[:-1].encode() + b', "data": ' + numbers + b"}"
        # Two lists of pointers and the text; a string a number would be 10 MB more.
        assert peak_bytes(parse_json, numbers) < 6_000_000
        assert peak_bytes(from_structured, event) < 6_000_000

    @pytest.mark.parametrize("body", [b"", b" ", b"nul", b"{} {}", b"\xff", b"[Infinity]"])
    def test_no_json(self, body):
        """What RFC 8259 does not know is refused."""
        with pytest.raises(ProblemsFound):
            parse_json(body)

    def test_media_types(self):
        """A media type is compared without case and parameters."""
        assert media_type(" Application/JSON ; charset=utf-8") == "application/json"
        assert is_json_type("text/json")
        assert is_json_type("application/cloudevents+json;x=y")
        assert not is_json_type("application/jsonp")
        assert not is_json_type("")


# Any character of the specification's String.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=40)
NAMES = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name not in {*MINIMAL, "data", "time", "subject", "dataschema", "datacontenttype"}
)
SPACE = st.sampled_from(["", " ", "\n\t"])
NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
SCALARS = NUMBERS | st.sampled_from(["true", "false", "null"]) | st.text().map(json.dumps)
JSON_TEXT = st.recursive(
    SCALARS,
    lambda inner: (
        st.tuples(st.lists(inner), SPACE).map(lambda t: f"[{t[1]}{f',{t[1]}'.join(t[0])}]")
        | st.tuples(st.lists(st.tuples(st.text().map(json.dumps), inner)), SPACE).map(
            lambda t: "{" + f",{t[1]}".join(f"{k}{t[1]}:{v}" for k, v in t[0]) + "}"
        )
    ),
    max_leaves=20,
)


class TestProperties:
    @given(id_=TEXT, type_=TEXT, extensions=st.dictionaries(NAMES, TEXT), data=JSON_TEXT)
    def test_structured_to_message(self, id_, type_, extensions, data):
        """Any valid event reaches its message whole, and its JSON byte for byte."""
        event = MINIMAL | {"id": id_, "type": type_} | extensions
        message = to_message(from_structured(f'{json.dumps(event)[:-1]},"data":{data}}}'.encode()))
        assert message.data == data.encode()
        expected = {f"ce-{name}": value for name, value in event.items()}
        event_id = event_id_of(MINIMAL["source"], id_)
        expected |= {"content-type": "application/json", "event_id": event_id}
        assert message.attributes == expected | {"dedup_id": event_id}

    @given(id_=TEXT, extensions=st.dictionaries(NAMES, TEXT), body=st.binary())
    def test_binary_and_structured_agree(self, id_, extensions, body):
        """The same event is the same CloudEvent in both modes."""
        attributes = MINIMAL | {"id": id_, "datacontenttype": "a/b"} | extensions
        encoded = base64.b64encode(body).decode()
        document = json.dumps(attributes | {"data_base64": encoded}).encode()
        headers = [
            (f"ce-{name}".encode(), percent_encoded(value))
            for name, value in attributes.items()
            if name != "datacontenttype"
        ]
        in_headers = from_binary([*headers, (b"content-type", b"a/b")], body)
        assert in_headers == from_structured(document)


def percent_encoded(value):
    """A header value by the HTTP binding's rule (3.1.3.2)."""
    escaped = re.sub(
        r'[^\x21-\x7e]|["%]', lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), value
    )
    return escaped.encode("ascii")


@given(id_=st.uuids().map(str), body=st.binary(max_size=50))
def test_a_manual_message_is_that_of_its_event(id_, body):
    """What is made at once is what the event becomes, and its issue_id."""
    time = "2026-11-24T10:00:00.000001Z"
    event = CloudEvent(
        id=id_,
        source="//s/manual",
        type=MANUAL_TYPE,
        time=time,
        datacontenttype="application/json",
        data=body,
    )
    expected = to_message(event)
    issue_id = issue_id_of_manual(expected.event_id)
    assert manual_message("//s/manual", id_, time, body) == Message(
        body, {**expected.attributes, ISSUE_ID: issue_id}
    )


@pytest.mark.parametrize(
    ("source", "size"), [("//s", 9_999_990), ("//s", 10_000_001), ("/" * 1_025, 2)]
)
def test_a_manual_message_beyond_the_limits(source, size):
    """Pub/Sub's limits hold for it as for every other."""
    with pytest.raises(MessageTooLarge):
        manual_message(source, "1", "2026-11-24T10:00:00Z", b"x" * size)
