"""The earlier service's way, to measure beside: Flask, JSON in, an id, Google's batching client.

Written to lose nothing by being written here: no validation, no logging, one client for all
requests, and events are passed on undecoded. It is served by gunicorn's threads as
`bench.publisher.earlier:not_waiting` and `:waiting`, and by functions-framework as `function`.

| way | answers | a 2xx means |
|---|---|---|
| not waiting | when the client has the message in its batch | that it may be sent |
| waiting | when Pub/Sub has acknowledged it | what it says |
"""

import hashlib
import json
import os
import uuid

from flask import Flask, Request, Response, request
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.publisher.futures import Future

from schemas.times import format_micros, now_micros

_ACK_SECONDS = 8.0

_client = PublisherClient()
_topic = f"projects/{os.environ['GOOGLE_CLOUD_PROJECT']}/topics/{os.environ['ISSUES_TOPIC']}"


def function(asked: Request) -> Response:
    """The handler that functions-framework serves: waits for the ack."""
    if asked.method == "GET":  # every path of it is the function's
        return Response("live")
    future, answer = _publish(asked)
    future.result(timeout=_ACK_SECONDS)
    return answer


def _publish(asked: Request) -> tuple[Future, Response]:
    """One request's message to the client's batch, and the answer to give."""
    if "ce-id" in asked.headers:
        attributes = {name.lower(): value for name, value in asked.headers if _is_ce(name)}
        return _client.publish(_topic, asked.get_data(), **attributes), Response(status=204)
    payload = asked.get_json()
    digits = hashlib.sha256(uuid.uuid4().bytes).hexdigest()[:8].upper()
    row = {
        "issue_id": f"INC-{digits}",
        "source": "manual-api",
        "created_at": format_micros(now_micros()),
        "payload": json.dumps(payload),
    }
    answer = json.dumps({"issue_id": row["issue_id"], "status": "created"})
    future = _client.publish(_topic, json.dumps(row).encode())
    return future, Response(answer, mimetype="application/json")


def _is_ce(name: str) -> bool:
    return name.lower().startswith("ce-")


def _app(*, waits: bool) -> Flask:
    app = Flask(__name__)

    @app.post("/")
    def post() -> Response:
        if waits:
            return function(request)
        return _publish(request)[1]

    @app.get("/live")
    def live() -> Response:
        return Response("live")

    return app


not_waiting = _app(waits=False)
waiting = _app(waits=True)
