"""The service's contract, as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.0."""

from typing import Any

from publisher.body import MAX_BODY_BYTES
from publisher.page import STATIC
from publisher.settings import Settings
from schemas.cloudevents import BATCH_TYPE, STRUCTURED_TYPE

Document = dict[str, Any]

_ERROR = {"$ref": "#/components/schemas/Error"}
_RETRY = {
    "Retry-After": {
        "description": "Seconds after which to send it again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    }
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "Which credential is asked for.",
        "schema": {"type": "string"},
    }
}

_EVENT: Document = {
    "type": "object",
    "description": "A CloudEvent 1.0 in the JSON format; further attributes are taken too.",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "time": {"type": "string", "format": "date-time"},
        "subject": {"type": "string"},
        "datacontenttype": {"type": "string"},
        "dataschema": {"type": "string", "format": "uri"},
        "data": {},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
    "required": ["specversion", "id", "source", "type"],
}
_ISSUE: Document = {
    "type": "object",
    "description": "Any JSON object that is not empty, byte for byte; these fields have columns.",
    "properties": {
        "title": {"description": "One line that says what is wrong."},
        "priority": {"description": "Such as P1."},
        "description": {"description": "The whole text."},
        "labels": {"description": "An array of strings."},
    },
    "minProperties": 1,
    "examples": [{"title": "Login fails", "priority": "P1", "labels": ["login"]}],
}
_FORM: Document = {
    "type": "object",
    "description": "The page's fields; any other is taken too. `labels` is split at commas.",
    "properties": {
        "title": {"type": "string"},
        "priority": {"type": "string"},
        "description": {"type": "string"},
        "labels": {"type": "string"},
        "field_name": {"type": "array", "items": {"type": "string"}},
        "field_value": {"type": "array", "items": {"type": "string"}},
        "idempotency_key": {"type": "string", "maxLength": 255},
        "api_key": {"type": "string"},
    },
}
_CREATED: Document = {
    "type": "object",
    "properties": {
        "issue_id": {"type": "string", "pattern": "^INC-[0-9A-F]{8}$"},
        "status": {"const": "created"},
    },
    "required": ["issue_id", "status"],
    "additionalProperties": False,
    "examples": [{"issue_id": "INC-7D7165C1", "status": "created"}],
}


def document(settings: Settings) -> Document:
    """The document of the service as it is set up.

    Args:
        settings: Say whether callers must show who they are.
    """
    post = _post()
    components: Document = {
        "schemas": {
            "Error": {
                "type": "object",
                "properties": {"error": {"type": "string", "minLength": 1}},
                "required": ["error"],
                "additionalProperties": False,
            },
            "Event": _EVENT,
            "Issue": _ISSUE,
            "Created": _CREATED,
        }
    }
    if settings.auth:
        post["security"] = [{"token": []}, {"key": []}]
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
                "description": "For issues; a form may have it as its field `api_key` instead.",
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "firestore-to-pubsub",
            "version": "1",
            "description": "Takes manual issues and Firestore changes, and answers when Pub/Sub "
            "has them.",
        },
        "paths": {
            "/": {"get": _html("The page that files an issue."), "post": post},
            "/live": {"get": _status("Whether the process is alive.", "live")},
            "/ready": {"get": _ready()},
            "/openapi.json": {"get": _json("This document.", {"type": "object"})},
            **{path: {"get": _static(type_)} for path, type_ in STATIC.items()},
        },
        "components": components,
    }


def _post() -> Document:
    headers = {
        "ce-id": "Of a CloudEvent in binary mode, with ce-source, ce-type, ce-specversion.",
        "Idempotency-Key": "Of an issue: the same call again is the same issue.",
    }
    return {
        "summary": "Files an issue, or takes CloudEvents.",
        "description": "CloudEvents in binary mode (`ce-` headers, any content type), structured "
        'or batched; the older body `{"data": base64}`; any other JSON object, or a form, is a '
        "manual issue. A 2xx means that Pub/Sub has every message of the request.",
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": what,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
            for name, what in headers.items()
            if name == "Idempotency-Key"
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {MAX_BODY_BYTES} bytes. {headers['ce-id']}",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Issue"}},
                STRUCTURED_TYPE: {"schema": {"$ref": "#/components/schemas/Event"}},
                BATCH_TYPE: {
                    "schema": {
                        "type": "array",
                        "maxItems": 1000,
                        "items": {"$ref": "#/components/schemas/Event"},
                    }
                },
                "application/x-www-form-urlencoded": {"schema": _FORM},
                "multipart/form-data": {"schema": _FORM},
            },
        },
        "responses": {
            "200": _answer("The issue is filed.", {"$ref": "#/components/schemas/Created"}),
            "204": {"description": "Pub/Sub has the event, or every event of the batch."},
            "400": _error("It can never be a message."),
            "401": _error("The credential is missing or not accepted.", _CHALLENGE),
            "403": _error("The caller may not send this."),
            "408": _error("The body did not come in time."),
            "413": _error(
                "The body, the message or the batch (1,000 events, 1,000 members of an event) is "
                "more than is taken."
            ),
            "415": _error("The content type is none of those, and there are no ce- headers."),
            "429": _error("The queue is full: nothing was taken.", _RETRY),
            "431": {
                "description": "Too many headers, or too long ones.",
                "content": {"application/json": {"schema": _ERROR}},
            },
            "503": _error("Pub/Sub did not take it in time; it may be there.", _RETRY),
        },
    }


def _answer(what: str, schema: Document, headers: Document | None = None) -> Document:
    """An answer that is JSON, or the page where a form was sent."""
    answer: Document = {
        "description": what,
        "content": {
            "application/json": {"schema": schema},
            "text/html": {"schema": {"type": "string"}},
        },
    }
    if headers:
        answer["headers"] = headers
    return answer


def _error(what: str, headers: Document | None = None) -> Document:
    return _answer(what, _ERROR, headers)


def _json(what: str, schema: Document) -> Document:
    content = {"application/json": {"schema": schema}}
    return {"summary": what, "responses": {"200": {"description": what, "content": content}}}


def _status(what: str, status: str) -> Document:
    return _json(
        what,
        {
            "type": "object",
            "properties": {"status": {"const": status}},
            "required": ["status"],
            "additionalProperties": False,
        },
    )


def _ready() -> Document:
    what = "Whether the topic is reachable and subscribed to, and the queue has room."
    ready = _status(what, "ready")
    ready["responses"]["503"] = {
        "description": "Why it is not.",
        "headers": _RETRY,
        "content": {"application/json": {"schema": _ERROR}},
    }
    return ready


def _html(what: str) -> Document:
    content = {"text/html": {"schema": {"type": "string"}}}
    return {"summary": what, "responses": {"200": {"description": what, "content": content}}}


def _static(type_: str) -> Document:
    content = {type_.partition(";")[0]: {"schema": {"type": "string"}}}
    return {
        "summary": "A file of the page.",
        "responses": {
            "200": {"description": "The file.", "content": content},
            "304": {"description": "It has not changed."},
        },
    }
