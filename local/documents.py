"""What the sample writes to Firestore: each step a document, a verb and its fields.

Content is deterministic: the same documents, fields and order on every run. Every type of
Firestore value is in it, and each value that a careless codec would lose: zero, false and the
empty string, NaN and -0.0, 64-bit integers beyond a double's reach, nanoseconds, times before
1970, odd keys and odd names.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud import firestore
from google.cloud.firestore_v1.vector import Vector

# A legal document id is at most 1,500 bytes (https://cloud.google.com/firestore/quotas); with
# one of 1,400 `ce-subject` is longer than the 1,024 bytes that a Pub/Sub attribute may have.
LONG_ID = "long-" + "x" * 1_395

EVERY_TYPE = "issues/every-type"

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One write of the sample: one event of Firestore's, except for a verb that changes nothing.

    Args:
        path: The document's path inside its database.
        verb: `set` writes the whole document, `update` the named (dotted) fields, `delete` ends
            it.
        what: What the step is there to show.
        fields: Makes the fields from a client (references need one); None for a delete.
    """

    path: str
    verb: Literal["set", "update", "delete"]
    what: str
    fields: Callable[[firestore.Client], Fields] | None = None


def _issue(title: str, **more: Any) -> Callable[[firestore.Client], Fields]:
    """The fields of an ordinary issue, with the columns that the shipped table declares."""
    return lambda _: {"title": title, "priority": "P2", "status": "open", "labels": [], **more}


def given(fields: Fields) -> Callable[[firestore.Client], Fields]:
    """Fields that need no client to be made."""
    return lambda _: fields


def every_type(client: firestore.Client) -> Fields:
    """One field for every Firestore value type, and the values at the edge of each."""
    return {
        "title": "Every type of value",
        "null": None,
        "true": True,
        "false": False,
        "zero": 0,
        "integer": 42,
        "beyond_double": 2**53 + 1,
        "max_integer": 2**63 - 1,
        "min_integer": -(2**63),
        "double": 0.1,
        "whole_double": 3.0,
        "negative_zero": -0.0,
        "smallest_double": 5e-324,
        "largest_double": 1.7976931348623157e308,
        "nan": math.nan,
        "infinity": math.inf,
        "negative_infinity": -math.inf,
        "timestamp": datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
        "nanoseconds": DatetimeWithNanoseconds(
            2024, 2, 29, 1, 2, 3, nanosecond=123456789, tzinfo=UTC
        ),
        "before_1970": datetime(1901, 12, 13, 20, 45, 51, 500000, tzinfo=UTC),
        "first_time": datetime(1, 1, 1, tzinfo=UTC),
        "last_time": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "string": "plain",
        "empty_string": "",
        "unicode": "Zürich 東京 🚒 e\u0301 \u202eright to left\u202c",
        "quotes": "\"double\" 'single' `back` \\ back\\slash \t tab \n line \u2028 \x01",
        "bytes": bytes(range(256)),
        "empty_bytes": b"",
        "reference": client.document("issues/other/comments/1"),
        "geo_point": firestore.GeoPoint(47.3769, 8.5417),
        "geo_zero": firestore.GeoPoint(0.0, 0.0),
        "geo_edge": firestore.GeoPoint(-90.0, 180.0),
        "array": [1, "two", 3.5, None, True, b"\x00\xff"],
        "empty_array": [],
        "map": {"a": 1, "b": {"c": {"d": "deep"}}},
        "empty_map": {},
        "map_of_arrays": {"list": [1, 2, {"inner": [3, {"x": [4]}]}]},
        "array_of_maps": [{"a": 1}, {}, {"b": [{"c": []}]}],
        "vector": Vector([1.0, -0.5, 0.0, 1e-7]),
        "array_of_odd": [math.nan, firestore.GeoPoint(1.0, 2.0), client.document("a/b")],
    }


def _deep(depth: int) -> Any:
    """Maps and arrays in turn; Firestore takes a depth of 20."""
    value: Any = "bottom"
    for level in range(depth - 1):
        value = [value] if level % 2 else {"level": value}
    return {"level": value}


ODD_KEYS: Fields = {
    "title": "Odd keys",
    "a.b": "dot",
    "with space": 1,
    "quote\"'": 2,
    "back`tick": 3,
    "back\\slash": 4,
    "slash/": 5,
    "ключ": "Cyrillic",
    "🔑": "emoji",
    "0": "digit",
    "$dollar": 6,
    "[0]": 7,
    "_leading": 8,
    "map": {"a.b": {"c.d": True}, " ": None, "payload": 1, "NULL": 2},
    "event_id": "a field named as a column is",
}

NUMBERS: Fields = {
    "power": 2**53,
    "minus_power": -(2**53) - 1,
    "seventh": 1 / 7,
    "third_digit": 123456789.12345679,
    "sixteen_digits": 1e16,
    "exponent": 1.5e21,
    "small": -1e-7,
    "smallest_normal": 2.2250738585072014e-308,
    "sum": 0.1 + 0.2,
}

TIMES: Fields = {
    "epoch": datetime(1970, 1, 1, tzinfo=UTC),
    "just_before": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "one_nanosecond": DatetimeWithNanoseconds(2024, 1, 1, nanosecond=1, tzinfo=UTC),
    "beyond_32_bits": datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC),
    "another_zone": datetime(2024, 7, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    "all": [{"at": datetime(2024, 2, 29, tzinfo=UTC)}],
}

TEXTS: Fields = {
    "title": "Text 😀",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "joined": "\U0001f469\u200d\U0001f4bb",
    "arabic": "\u0645\u0631\u062d\u0628\u0627",
    "null": "null",
    "number": "1e3",
    "json": '{"a": [1, "\\u0000"]}',
    "markup": "<b>&amp;</b> [bold]x[/bold]",
    "sql": "'; DROP TABLE issues_stream; --",
    "blank": " \t\r\n ",
}

BYTES: Fields = {f"of_{length}": bytes(range(256))[:length] for length in (1, 2, 3, 4, 255)}

STEPS: tuple[Step, ...] = (
    Step(EVERY_TYPE, "set", "every type of value", every_type),
    Step(EVERY_TYPE, "update", "one field of a document with every type", given({"integer": 43})),
    Step("issues/one", "set", "an issue", _issue("Login fails", labels=["auth", "web"])),
    Step("issues/one", "update", "a field changes", given({"status": "closed"})),
    Step(
        "issues/one",
        "update",
        "a nested field, an element and a counter",
        lambda _: {
            "details.browser.name": "Firefox",
            "labels": firestore.ArrayUnion(["urgent"]),
            "votes": firestore.Increment(3),
        },
    ),
    Step("issues/one", "update", "a field goes", given({"votes": firestore.DELETE_FIELD})),
    Step("issues/one", "delete", "an issue goes"),
    Step("issues/one", "set", "a deleted issue comes back", _issue("Login fails again")),
    Step(
        "issues/full",
        "set",
        "every declared column filled",
        _issue(
            "Every column",
            issue="Every column",
            description="All that the table declares",
            assignee="ada",
            reporter={"name": "Grace", "email": "grace@example.com"},
            labels=["a", "b"],
            votes=2**40,
            estimate=1.5,
            blocked=False,
            due_at=datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
            environment={"os": "linux", "versions": [1, 2.5, None]},
        ),
    ),
    Step("issues/empty", "set", "a document without fields", given({})),
    Step("issues/empty", "delete", "a document without fields goes"),
    Step("issues/odd-keys", "set", "odd field names", given(ODD_KEYS)),
    Step("issues/odd-keys", "update", "an odd name quoted", given({"`a.b`": "changed"})),
    Step("issues/deep", "set", "maps and arrays 18 deep", given(_deep(18))),
    Step(
        "issues/ill-typed",
        "set",
        "fields that do not fit their columns",
        given({"title": 5, "priority": {"level": 1}, "labels": "not a list", "status": True}),
    ),
    Step("issues/nulls", "set", "null fields", given({"title": None, "labels": None, "n": None})),
    Step("issues/falsy", "set", "zero, false and empty", given({"title": "", "n": 0, "b": False})),
    Step(
        "issues/labels",
        "set",
        "a null and odd elements among labels",
        _issue("Labels", labels=["a", None, "", "ü"]),
    ),
    Step(
        "issues/large",
        "set",
        "some 100 KB of text",
        _issue("Large", description="lorem ü " * 12_000),
    ),
    Step("issues/ünïcödé 東京 🚒", "set", "a document id in Unicode", _issue("Unicode id")),
    Step('issues/it\'s "quoted" (50%25)', "set", "a document id with quotes", _issue("Quoted id")),
    Step("issues/a.b~c*d[0]", "set", "a document id with path characters", _issue("Path id")),
    Step(f"issues/{LONG_ID}", "set", "a document id of 1,400 bytes", _issue("Long id")),
    Step("issues/other", "set", "the parent of a subcollection", _issue("Parent")),
    Step("issues/other/comments/1", "set", "a document of a subcollection", given({"text": "Hi"})),
    Step("issues/other/comments/1", "update", "its text changes", given({"text": "Hi 👋"})),
    Step("issues/other/comments/1", "delete", "it goes"),
    Step("issues/other/comments/1/reactions/x", "set", "two levels down", given({"kind": "+1"})),
    Step("teams/blue", "set", "another collection", given({"name": "Blue", "size": 5})),
    Step("teams/blue", "update", "another collection's document changes", given({"size": 6})),
    Step("teams/blue", "delete", "another collection's document goes"),
    Step("issues/numbers", "set", "numbers at the edges", given(NUMBERS)),
    Step(
        "issues/numbers",
        "update",
        "fields change their type",
        given({"seventh": "0.14", "power": {"base": 2, "exponent": 53}, "minus_power": None}),
    ),
    Step("issues/times", "set", "times at the edges", given(TIMES)),
    Step("issues/texts", "set", "texts of many kinds", given(TEXTS)),
    Step("issues/texts", "set", "other fields in place of all", _issue("Rewritten")),
    Step(
        "issues/wide",
        "set",
        "300 fields",
        given({f"field_{number:03}": number for number in range(300)}),
    ),
    Step(
        "issues/long-array",
        "set",
        "an array of 1,000 elements",
        given({"elements": [{"n": n, "half": n / 2, "text": f"ü{n}"} for n in range(1_000)]}),
    ),
    Step(
        "issues/vectors",
        "set",
        "vectors, one of 2,048 dimensions",
        given(
            {"long": Vector([n / 7 for n in range(2_048)]), "in": {"a_map": Vector([0.5, -0.0])}}
        ),
    ),
    Step("issues/bytes", "set", "bytes of several lengths", given(BYTES)),
    Step(
        "teams/red/members/ada",
        "set",
        "a document whose parent is none",
        lambda client: {
            "name": "Ada",
            "team": client.document("teams/red"),
            "seat": {"floor": 3, "at": firestore.GeoPoint(-33.8688, 151.2093)},
        },
    ),
    Step(
        "teams/red/members/ada",
        "update",
        "one field of a map, the others stay",
        given({"seat.floor": 4}),
    ),
    Step(EVERY_TYPE, "delete", "the document with every type goes"),
)
