"""CloudEvents 1.0.2 as they come over HTTP, held to the specification's own rules.

Sources: the core specification, the JSON event format, the HTTP protocol binding
(https://github.com/cloudevents/spec/tree/v1.0.2) and Google's Pub/Sub binding. No HTTP framework
and no CloudEvents library: the Python library takes most of the specification's invalid examples.

What is decided here where the specification leaves it open:

| case | decision |
|---|---|
| numbers inside `data` | never converted: `data` is the slice of the body, byte for byte |
| the same member twice in an event | refused; inside `data` it goes on as it came |
| NaN, Infinity, a byte order mark, bytes that are not UTF-8 | refused: RFC 8259 has none of them |
| `data` null | the JSON value `null`; beside `data_base64` or under a type not JSON: absent |
| `data` not a string under a type that is not JSON | refused |
| no `datacontenttype` beside `data` | `application/json` is written out |
| more than 500 levels | refused: BigQuery's JSON takes no more |
| a fragment in `dataschema` | taken, as the specification's JSON schema does |
| an attribute of a `google.cloud.firestore.` event that breaks a rule: empty, unreadable, \
ill-named, ill-typed, twice | left out: the data has what it hints at; id, source, type and \
specversion are judged, and a time that is not empty |
| more than 1,000 events in a batch, or members in an event | too much (HTTP 413): Pub/Sub takes \
1,000 messages in a publish request and 100 attributes in a message |
| more than 20 problems | the first 20, and that there are more |
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from schemas.cloudevent_rules import (
    CORE,
    FIRESTORE_TYPES,
    MAX_PROBLEMS,
    NAME,
    SPECVERSION,
    attribute_problems,
    first_problems,
    leave_out_hints,
    shown,
)
from schemas.json_text import (
    JsonNumber,
    Span,
    TooMuch,
    expect_end,
    json_errors,
    read_elements,
    read_members,
    skip,
    text_of,
)
from schemas.message import (
    CE_ID,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    DEDUP_ID,
    EVENT_ID,
    ISSUE_ID,
    MANUAL_TYPE,
    MAX_KEY_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_VALUE_BYTES,
    Message,
    event_id_of,
    event_id_of_data,
    issue_id_of_manual,
    limit_problems,
)
from schemas.problem import Problem, ProblemsFound

STRUCTURED_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"
JSON_TYPE = "application/json"
HEADER_PREFIX = "ce-"

OLDER_SOURCE = "//firestore-to-pubsub/older"
OLDER_TYPE = FIRESTORE_TYPES + "document.v1.written"

# Messages in one publish request: https://cloud.google.com/pubsub/quotas#resource_limits. A larger
# batch of tiny events would keep its thread for many seconds.
MAX_BATCH_EVENTS = 1_000

# What a manual issue has beside its body fits into the rest.
_SURELY_SMALL = MAX_MESSAGE_BYTES - 10_000

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class MessageTooLarge(TooMuch):
    """The event is valid and its message would break one of Pub/Sub's limits (HTTP 413)."""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One valid CloudEvent of specversion 1.0; attributes in their canonical string encoding.

    Args:
        id: Unique within `source`.
        source: A URI-reference.
        type: What happened.
        data: The event's own bytes; empty when it carries none.
        time: RFC 3339 as it came; '' when absent.
        subject: '' when absent.
        datacontenttype: The media type of `data` as it came; '' when absent.
        dataschema: '' when absent.
        extensions: Extension attributes by name, without a prefix.
    """

    id: str
    source: str
    type: str
    data: bytes = b""
    time: str = ""
    subject: str = ""
    datacontenttype: str = ""
    dataschema: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


def from_binary(headers: Iterable[tuple[bytes, bytes]], body: bytes) -> CloudEvent:
    """Reads an event in binary mode: attributes in `ce-` headers, the body untouched as data.

    Values are taken out of double quotes, then percent-decoded once (HTTP binding, 3.1.3.2).
    Raw UTF-8, which the binding does not allow, is read too: the Firestore emulator sends it.
    The content type is never judged, and an empty one is absent; `ce-datacontenttype`, which the
    emulator sends too though the binding forbids it, stands in for one that is absent.

    Args:
        headers: As ASGI has them: names in any case, values as bytes.
        body: The event's own bytes.

    Raises:
        ProblemsFound: With every rule that the event breaks.
    """
    attributes, problems, content_type = _read_headers(headers)
    problems |= attribute_problems(attributes, problems, HEADER_PREFIX)
    leave_out_hints(attributes, problems)
    if problems:
        raise ProblemsFound(first_problems(problems.values()))
    if content_type:
        attributes["datacontenttype"] = content_type
    return _event(attributes, body)


def from_structured(body: bytes) -> CloudEvent:
    """Reads one event in the JSON event format (`application/cloudevents+json`).

    Raises:
        ProblemsFound: The body is no JSON object, or the event breaks the specification.
        TooMuch: The event has more members than any message could carry.
    """
    text = text_of(body)
    with json_errors():
        members, end = read_members(text, skip(text, 0))
        expect_end(text, end)
    found = _read_event(text, members, "")
    if isinstance(found, CloudEvent):
        return found
    raise ProblemsFound(first_problems(found))


def from_batch(body: bytes) -> list[CloudEvent]:
    """Reads a batch (`application/cloudevents-batch+json`); an empty one is valid.

    Raises:
        ProblemsFound: The body is no JSON array of objects, or an event breaks the
            specification; with the first problems of the events, each by its index.
        TooMuch: There are more than `MAX_BATCH_EVENTS`, or one has too many members.
    """
    text = text_of(body)
    events: list[CloudEvent] = []
    problems: list[Problem] = []
    with json_errors():
        for index, members in enumerate(read_elements(text, skip(text, 0))):
            if index == MAX_BATCH_EVENTS:
                what = f"more than {MAX_BATCH_EVENTS} events"
                raise TooMuch([Problem("batch", what, "send them in several")])
            found = _read_event(text, members, f"[{index}].")
            if isinstance(found, CloudEvent):
                events.append(found)
            else:
                problems += found
            if len(problems) > MAX_PROBLEMS:
                break
    if problems:
        raise ProblemsFound(first_problems(problems))
    return events


def from_older(value: object) -> CloudEvent | None:
    """The event of the older body, `{"data": BASE64}` and no other key; None for anything else.

    It carries no identity, so its id is made of its bytes: sent again, it is the same event. It
    has no time of its own: the job takes the document's.

    Args:
        value: A body as `parse_json` returns it.
    """
    if not isinstance(value, dict) or value.keys() != {"data"}:
        return None
    encoded = value["data"]
    if not isinstance(encoded, str) or isinstance(encoded, JsonNumber):
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:  # also binascii.Error, and a string that is not ASCII
        return None
    return CloudEvent(
        id=event_id_of_data(data),
        source=OLDER_SOURCE,
        type=OLDER_TYPE,
        data=data,
        datacontenttype="application/protobuf",
    )


def to_message(event: CloudEvent) -> Message:
    """The event in the Pub/Sub binding's binary mode, with our `event_id` and `dedup_id`.

    A hint (any attribute but id, source, type, specversion and time) that is longer than
    Pub/Sub takes is left out: a Firestore document's name may be longer, and the data has it.

    Raises:
        MessageTooLarge: The message would break another of Pub/Sub's limits.
    """
    attributes = {
        CE_SPECVERSION: SPECVERSION,
        CE_ID: event.id,
        CE_SOURCE: event.source,
        CE_TYPE: event.type,
    }
    if event.time:
        attributes[CE_TIME] = event.time
    for name, value in (("subject", event.subject), ("dataschema", event.dataschema)):
        if value and _fits(name, value):
            attributes[HEADER_PREFIX + name] = value
    for name, value in event.extensions.items():
        if _fits(name, value):
            attributes[HEADER_PREFIX + name] = value
    if event.datacontenttype and _fits(CONTENT_TYPE, event.datacontenttype):
        attributes[CONTENT_TYPE] = event.datacontenttype
    event_id = event_id_of(event.source, event.id)
    attributes[EVENT_ID] = attributes[DEDUP_ID] = event_id
    if problems := limit_problems(event.data, attributes):
        raise MessageTooLarge(problems)
    return Message(data=event.data, attributes=attributes)


def manual_message(source: str, id_: str, time: str, body: bytes) -> Message:
    """A manual issue: what `to_message` makes of such an event, and its `issue_id`.

    Args:
        source: Of the event; with `id_` unique.
        id_: Of the event.
        time: RFC 3339.
        body: A JSON object.

    Raises:
        MessageTooLarge: The message would break one of Pub/Sub's limits.
    """
    event_id = event_id_of(source, id_)
    attributes = {
        CE_SPECVERSION: SPECVERSION,
        CE_ID: id_,
        CE_SOURCE: source,
        CE_TYPE: MANUAL_TYPE,
        CE_TIME: time,
        CONTENT_TYPE: JSON_TYPE,
        EVENT_ID: event_id,
        DEDUP_ID: event_id,
        ISSUE_ID: issue_id_of_manual(event_id),
    }
    small = len(body) < _SURELY_SMALL and len(id_) + len(source) + len(time) < MAX_VALUE_BYTES // 4
    if not small and (problems := limit_problems(body, attributes)):
        raise MessageTooLarge(problems)
    return Message(data=body, attributes=attributes)


def media_type(content_type: str) -> str:
    """The lower-case `type/subtype` of a Content-Type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json_type(content_type: str) -> bool:
    """Whether a media type declares JSON: `*/json` or `*/*+json` (JSON event format, 3.1.1)."""
    _, _, subtype = media_type(content_type).partition("/")
    return subtype == "json" or subtype.endswith("+json")


def _event(attributes: Mapping[str, str], data: bytes) -> CloudEvent:
    core = {name: attributes[name] for name in CORE[1:] if name in attributes}
    extensions = {name: value for name, value in attributes.items() if name not in CORE}
    return CloudEvent(**core, data=data, extensions=extensions)


def _fits(name: str, value: str) -> bool:
    key = len(HEADER_PREFIX) + len(name.encode())
    return key <= MAX_KEY_BYTES and len(value.encode()) <= MAX_VALUE_BYTES


def _read_headers(
    headers: Iterable[tuple[bytes, bytes]],
) -> tuple[dict[str, str], dict[str, Problem], str]:
    """The attributes that `ce-` headers carry, what is wrong with them, and the content type."""
    attributes: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    content_type = ""
    for raw_name, raw_value in headers:
        header = raw_name.decode("latin-1").lower()
        name = header.removeprefix(HEADER_PREFIX)
        if header == CONTENT_TYPE:
            content_type = raw_value.decode("utf-8", "replace").strip() or content_type
        elif name == header:
            continue
        elif name == "datacontenttype":
            # The binding forbids it beside Content-Type; the Firestore emulator sends both.
            content_type = content_type or raw_value.decode("utf-8", "replace").strip()
        elif name in attributes or name in problems:
            problems[name] = Problem(shown(header), "came twice")
        else:
            try:
                attributes[name] = _decode_header(raw_value)
            except UnicodeDecodeError:
                problems[name] = Problem(shown(header), "is not UTF-8 after percent-decoding")
    return attributes, problems, content_type


def _decode_header(raw: bytes) -> str:
    text = raw.decode("utf-8").strip(" \t")
    if quoted := _QUOTED.fullmatch(text):
        text = _QUOTED_PAIR.sub(r"\1", quoted[1])
    return unquote_to_bytes(text).decode("utf-8")


def _read_event(
    text: str, members: Mapping[str, Span] | None, prefix: str
) -> CloudEvent | Sequence[Problem]:
    """One event of the JSON format, or every problem that it has."""
    if members is None:
        return [Problem(prefix.rstrip(".") or "body", "is not a JSON object")]
    attributes: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    for name, span in members.items():
        # A null is an attribute not set (JSON format, 2.2); its name is judged all the same.
        if name in ("data", "data_base64") or (span.value is None and NAME.fullmatch(name)):
            continue
        try:
            attributes[name] = _canonical(name, span.value)
        except ValueError as error:
            problems[name] = Problem(shown(prefix + name), str(error))
    problems |= attribute_problems(attributes, problems, prefix)
    leave_out_hints(attributes, problems)
    try:
        data = _data_of(text, members, attributes)
    except ValueError as error:
        problems["data"] = Problem(prefix + "data", str(error))
    if problems:
        return list(problems.values())
    return _event(attributes, data)


def _canonical(name: str, value: Any) -> str:
    """The canonical string encoding of an attribute's JSON value (JSON format, 2.2)."""
    if isinstance(value, str) and not isinstance(value, JsonNumber):
        return value
    if name in CORE or not isinstance(value, JsonNumber | bool):
        raise ValueError("is not a string")
    if isinstance(value, bool):
        return "true" if value else "false"
    # Length first: int() of a very long literal is refused by Python in words of its own.
    if not _INTEGER.fullmatch(value) or len(value) > 11 or not -(2**31) <= int(value) < 2**31:
        raise ValueError(f"{value[:64]} is no integer of 32 bits")
    return str(int(value))


def _data_of(text: str, members: Mapping[str, Span], attributes: dict[str, str]) -> bytes:
    """The bytes of `data` or `data_base64`; sets the content type that `data` alone implies."""
    data, encoded = members.get("data"), members.get("data_base64")
    if encoded is not None and encoded.value is not None:
        if data is not None and data.value is not None:
            raise ValueError("came beside data_base64: one excludes the other")
        if isinstance(encoded.value, JsonNumber) or not isinstance(encoded.value, str):
            raise ValueError("data_base64 is not a string")
        try:
            return base64.b64decode(encoded.value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"data_base64 is not base64: {error}") from error
    if data is None:
        return b""
    if is_json_type(attributes.get("datacontenttype", JSON_TYPE)):
        attributes.setdefault("datacontenttype", JSON_TYPE)
        return text[data.start : data.end].encode()
    if data.value is None:
        return b""
    if isinstance(data.value, JsonNumber) or not isinstance(data.value, str):
        raise ValueError("is not a string, and its datacontenttype is not JSON")  # noqa: TRY004
    try:
        return data.value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a surrogate pair") from error
