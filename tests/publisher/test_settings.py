"""Settings are read as a whole."""

import pytest

from publisher.settings import Settings, read_settings
from schemas.problem import ProblemsFound


def test_defaults():
    """A project is all that must be named."""
    settings = read_settings({"GOOGLE_CLOUD_PROJECT": "demo-project"})
    assert settings == Settings("demo-project", "issues-topic", "0.0.0.0", 8080, 8.0, "")
    assert settings.topic_path == "projects/demo-project/topics/issues-topic"


def test_all():
    """Every variable is heard."""
    environ = {
        "GOOGLE_CLOUD_PROJECT": "example.com:demo-project",
        "ISSUES_TOPIC": "other",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "PUBLISH_DEADLINE_SECONDS": "2.5",
        "PUBSUB_EMULATOR_HOST": "[::1]:8085",
    }
    expected = Settings("example.com:demo-project", "other", "127.0.0.1", 0, 2.5, "[::1]:8085")
    assert read_settings(environ, default_project=lambda: pytest.fail("asked")) == expected


def test_empty_is_not_set():
    """An empty variable counts as not set."""
    environ = dict.fromkeys(["GOOGLE_CLOUD_PROJECT", "ISSUES_TOPIC", "HOST", "PORT"], "")
    assert read_settings(environ, lambda: "my-project") == Settings("my-project")


def test_every_problem_at_once():
    """All that is wrong is said in one go, one sentence each."""
    environ = {
        "ISSUES_TOPIC": "google-topic",
        "PORT": "80.5",
        "PUBLISH_DEADLINE_SECONDS": "nan",
        "PUBSUB_EMULATOR_HOST": "http://localhost:8085",
    }
    with pytest.raises(ProblemsFound) as found:
        read_settings(environ, lambda: "")
    assert [problem.where for problem in found.value.problems] == [
        "GOOGLE_CLOUD_PROJECT",
        "ISSUES_TOPIC",
        "PUBSUB_EMULATOR_HOST",
        "PORT",
        "PUBLISH_DEADLINE_SECONDS",
    ]


@pytest.mark.parametrize("port", ["-1", "65536", "http", "inf"])
def test_port(port):
    """A port is a number that a port can be."""
    with pytest.raises(ProblemsFound, match="PORT"):
        read_settings({"GOOGLE_CLOUD_PROJECT": "demo-project", "PORT": port})
