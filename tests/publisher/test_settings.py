"""Settings are read as a whole."""

import hashlib

import pytest

from publisher.keys import ApiKey
from publisher.room import DEFAULT_MAX_BYTES, DEFAULT_MAX_MESSAGES
from publisher.settings import Settings, read_settings
from schemas.problem import ProblemsFound

DIGEST = hashlib.sha256(b"a key").hexdigest()
ACCOUNT = "eventarc@demo-project.iam.gserviceaccount.com"
CLOUD_RUN = {"GOOGLE_CLOUD_PROJECT": "demo-project", "K_SERVICE": "firestore-to-pubsub"}


def problems(environ):
    with pytest.raises(ProblemsFound) as found:
        read_settings(environ, lambda: "")
    return [problem.where for problem in found.value.problems]


def test_defaults():
    """A project is all that must be named."""
    settings = read_settings({"GOOGLE_CLOUD_PROJECT": "demo-project"})
    assert settings == Settings(
        project="demo-project",
        topic="issues-topic",
        host="0.0.0.0",
        port=8080,
        publish_deadline=8.0,
        emulator="",
        body_deadline=30.0,
        queue_messages=DEFAULT_MAX_MESSAGES,
        queue_bytes=DEFAULT_MAX_BYTES,
        message_format="cloudevents",
        auth=False,
        log_format="text",
        metrics_port=0,
    )
    assert settings.topic_path == "projects/demo-project/topics/issues-topic"


def test_all():
    """Every variable is heard."""
    environ = {
        "GOOGLE_CLOUD_PROJECT": "example.com:demo-project",
        "ISSUES_TOPIC": "other",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "AUTH": "on",
        "EVENT_AUDIENCES": "https://one.example, https://two.example/x",
        "EVENT_SERVICE_ACCOUNTS": ACCOUNT,
        "API_KEYS": f"shop:{DIGEST}",
        "CORS_ORIGINS": "https://example.com http://localhost:5173",
        "MESSAGE_FORMAT": "flat",
        "PUBLISH_DEADLINE_SECONDS": "2.5",
        "BODY_DEADLINE_SECONDS": "5",
        "QUEUE_MESSAGES": "1000",
        "QUEUE_BYTES": "50000000",
        "LOG_FORMAT": "json",
        "METRICS_PORT": "9090",
        "PUBSUB_EMULATOR_HOST": "[::1]:8085",
    }
    assert read_settings(environ, default_project=lambda: pytest.fail("asked")) == Settings(
        project="example.com:demo-project",
        topic="other",
        host="127.0.0.1",
        port=0,
        publish_deadline=2.5,
        emulator="[::1]:8085",
        body_deadline=5.0,
        queue_messages=1000,
        queue_bytes=50_000_000,
        message_format="flat",
        auth=True,
        event_audiences=("https://one.example", "https://two.example/x"),
        event_accounts=(ACCOUNT,),
        api_keys=(ApiKey("shop", bytes.fromhex(DIGEST)),),
        origins=("https://example.com", "http://localhost:5173"),
        log_format="json",
        metrics_port=9090,
    )


def test_empty_is_not_set():
    """An empty variable counts as not set."""
    environ = dict.fromkeys(["GOOGLE_CLOUD_PROJECT", "ISSUES_TOPIC", "HOST", "PORT", "AUTH"], "")
    assert read_settings(environ, lambda: "my-project") == Settings("my-project")


def test_every_problem_at_once():
    """All that is wrong is said in one go, one sentence each."""
    environ = {
        "ISSUES_TOPIC": "google-topic",
        "PORT": "80.5",
        "AUTH": "maybe",
        "EVENT_SERVICE_ACCOUNTS": "no address",
        "API_KEYS": "shop:key",
        "CORS_ORIGINS": "https://example.com/",
        "MESSAGE_FORMAT": "xml",
        "PUBLISH_DEADLINE_SECONDS": "nan",
        "BODY_DEADLINE_SECONDS": "0",
        "QUEUE_MESSAGES": "0",
        "QUEUE_BYTES": "1e9",
        "LOG_FORMAT": "xml",
        "METRICS_PORT": "-1",
        "PUBSUB_EMULATOR_HOST": "http://localhost:8085",
    }
    assert set(problems(environ)) == {"GOOGLE_CLOUD_PROJECT", *environ}


@pytest.mark.parametrize("port", ["-1", "65536", "http", "inf"])
def test_port(port):
    """A port is a number that a port can be."""
    assert problems({"GOOGLE_CLOUD_PROJECT": "demo-project", "PORT": port}) == ["PORT"]


def test_ack_deadline():
    """Nobody can set a publish deadline that Eventarc's ack deadline comes before."""
    environ = {"GOOGLE_CLOUD_PROJECT": "demo-project", "PUBLISH_DEADLINE_SECONDS": "9.5"}
    assert problems(environ) == ["PUBLISH_DEADLINE_SECONDS"]


def test_on_cloud_run():
    """On Cloud Run strangers are kept out and logs are JSON, without a word in the settings."""
    settings = read_settings(CLOUD_RUN | {"API_KEYS": f"shop:{DIGEST}"})
    assert (settings.auth, settings.log_format) == (True, "json")


def test_nobody_may_enter():
    """A service that would refuse everyone does not start, unless it is opened by name."""
    with pytest.raises(ProblemsFound, match="AUTH"):
        read_settings(CLOUD_RUN)
    assert not read_settings(CLOUD_RUN | {"AUTH": "off"}).auth


def test_accounts_need_an_audience():
    """Accounts without an audience would take a token that was made for any other service."""
    assert problems(CLOUD_RUN | {"EVENT_SERVICE_ACCOUNTS": ACCOUNT}) == ["EVENT_AUDIENCES"]
