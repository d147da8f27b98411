"""The publisher's settings: read once from the environment, checked as a whole.

| variable | meaning | default |
|---|---|---|
| GOOGLE_CLOUD_PROJECT | project of the topic | the credentials' project |
| ISSUES_TOPIC | name of the topic | issues-topic |
| HOST, PORT | where `python -m publisher` listens | 0.0.0.0, 8080 |
| AUTH | `on`: events need a Google-signed token, issues an API key | off, on Cloud Run on |
| EVENT_AUDIENCES | whom a token must be meant for: the service's URLs | none |
| EVENT_SERVICE_ACCOUNTS | who may send events, by e-mail address | none |
| API_KEYS | who may file issues: `client:sha256` (`python -m publisher key`) | none |
| CORS_ORIGINS | whose pages may file issues, such as https://example.com | none |
| MESSAGE_FORMAT | `cloudevents`, or `flat` for Google's template (docs/flat.md) | cloudevents |
| PUBLISH_DEADLINE_SECONDS | how long a request waits for Pub/Sub's ack | 8 |
| BODY_DEADLINE_SECONDS | how long a body may take to come in | 30 |
| QUEUE_MESSAGES, QUEUE_BYTES | most that is held at once; beyond it 429 | see room.py |
| LOG_FORMAT | `json`, in Cloud Logging's field names, or `text` | text, on Cloud Run json |
| METRICS_PORT | where metrics are served, on 127.0.0.1 alone; 0 is nowhere | 0 |
| PUBSUB_EMULATOR_HOST | host:port of an emulator | Google Cloud |

Cloud Run is told by K_SERVICE. Lists are parted by commas or white space.

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

from publisher.access import access_problems
from publisher.environment import Environment
from publisher.keys import ApiKey, parse_keys
from publisher.room import DEFAULT_MAX_BYTES, DEFAULT_MAX_MESSAGES
from schemas.problem import ProblemsFound

DEFAULT_TOPIC = "issues-topic"
DEFAULT_HOST = "0.0.0.0"  # noqa: S104  # a container is reached from outside
DEFAULT_PORT = 8080

# Below the 10 s that Eventarc's subscription waits for an answer before it sends the event again,
# and that Cloud Run leaves an instance after SIGTERM.
DEFAULT_PUBLISH_DEADLINE = 8.0
MAX_PUBLISH_DEADLINE = 8.5
DEFAULT_BODY_DEADLINE = 30.0
MAX_BODY_DEADLINE = 600.0

# Room for one body of the most bytes is the least that works.
MIN_QUEUE_MESSAGES = 1
MIN_QUEUE_BYTES = 10_000_000

CLOUDEVENTS = "cloudevents"
FLAT = "flat"

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_TOPIC = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
# Six to thirty letters, digits and hyphens; older ones carry a domain (example.com:name).
_PROJECT = re.compile(r"(?:[a-z0-9.\-]+:)?[a-z][a-z0-9\-]{4,28}[a-z0-9]")
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-_]+):[0-9]{1,5}")
# RFC 6454, 6.1, as browsers send it: lower-case, no path, no slash at the end.
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9.\-]+)(?::[0-9]{1,5})?")
_AUDIENCE = re.compile(r"[!-~]+")
_ACCOUNT = re.compile(r"[A-Za-z0-9.\-_+]+@[A-Za-z0-9.\-]+")


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
        body_deadline: Seconds that a body may take to come in.
        queue_messages: Most messages that are held at once.
        queue_bytes: Most bytes of bodies that are held at once.
        message_format: `CLOUDEVENTS` or `FLAT`.
        auth: Whether callers must show who they are.
        event_audiences: Whom a token must be meant for.
        event_accounts: Service accounts that may send events.
        api_keys: Of clients that may file issues.
        origins: Whose pages may file issues.
        log_format: `json` or `text`.
        metrics_port: On 127.0.0.1; 0 is nowhere.
    """

    project: str
    topic: str = DEFAULT_TOPIC
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    publish_deadline: float = DEFAULT_PUBLISH_DEADLINE
    emulator: str = ""
    body_deadline: float = DEFAULT_BODY_DEADLINE
    queue_messages: int = DEFAULT_MAX_MESSAGES
    queue_bytes: int = DEFAULT_MAX_BYTES
    message_format: str = CLOUDEVENTS
    auth: bool = False
    event_audiences: tuple[str, ...] = ()
    event_accounts: tuple[str, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    origins: tuple[str, ...] = ()
    log_format: str = "text"
    metrics_port: int = 0

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
    env = Environment(environ)
    on_cloud_run = bool(env.text("K_SERVICE"))
    project = env.matching("GOOGLE_CLOUD_PROJECT", "", _PROJECT, "a project id")
    project = project or default_project()
    if not project:
        what = "is not set, and there are no credentials that name a project"
        env.problem("GOOGLE_CLOUD_PROJECT", what, "set it to the topic's project")
    topic = env.matching("ISSUES_TOPIC", DEFAULT_TOPIC, _TOPIC, "a topic's name")
    emulator = env.matching("PUBSUB_EMULATOR_HOST", "", _HOST_PORT, "host:port")
    port = env.number("PORT", DEFAULT_PORT, 0, 65_535)
    publish_deadline = env.number(
        "PUBLISH_DEADLINE_SECONDS", DEFAULT_PUBLISH_DEADLINE, 0.1, MAX_PUBLISH_DEADLINE
    )
    body_deadline = env.number(
        "BODY_DEADLINE_SECONDS", DEFAULT_BODY_DEADLINE, 0.1, MAX_BODY_DEADLINE
    )
    messages = env.number("QUEUE_MESSAGES", DEFAULT_MAX_MESSAGES, MIN_QUEUE_MESSAGES, 1_000_000)
    queue_bytes = env.number("QUEUE_BYTES", DEFAULT_MAX_BYTES, MIN_QUEUE_BYTES, 1 << 40)
    message_format = env.one_of("MESSAGE_FORMAT", CLOUDEVENTS, (CLOUDEVENTS, FLAT))
    auth = env.one_of("AUTH", "on" if on_cloud_run else "off", ("on", "off")) == "on"
    audiences = env.listed("EVENT_AUDIENCES", _AUDIENCE, "an audience")
    accounts = env.listed("EVENT_SERVICE_ACCOUNTS", _ACCOUNT, "a service account's e-mail address")
    origins = env.listed("CORS_ORIGINS", _ORIGIN, "an origin such as https://example.com")
    keys: tuple[ApiKey, ...] = ()
    try:
        keys = parse_keys(env.text("API_KEYS"))
    except ProblemsFound as error:
        env.problems += error.problems
    else:
        env.problems += access_problems(auth, audiences, accounts, keys)
    log_format = env.one_of("LOG_FORMAT", "json" if on_cloud_run else "text", ("json", "text"))
    metrics_port = env.number("METRICS_PORT", 0, 0, 65_535)
    env.check()
    return Settings(
        project=project,
        topic=topic,
        host=env.text("HOST", DEFAULT_HOST),
        port=int(port),
        publish_deadline=publish_deadline,
        emulator=emulator,
        body_deadline=body_deadline,
        queue_messages=int(messages),
        queue_bytes=int(queue_bytes),
        message_format=message_format,
        auth=auth,
        event_audiences=audiences,
        event_accounts=accounts,
        api_keys=keys,
        origins=origins,
        log_format=log_format,
        metrics_port=int(metrics_port),
    )
