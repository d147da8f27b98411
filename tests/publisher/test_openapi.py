"""The contract: a valid document of what is served, whose examples and answers are true."""

import json
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from publisher.app import create_app, routes
from publisher.keys import new_key
from publisher.openapi import document
from publisher.readiness import Readiness
from publisher.room import Room
from publisher.settings import Settings
from schemas.cloudevents import BATCH_TYPE, STRUCTURED_TYPE
from schemas.event import decode_message
from tests.contract.broker_contract import MemoryBroker
from tests.publisher.conftest import started

KEY, ENTRY = new_key("helpdesk")
OPEN = Settings("demo-project")
CLOSED = Settings("demo-project", auth=True, api_keys=(ENTRY,))
FLAT = Settings("demo-project", message_format="flat")

FORM = "application/x-www-form-urlencoded"
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s"}
ISSUE = b'{"title":"x"}'


def operations(described):
    return {
        (path, method): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


@pytest.fixture
async def serve():
    """Starts the service as it is set up; a client of it, and what its broker has."""
    async with AsyncExitStack() as stack:

        async def start(settings, broker=None):
            broker = broker or MemoryBroker()
            app = create_app(lambda: settings, lambda *_: broker)
            await stack.enter_async_context(started(app))
            transport = httpx.ASGITransport(app=app)
            client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
            return await stack.enter_async_context(client), broker

        yield start


@pytest.mark.parametrize("settings", [OPEN, CLOSED, FLAT], ids=["open", "closed", "flat"])
async def test_the_document_is_valid(serve, settings):
    """By the specification's own schema, as it is served; each operation has a name of its own."""
    client, _ = await serve(settings)
    response = await client.get("/openapi.json")
    served = response.json()
    assert (response.status_code, served) == (200, json.loads(json.dumps(document(settings))))
    assert not [error.message for error in OpenAPIV31SpecValidator(served).iter_errors()]
    names = [operation["operationId"] for operation in operations(served).values()]
    assert len(set(names)) == len(names)


def test_what_is_served_is_described_and_nothing_else():
    """Every route and method; HEAD stands wherever GET does."""
    served = {("/", "post")}  # it passes by the router
    for route in routes(OPEN, Readiness(MemoryBroker(), Room(1, 1))):
        served |= {(route.path, method.lower()) for method in route.methods - {"HEAD"}}
    assert set(operations(document(OPEN))) == served


async def test_other_paths_and_methods(serve):
    """Are answered as the description says."""
    client, _ = await serve(OPEN)
    missing, put = await client.get("/other"), await client.put("/live")
    assert (missing.status_code, put.status_code) == (404, 405)
    assert set(put.headers["allow"].split(", ")) == {"GET", "HEAD"}
    for response in (missing, put):
        assert_described(document(OPEN), {"$ref": "#/components/schemas/Error"}, response.json())
    assert "404" in document(OPEN)["info"]["description"]


def test_credentials_are_described_where_they_are_needed():
    """Both kinds, the form's field and the 401; nothing of them where access is off."""
    closed, open_ = document(CLOSED), document(OPEN)
    assert closed["paths"]["/"]["post"]["security"] == [{"token": []}, {"key": []}]
    schemes = closed["components"]["securitySchemes"]
    assert (schemes["token"]["scheme"], schemes["key"]["name"]) == ("bearer", "X-API-Key")
    assert "api_key" in closed["components"]["schemas"]["Form"]["properties"]
    assert "401" in closed["paths"]["/"]["post"]["responses"]
    for word in ("security", "api_key", "401", "X-API-Key"):
        assert word not in json.dumps(open_)


def examples():
    """Every example of a body for `POST /`: content type, body, and whether it is an issue."""
    schemas = document(OPEN)["components"]["schemas"]
    dumped = {
        "application/json": ["Issue", "Older"],
        STRUCTURED_TYPE: ["Event"],
        BATCH_TYPE: ["Batch"],
    }
    for content_type, names in dumped.items():
        for name in names:
            for example in schemas[name]["examples"]:
                yield pytest.param(content_type, json.dumps(example), name == "Issue", id=name)
    for example in schemas["Form"]["examples"]:
        yield pytest.param(FORM, urlencode(example), True, id="Form")


@pytest.mark.parametrize("settings", [OPEN, FLAT], ids=["cloudevents", "flat"])
@pytest.mark.parametrize(("content_type", "body", "issue"), examples())
async def test_examples_are_true(serve, settings, content_type, body, issue):
    """Each is taken and answered as described; the events can be read."""
    client, broker = await serve(settings)
    headers = {"content-type": content_type, "accept": "application/json"}
    response = await client.post("/", content=body, headers=headers)
    assert response.status_code == (200 if issue else 204), response.text
    if issue:
        assert_described(
            document(settings), {"$ref": "#/components/schemas/Created"}, response.json()
        )
    titles = [decode_message(message).fields["title"] for message in broker.messages]
    assert titles == ["Login fails"] * (2 if content_type == BATCH_TYPE else 1)


async def test_examples_of_headers_are_an_event(serve):
    """Those of binary mode together, with the structured example's data."""
    client, broker = await serve(OPEN)
    described = document(OPEN)
    headers = {
        parameter["name"]: parameter["example"]
        for parameter in described["paths"]["/"]["post"]["parameters"]
    }
    assert set(headers) >= set(BINARY)
    response = await client.post(
        "/", content=b"\x00", headers=headers | {"content-type": "application/protobuf"}
    )
    assert response.status_code == 204
    assert broker.messages[0].attributes["ce-subject"] == headers["ce-subject"]


ANSWERS = [
    (OPEN, 200, {"content-type": "application/json"}, ISSUE),
    (OPEN, 200, {"content-type": FORM}, b"title=x"),
    (OPEN, 200, {"content-type": FORM, "accept": "application/json"}, b"title=x"),
    (OPEN, 204, BINARY, b""),
    (OPEN, 400, {"content-type": "application/json"}, b"{"),
    (OPEN, 400, {"content-type": FORM}, b"title=+"),
    (OPEN, 400, {"content-type": "multipart/form-data"}, b""),
    (OPEN, 403, {"content-type": FORM, "origin": "https://elsewhere.example"}, b"title=x"),
    (OPEN, 413, {"content-type": "application/json"}, b" " * 9_000_001),
    (OPEN, 415, {"content-type": "text/plain"}, b"x"),
    (CLOSED, 401, {"content-type": "application/json"}, ISSUE),
    (CLOSED, 401, {"content-type": FORM}, b"title=x"),
    (CLOSED, 401, BINARY, b""),
    (CLOSED, 403, BINARY | {"x-api-key": KEY}, b""),
    (CLOSED, 200, {"content-type": FORM}, b"title=x&api_key=" + KEY.encode()),
]


@pytest.mark.parametrize(
    ("settings", "status", "headers", "body"),
    ANSWERS,
    ids=[f"{'closed' if s.auth else 'open'}-{n}-{i}" for i, (s, n, _, _) in enumerate(ANSWERS)],
)
async def test_answers_are_as_described(serve, settings, status, headers, body):
    """Status, content type, headers and content."""
    client, _ = await serve(settings)
    response = await client.post("/", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert_answer(document(settings), ("/", "post"), response)


async def test_a_full_service_is_as_described(serve):
    """429 where there is no room, with Retry-After."""
    client, broker = await serve(Settings("demo-project", queue_messages=0))
    response = await client.post("/", content=ISSUE)
    assert (response.status_code, broker.messages) == (429, [])
    assert_answer(document(OPEN), ("/", "post"), response)


@pytest.mark.parametrize("content_type", ["application/json", FORM])
async def test_an_unreachable_topic_is_as_described(serve, content_type):
    """503 with Retry-After, of an issue and of readiness; a form is answered by the page."""
    client, _ = await serve(OPEN, MemoryBroker(topic_exists=False))
    body = ISSUE if content_type == "application/json" else b"title=x"
    response = await client.post("/", content=body, headers={"content-type": content_type})
    ready = await client.get("/ready")
    assert (response.status_code, ready.status_code) == (503, 503)
    assert_answer(document(OPEN), ("/", "post"), response)
    assert_answer(document(OPEN), ("/ready", "get"), ready)


@pytest.mark.parametrize(
    "path", [path for path, method in operations(document(OPEN)) if method == "get"]
)
async def test_what_is_asked_for_is_as_described(serve, path):
    """Every GET: content type and content; and again, for those with a tag."""
    client, _ = await serve(OPEN)
    response = await client.get(path)
    assert response.status_code == 200
    assert_answer(document(OPEN), (path, "get"), response)
    if tag := response.headers.get("etag"):
        again = await client.get(path, headers={"If-None-Match": tag})
        assert again.status_code == 304
        assert_answer(document(OPEN), (path, "get"), again)


def assert_answer(described, operation, response):
    """Status, content type, headers and JSON of an answer are those of the document."""
    answer = operations(described)[operation]["responses"][str(response.status_code)]
    content = answer.get("content", {})
    content_type = response.headers.get("content-type", "").partition(";")[0]
    assert content_type in content if content else not response.content
    for name, header in answer.get("headers", {}).items():
        assert_described(described, header["schema"], response.headers[name])
    documented = {name.lower() for name in answer.get("headers", {})}
    assert {"retry-after", "www-authenticate"} & set(response.headers) <= documented
    if content_type == "application/json":
        assert_described(described, content[content_type]["schema"], response.json())


def assert_described(described, schema, value):
    whole = {"components": described["components"], **schema}
    assert not [error.message for error in Draft202012Validator(whole).iter_errors(value)], value
