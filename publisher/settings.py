"""The publisher's settings: read once from the environment, checked as a whole.

| variable | meaning | default |
|---|---|---|
| GOOGLE_CLOUD_PROJECT | project of the topic | the credentials' project |
| ISSUES_TOPIC | name of the topic | issues-topic |
| HOST, PORT | where `python -m publisher` listens (uvicorn's flags are its own) | 0.0.0.0, 8080 |
| PUBLISH_DEADLINE_SECONDS | how long a request waits for Pub/Sub's ack | 8 |
| PUBSUB_EMULATOR_HOST | host:port of an emulator, as Google's clients have it | Google Cloud |

On Google Cloud the service's account needs two roles on the topic: `roles/pubsub.publisher`, to
publish, and `roles/pubsub.viewer` (pubsub.topics.get), with which `/ready` tells a topic that is
missing or has no subscription. Without the second, `/ready` asks only whether it may publish, and
the log says so once.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import google.auth
from google.auth.exceptions import GoogleAuthError

from schemas.problem import Problem, ProblemsFound

DEFAULT_TOPIC = "issues-topic"
DEFAULT_HOST = "0.0.0.0"  # noqa: S104  # a container is reached from outside
DEFAULT_PORT = 8080

# Below the 10 s that Eventarc's subscription waits for an answer before it sends the event again,
# and that Cloud Run leaves an instance after SIGTERM.
DEFAULT_PUBLISH_DEADLINE = 8.0
MAX_PUBLISH_DEADLINE = 600.0

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_TOPIC = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
# Six to thirty letters, digits and hyphens; older ones carry a domain (example.com:name).
_PROJECT = re.compile(r"(?:[a-z0-9.\-]+:)?[a-z][a-z0-9\-]{4,28}[a-z0-9]")
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-_]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service runs with.

    Args:
        project: Project id of the topic.
        topic: The topic's name inside the project.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        publish_deadline: Seconds that a request waits for Pub/Sub's ack.
        emulator: host:port of a Pub/Sub emulator; '' is Google Cloud.
    """

    project: str
    topic: str = DEFAULT_TOPIC
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    publish_deadline: float = DEFAULT_PUBLISH_DEADLINE
    emulator: str = ""

    @property
    def topic_path(self) -> str:
        """The topic's full name."""
        return f"projects/{self.project}/topics/{self.topic}"


def credentials_project() -> str:
    """The project of the application default credentials; '' when there are none."""
    try:
        _, project = google.auth.default()
    except GoogleAuthError:
        return ""
    return project or ""


def read_settings(
    environ: Mapping[str, str], default_project: Callable[[], str] = credentials_project
) -> Settings:
    """Reads the environment; an empty variable counts as not set.

    Args:
        environ: The environment.
        default_project: Asked only when the environment names no project.

    Raises:
        ProblemsFound: With everything that is wrong at once.
    """
    problems: list[Problem] = []

    def matching(name: str, default: str, grammar: re.Pattern[str], form: str) -> str:
        value = environ.get(name) or default
        if value and not grammar.fullmatch(value):
            problems.append(Problem(name, f"{value!r} is not {form}"))
        return value

    def number(name: str, default: float, low: float, high: float) -> float:
        text = environ.get(name) or str(default)
        kind = type(default)
        try:
            value = kind(text)
        except ValueError:
            value = kind(high + 1)
        if low <= value <= high:  # false for NaN too
            return value
        what = f"{text!r} is not a number from {low:g} to {high:g}"
        problems.append(Problem(name, what, "a whole one" if kind is int else ""))
        return default

    project = matching("GOOGLE_CLOUD_PROJECT", "", _PROJECT, "a project id") or default_project()
    if not project:
        what = "is not set, and there are no credentials that name a project"
        problems.append(Problem("GOOGLE_CLOUD_PROJECT", what, "set it to the topic's project"))
    topic = matching("ISSUES_TOPIC", DEFAULT_TOPIC, _TOPIC, "a topic's name")
    emulator = matching("PUBSUB_EMULATOR_HOST", "", _HOST_PORT, "host:port")
    port = number("PORT", DEFAULT_PORT, 0, 65_535)
    deadline = number(
        "PUBLISH_DEADLINE_SECONDS", DEFAULT_PUBLISH_DEADLINE, 0.1, MAX_PUBLISH_DEADLINE
    )
    if problems:
        raise ProblemsFound(problems)
    host = environ.get("HOST") or DEFAULT_HOST
    return Settings(project, topic, host, int(port), deadline, emulator)
