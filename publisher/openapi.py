"""The service's contract, as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.0.

It says what is taken and every status that is answered. What it can't say is in its descriptions:
the 404 of any other path, the 405 of any other method, HEAD wherever GET is. A 500 is not in it:
there is none to be expected.
"""

from collections.abc import Mapping
from typing import Any

from publisher.body import MAX_BODY_BYTES
from publisher.connection import MAX_HEAD_BYTES, MAX_HEADERS
from publisher.form import FORM_TYPE, MAX_CONTROLS, MULTIPART_TYPE
from publisher.idempotence import MAX_KEY_BYTES
from publisher.openapi_schemas import EVENT_EXAMPLE, PROTOBUF_TYPE, STRING, TEXT, schemas
from publisher.page import STATIC
from publisher.settings import FLAT, Settings
from schemas.cloudevents import BATCH_TYPE, JSON_TYPE, MAX_BATCH_EVENTS, STRUCTURED_TYPE
from schemas.json_text import MAX_MEMBERS

Document = dict[str, Any]

HTML_TYPE = "text/html"

_DESCRIPTION = """\
Takes manual issues and Firestore changes, and answers when Pub/Sub has them: a 2xx means that \
nothing of the request can be lost any more. What was answered otherwise may be sent again: the \
same event, or the same issue with the same `Idempotency-Key`, counts once.

Every error is `{"error": "what is wrong"}`, save that a form is answered by the page. HEAD is \
answered wherever GET is; a path that is not here is a 404, another method a 405 with `Allow`."""

_POST = f"""\
The headers say what it is, in this order:

1. `{STRUCTURED_TYPE}` or `{BATCH_TYPE}`: CloudEvents in structured or batched mode. The batch is \
taken as a whole or not at all.
2. Any `ce-` header: one CloudEvent in binary mode. The body is its data, of any content type.
3. `{FORM_TYPE}` or `{MULTIPART_TYPE}`: a manual issue, as the page sends it. It is answered by \
the page, unless `Accept` has `{JSON_TYPE}`.
4. JSON (`*/json`, `*/*+json`, or no content type): a manual issue, which goes on byte for byte. \
An object whose only key is `data` with valid base64 is the older form of a Firestore event.

An issue is answered 200 with its id, an event 204."""

# Of a CloudEvent in binary mode; none of them is asked for in itself, since other requests come
# without. Values are percent-encoded, or raw UTF-8.
_BINARY: tuple[tuple[str, Document, str], ...] = (
    ("ce-specversion", {"const": "1.0"}, "Required in binary mode."),
    ("ce-id", TEXT, "Required in binary mode."),
    ("ce-source", {**TEXT, "format": "uri-reference"}, "Required in binary mode."),
    ("ce-type", TEXT, "Required in binary mode."),
    ("ce-time", {"type": "string", "format": "date-time"}, "When it happened."),
    ("ce-subject", TEXT, "Further `ce-` headers are taken, too."),
)

_ETAG = {"ETag": {"description": "Of the file's content.", "schema": STRING}}
_ALLOWS_RETRY = {
    "Retry-After": {
        "description": "Seconds to wait before it is sent again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {"description": "Which credential is asked for.", "schema": STRING}
}


def document(settings: Settings) -> Document:
    """The document of the service as it is set up.

    Args:
        settings: Say whether callers must show who they are, and what becomes of an event.
    """
    components: Document = {"schemas": schemas(key_needed=settings.auth)}
    if settings.auth:
        components["securitySchemes"] = {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "For events: a Google-signed ID token of a known service account.",
            },
            "key": {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-Key",
                "description": "For issues. A form may have it as its field `api_key` instead.",
            },
        }
    page = {HTML_TYPE: {"schema": STRING}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "firestore-to-pubsub", "version": "1", "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": {
            "/": {
                "get": _get("page", "The page that files an issue.", page),
                "post": _post(settings),
            },
            "/live": {"get": _get("live", "Whether the process is alive.", _status("live"))},
            "/ready": {
                "get": _get(
                    "ready",
                    "Whether the topic can be reached and has a subscription, and the queue has "
                    "room.",
                    _status("ready"),
                ),
            },
            "/openapi.json": {
                "get": _get("contract", "This document.", _json({"type": "object"})),
            },
            **{path: {"get": _file(path, type_)} for path, type_ in STATIC.items()},
        },
        "components": components,
    }


def _post(settings: Settings) -> Document:
    """The operation that the service is for."""
    parameters = [
        _header(
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES},
            "Of a manual issue: the same call with the same key and body, by the same client, is "
            "the same issue and has the same answer.",
            "3f0b7c1e-order-17",
        ),
        *(
            _header(name, schema, what, EVENT_EXAMPLE[name.removeprefix("ce-")])
            for name, schema, what in _BINARY
        ),
    ]
    refused = "It can never be a message: it is no JSON, or breaks a rule of CloudEvents."
    if settings.message_format == FLAT:
        refused += " Here also an event whose data can't be read."
    operation: Document = {
        "operationId": "send",
        "summary": "Files an issue, or takes events.",
        "description": _POST,
        "parameters": parameters,
        "requestBody": {
            "required": False,
            "description": f"At most {MAX_BODY_BYTES} bytes; a binary event may have none.",
            "content": {
                JSON_TYPE: {"schema": {"anyOf": [_ref("Issue"), _ref("Older")]}},
                STRUCTURED_TYPE: {"schema": _ref("Event")},
                BATCH_TYPE: {"schema": _ref("Batch")},
                FORM_TYPE: {"schema": _ref("Form")},
                MULTIPART_TYPE: {"schema": _ref("Form")},
                # With ce- headers. Without a schema it is bytes: 3.1.0, 4.8.14.2.
                PROTOBUF_TYPE: {},
            },
        },
        "responses": {
            "200": _answer("The issue is filed.", _json(_ref("Created")) | _page()),
            "204": {"description": "Pub/Sub has the event, or every event of the batch."},
            "400": _error(refused, _page()),
            "403": _error("A page of another site sent it, and its origin is not listed."),
            "408": _error("The body did not come in time.", _page()),
            "413": _error(
                f"More than {MAX_BODY_BYTES} bytes, {MAX_BATCH_EVENTS} events, {MAX_MEMBERS} "
                f"members of an event, {MAX_CONTROLS} controls of a form, or than a message of "
                "Pub/Sub has room for.",
                _page(),
            ),
            "415": _error("Another content type, and no ce- headers."),
            "429": _error("There is no room: nothing was taken.", _page(), _ALLOWS_RETRY),
            "431": _too_long(),
            "503": _error(
                "Pub/Sub did not answer in time: the message may be there, send it again.",
                _page(),
                _ALLOWS_RETRY,
            ),
        },
    }
    if settings.auth:
        operation["security"] = [{"token": []}, {"key": []}]
        operation["responses"] |= {
            "401": _error("A credential is missing or not accepted.", _page(), _CHALLENGE),
            "403": _error(
                "The credential is good for something else, or a page of another site sent it.",
                _page(),
            ),
        }
    return operation


def _get(
    name: str, what: str, content: Document, headers: Mapping[str, Document] | None = None
) -> Document:
    """An operation that asks; what any request may be answered is here, too."""
    unready = "Not ready: why." if name == "ready" else "The service is going down."
    return {
        "operationId": name,
        "summary": what,
        "responses": {
            "200": _answer(what, content, headers),
            "400": _error("No valid HTTP/1.1."),
            "429": _error("Too many connections.", headers=_ALLOWS_RETRY),
            "431": _too_long(),
            "503": _error(unready, headers=_ALLOWS_RETRY),
        },
    }


def _file(path: str, content_type: str) -> Document:
    """A file of the page."""
    content = {content_type.partition(";")[0]: {"schema": STRING}}
    name = path.rpartition("/")[2].replace(".", "-")
    operation = _get(name, "A file of the page.", content, _ETAG)
    operation["parameters"] = [_header("If-None-Match", STRING, "An ETag that the caller has.")]
    operation["responses"]["304"] = {"description": "It is still the same.", "headers": _ETAG}
    return operation


def _header(name: str, schema: Document, what: str, example: str = "") -> Document:
    header = {"name": name, "in": "header", "required": False, "schema": schema}
    return header | {"description": what} | ({"example": example} if example else {})


def _answer(
    what: str, content: Document, headers: Mapping[str, Document] | None = None
) -> Document:
    answer: Document = {"description": what, "content": content}
    return answer | ({"headers": dict(headers)} if headers else {})


def _error(
    what: str, more: Document | None = None, headers: Mapping[str, Document] | None = None
) -> Document:
    return _answer(what, _json(_ref("Error")) | (more or {}), headers)


def _too_long() -> Document:
    return _error(f"More than {MAX_HEADERS} headers, or {MAX_HEAD_BYTES} bytes of them.")


def _json(schema: Document) -> Document:
    return {JSON_TYPE: {"schema": schema}}


def _page() -> Document:
    """The page, by which a form is answered."""
    return {HTML_TYPE: {"schema": STRING}}


def _status(word: str) -> Document:
    return _json(
        {
            "type": "object",
            "required": ["status"],
            "properties": {"status": {"const": word}},
            "additionalProperties": False,
            "examples": [{"status": word}],
        }
    )


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
