"""The JSON Schemas of the contract: what bodies look like, and answers; see `openapi`."""

from typing import Any

from publisher.form import MAX_CONTROLS
from publisher.idempotence import MAX_KEY_BYTES
from publisher.page import PRIORITIES
from schemas.cloudevents import MAX_BATCH_EVENTS
from schemas.json_text import MAX_JSON_DEPTH, MAX_MEMBERS

Schema = dict[str, Any]

PROTOBUF_TYPE = "application/protobuf"

# A Firestore event's data, in protobuf: the document issues/1 with the title "Login fails".
_DATA_BASE64 = (
    "ClcKPHByb2plY3RzL2RlbW8tcHJvamVjdC9kYXRhYmFzZXMvKGRlZmF1bHQpL2RvY3VtZW50cy9pc3N1ZXMvMRIXCgV0"
    "aXRsZRIOigELTG9naW4gZmFpbHM="
)
EVENT_EXAMPLE: Schema = {
    "specversion": "1.0",
    "id": "7f3a9c52-1",
    "source": "//firestore.googleapis.com/projects/demo-project/databases/(default)",
    "type": "google.cloud.firestore.document.v1.written",
    "time": "2026-11-24T10:00:00.123456Z",
    "subject": "documents/issues/1",
    "datacontenttype": PROTOBUF_TYPE,
    "data_base64": _DATA_BASE64,
}

STRING: Schema = {"type": "string"}
TEXT: Schema = {"type": "string", "minLength": 1}

EVENT: Schema = {
    "type": "object",
    "description": "A CloudEvent 1.0 in the JSON format. Extension attributes stand beside these, "
    "named in lower-case letters and digits; null is an attribute that is not set.",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**TEXT, "description": "Unique within `source`: the two are the event's identity."},
        "source": {**TEXT, "format": "uri-reference"},
        "type": TEXT,
        "time": {"type": ["string", "null"], "format": "date-time"},
        "subject": {"type": ["string", "null"], "minLength": 1},
        "datacontenttype": {"type": ["string", "null"], "minLength": 1},
        "dataschema": {"type": ["string", "null"], "format": "uri", "minLength": 1},
        "data": {"description": "Any JSON; a string where datacontenttype is not JSON."},
        "data_base64": {
            "type": ["string", "null"],
            "contentEncoding": "base64",
            "description": "In place of `data`.",
        },
    },
    "maxProperties": MAX_MEMBERS,
    "examples": [EVENT_EXAMPLE],
}
ISSUE: Schema = {
    "type": "object",
    "description": "Any JSON object that is not empty: no key twice in one object, at most "
    f"{MAX_JSON_DEPTH} levels. These fields, and others, have columns of their own.",
    "minProperties": 1,
    "properties": {
        "title": {"description": "One line that says what is wrong."},
        "priority": {"description": "As the sender writes it, such as P1."},
        "description": {"description": "The whole text."},
        "labels": {"description": "Free labels: an array of strings."},
    },
    "examples": [{"title": "Login fails", "priority": "P1", "labels": ["login"]}],
}
OLDER: Schema = {
    "type": "object",
    "description": "A Firestore event as earlier senders have it.",
    "required": ["data"],
    "properties": {"data": {"type": "string", "contentEncoding": "base64"}},
    "additionalProperties": False,
    "examples": [{"data": _DATA_BASE64}],
}
FORM: Schema = {
    "type": "object",
    "description": "Any control becomes a field: a string, an array of them where the name comes "
    f"more than once. A blank one is left out. At most {MAX_CONTROLS} controls, no files.",
    "properties": {
        "title": STRING,
        "priority": {"type": "string", "examples": list(PRIORITIES)},
        "description": STRING,
        "labels": {"type": "string", "description": "Parted by commas; becomes an array."},
        "field_name": {
            "type": "array",
            "items": STRING,
            "description": "Names of further fields, in the order of their values.",
        },
        "field_value": {"type": "array", "items": STRING},
        "idempotency_key": {
            "type": "string",
            "maxLength": MAX_KEY_BYTES,
            "description": "As the header of that name.",
        },
    },
    "additionalProperties": {"anyOf": [STRING, {"type": "array", "items": STRING}]},
    "examples": [{"title": "Login fails", "priority": "P1", "labels": "login, mobile"}],
}
CREATED: Schema = {
    "type": "object",
    "required": ["issue_id", "status"],
    "properties": {
        "issue_id": {"type": "string", "pattern": "^INC-[0-9A-F]{8}$"},
        "status": {"const": "created"},
    },
    "additionalProperties": False,
    "examples": [{"issue_id": "INC-7D7165C1", "status": "created"}],
}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {**TEXT, "description": "What is wrong, a problem a line."}},
    "additionalProperties": False,
    "examples": [{"error": "Empty request"}],
}
BATCH: Schema = {
    "type": "array",
    "items": {"$ref": "#/components/schemas/Event"},
    "maxItems": MAX_BATCH_EVENTS,
    "examples": [[EVENT_EXAMPLE, EVENT_EXAMPLE | {"id": "7f3a9c52-2"}]],
}
API_KEY: Schema = {
    "type": "string",
    "format": "password",
    "description": "As the header X-API-Key.",
}


def schemas(*, key_needed: bool) -> dict[str, Schema]:
    """All of them, by name.

    Args:
        key_needed: Whether the form has a field for the API key.
    """
    form = FORM
    if key_needed:
        form = FORM | {"properties": FORM["properties"] | {"api_key": API_KEY}}
    return {
        "Event": EVENT,
        "Batch": BATCH,
        "Issue": ISSUE,
        "Older": OLDER,
        "Form": form,
        "Created": CREATED,
        "Error": ERROR,
    }
