"""What preflight refuses of Pub/Sub, on the real emulator wherever it can express the setting."""

import itertools
import os
import subprocess
import time
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace

import grpc
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.schema_service import SchemaServiceClient
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport

from local.emulators import find
from pipeline import preflight_pubsub, refusals
from pipeline.launch import DONE, REFUSED, main
from pipeline.options import parse
from pipeline.preflight import examine
from schemas import live
from schemas.apply import apply
from tests.pipeline.conftest import free_port, listens

pytestmark = pytest.mark.emulators

SECONDS = 20
numbers = itertools.count(1)
DROPS = [{"javascript_udf": {"function_name": "f", "code": "function f(m, x) { return null; }"}}]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    """host:port of a Pub/Sub emulator of this module's own."""
    port = free_port()
    log = tmp_path_factory.mktemp("pubsub") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            find(own=True).pubsub_command(str(port)), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            ended = process.poll() is not None or time.monotonic() > deadline
            assert not ended, log.read_text()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Place:
    """A project of a test's own, with the topics and subscriptions that the job uses."""

    project: str
    publisher: object
    subscriber: object

    def path(self, kind, name):
        return f"projects/{self.project}/{kind}/{name}"

    def topic(self, name, **more):
        request = {"name": self.path("topics", name), **more}
        self.publisher.create_topic(request=request, timeout=SECONDS, retry=None)

    def subscription(self, name, topic, **more):
        request = {
            "name": self.path("subscriptions", name),
            "topic": self.path("topics", topic),
            **more,
        }
        self.subscriber.create_subscription(request=request, timeout=SECONDS, retry=None)

    def settings(self, *more):
        dataset = "--output_dataset=demo-project.issues_ds"
        return parse([f"--project={self.project}", dataset, *more], lambda: "")

    def problems(self, *more):
        return [str(problem) for problem in examine(self.settings(*more)).problems]


@pytest.fixture(scope="module")
def tables(bigquery_process):
    """BigQuery's stand-in with the tables as they should be."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bigquery_process.environment().items():
            patch.setenv(name, value)
        apply(
            live.bigquery_client("demo-project"),
            "issues_ds",
            parse(["--project=demo-project"], lambda: "").tables,
        )


@pytest.fixture
def place(emulator, bigquery, tables, monkeypatch):
    """An empty project of the emulator; BigQuery is as it should be."""
    monkeypatch.setenv(live.PUBSUB_EMULATOR_HOST, emulator)
    project = f"demo-place-{next(numbers)}"
    return Place(project, live.publisher_client(), live.subscriber_client())


@dataclass
class Case:
    """How a project is set up, and what is said of it; `{...}` are filled in.

    Args:
        input: Settings of the subscription that is read; None: there is none.
        topic: Settings of its topic.
        letters: Settings of the subscription of the dead letters; None: there is none.
        letters_topic: Settings of their topic; None: there is none.
        then: What happens to it all in the end.
        before: What is made first.
        argv: Further flags of the job.
        told: What is said.
    """

    told: list
    input: dict | None = field(default_factory=dict)
    topic: dict = field(default_factory=dict)
    letters: dict | None = field(default_factory=dict)
    letters_topic: dict | None = field(default_factory=dict)
    then: object = lambda place: None
    before: object = lambda place: None
    argv: tuple = ()

    def set_up(self, place):
        self.before(place)
        place.topic("issues-topic", **self.topic)
        if self.input is not None:
            more = filled(self.input, place.project)
            place.subscription("issues-pipeline-sub", "issues-topic", **more)
        if self.letters_topic is not None:
            place.topic("issues-dead-letter", **filled(self.letters_topic, place.project))
            if self.letters is not None:
                place.subscription("issues-dead-letter-sub", "issues-dead-letter", **self.letters)
        self.then(place)


def delete_topic(name):
    def delete(place):
        path = place.path("topics", name)
        place.publisher.delete_topic(topic=path, timeout=SECONDS, retry=None)

    return delete


def make_schema(place):
    channel = grpc.insecure_channel(os.environ[live.PUBSUB_EMULATOR_HOST])
    with channel:
        transport = SchemaServiceGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        SchemaServiceClient(transport=transport).create_schema(
            parent=f"projects/{place.project}",
            schema={
                "type_": "AVRO",
                "definition": '{"type": "record", "name": "R", "fields": '
                '[{"name": "a", "type": "string"}]}',
            },
            schema_id="letters",
            timeout=SECONDS,
            retry=None,
        )


SUB = "projects/{p}/subscriptions/issues-pipeline-sub"
IN = f"--input_subscription {SUB}"
TOPIC = "projects/{p}/topics/issues-topic"
DEAD = "--dead_letter_topic projects/{p}/topics/issues-dead-letter"
LETTERS = "projects/{p}/subscriptions/issues-dead-letter-sub"
UPDATE = f"gcloud pubsub subscriptions update {SUB}"
ANOTHER = "create another subscription: this cannot be changed, and give its name"
KEEPS = "create one without filter, transform and expiry that keeps messages for a day at least"
CASES = {
    "subscription-missing": Case(
        [
            (
                f"{IN}: is not there (create it on the issues topic before the publisher starts: a "
                "topic without a subscription discards what comes)"
            )
        ],
        input=None,
    ),
    "topic-deleted": Case(
        [
            (
                f"{IN}: its topic was deleted: nothing comes here any more, though a topic of that "
                "name be made again (let the job empty it with --stop_when_idle or a drain, then "
                "create it anew on the topic)"
            )
        ],
        then=delete_topic("issues-topic"),
    ),
    "retention": Case(
        [
            (
                f"{IN}: keeps messages for 10 minutes, and what the job has not read by then is "
                f"lost: a day at least ({UPDATE} --message-retention-duration=7d)"
            )
        ],
        input={"message_retention_duration": timedelta(minutes=10)},
    ),
    "expiration": Case(
        [
            (
                f"{IN}: is deleted, with all that is in it, when the job is away for 31 days "
                f"({UPDATE} --expiration-period=never)"
            )
        ],
        input={"expiration_policy": {"ttl": timedelta(days=31)}},
    ),
    "filter": Case(
        [f"""{IN}: drops what does not match its filter 'attributes.x="1"' ({ANOTHER})"""],
        input={"filter": 'attributes.x="1"'},
    ),
    "dead-letter-policy": Case(
        [
            (
                f"{IN}: has a dead-letter policy: after 7 deliveries Pub/Sub takes a message away "
                "to projects/{p}/topics/issues-topic, though nothing is wrong with it, as in an "
                f"outage of BigQuery ({UPDATE} --clear-dead-letter-policy)"
            )
        ],
        input={
            "dead_letter_policy": {
                "dead_letter_topic": "projects/{p}/topics/issues-topic",
                "max_delivery_attempts": 7,
            }
        },
    ),
    "exactly-once-delivery": Case(
        [
            (
                f"{IN}: has exactly-once delivery: it refuses acknowledgements that come late, "
                "holds messages back meanwhile, and adds nothing, since the job drops repeats by "
                f"event_id ({UPDATE} --no-enable-exactly-once-delivery)"
            )
        ],
        input={"enable_exactly_once_delivery": True},
    ),
    "ordering": Case(
        [
            (
                f"{IN}: has message ordering: one repeat brings all later messages of its key "
                "again, acknowledged ones too, so that they can be older than --dedup_horizon "
                f"({ANOTHER})"
            )
        ],
        input={"enable_message_ordering": True},
    ),
    "export": Case(
        [
            (
                f"{IN}: hands its messages to http://127.0.0.1:1/x: none is left for the job to "
                "pull (give the job a pull subscription of its own)"
            )
        ],
        input={"push_config": {"push_endpoint": "http://127.0.0.1:1/x"}},
    ),
    "export-bigquery": Case(
        [
            (
                f"{IN}: hands its messages to BigQuery: none is left for the job to pull "
                "(give the job a pull subscription of its own)"
            )
        ],
        input={"bigquery_config": {"table": "demo-project.ds.t"}},
    ),
    "export-storage": Case(
        [
            (
                f"{IN}: hands its messages to Cloud Storage: none is left for the job to pull "
                "(give the job a pull subscription of its own)"
            )
        ],
        input={"cloud_storage_config": {"bucket": "b"}},
    ),
    "transform": Case(
        [
            (
                f"{IN}: changes or drops messages by a transform of its own (javascript_udf) "
                "(take the transform away, or give the job a subscription without one)"
            )
        ],
        input={"message_transforms": DROPS},
    ),
    "topic-transform": Case(
        [
            (
                f"{IN}: its topic {TOPIC} changes or drops messages by a transform "
                f"(javascript_udf) (gcloud pubsub topics update {TOPIC} --clear-message-transforms)"
            )
        ],
        topic={"message_transforms": DROPS},
    ),
    "dead-letters-missing": Case(
        [f"{DEAD}: is not there (create it, with a subscription)"], letters_topic=None
    ),
    "dead-letters-unsubscribed": Case(
        [f"{DEAD}: has no subscription: it would discard every letter (create one)"], letters=None
    ),
    "dead-letters-are-input": Case(
        [
            (
                f"--dead_letter_topic {TOPIC}: has no subscription that keeps every letter: {SUB} "
                f"is the one that the job reads ({KEEPS})"
            ),
            (
                f"--dead_letter_topic {TOPIC}: is the topic that the job reads "
                "(give the dead letters their own)"
            ),
        ],
        argv=("--dead_letter_topic=issues-topic",),
    ),
    "dead-letters-not-kept": Case(
        [
            (
                f"{DEAD}: has no subscription that keeps every letter: {LETTERS} is deleted when "
                f"nobody reads it for 31 days; {LETTERS}-2 has the filter 'attributes:x'; "
                f"{LETTERS}-3 keeps them for 90 minutes only; {LETTERS}-4 has a transform "
                f"(javascript_udf) ({KEEPS})"
            )
        ],
        letters={"expiration_policy": {"ttl": timedelta(days=31)}},
        then=lambda place: [
            place.subscription(f"issues-dead-letter-sub-{number}", "issues-dead-letter", **more)
            for number, more in (
                (2, {"filter": "attributes:x"}),
                (3, {"message_retention_duration": timedelta(minutes=90)}),
                (4, {"message_transforms": DROPS}),
            )
        ],
    ),
    "dead-letters-schema": Case(
        [
            (
                f"{DEAD}: takes only messages of its schema projects/{{p}}/schemas/letters, and a "
                "letter has the bytes that came (gcloud pubsub topics update "
                "projects/{p}/topics/issues-dead-letter --clear-schema-settings)"
            )
        ],
        letters_topic={
            "schema_settings": {"schema": "projects/{p}/schemas/letters", "encoding": "JSON"}
        },
        before=make_schema,
    ),
    "dead-letters-transform": Case(
        [
            (
                f"{DEAD}: changes or drops letters by a transform (javascript_udf) (gcloud pubsub "
                "topics update projects/{p}/topics/issues-dead-letter --clear-message-transforms)"
            )
        ],
        letters_topic={"message_transforms": DROPS},
    ),
}


def filled(value, project):
    """The value with the project's name in its texts."""
    if isinstance(value, str):
        return value.replace("{p}", project)
    if isinstance(value, dict):
        return {key: filled(each, project) for key, each in value.items()}
    return [filled(each, project) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_refused(place, name):
    """Each of these alone is refused in these words, and nothing else is said."""
    case = CASES[name]
    case.set_up(place)
    assert place.problems(*case.argv) == filled(case.told, place.project)


HARMLESS = {
    "as made": {},
    "never expires": {"expiration_policy": {}},
    "one day": {"message_retention_duration": timedelta(days=1)},
    "acknowledged ones kept": {"retain_acked_messages": True},
    "retry policy": {"retry_policy": {"minimum_backoff": timedelta(seconds=1)}},
    "labels": {"labels": {"a": "b"}},
    "shortest ack deadline": {"ack_deadline_seconds": 10},
    "transform that is off": {"message_transforms": [{**DROPS[0], "disabled": True}]},
}


@pytest.mark.parametrize("more", HARMLESS.values(), ids=HARMLESS)
def test_let_through(place, more):
    """Settings that neither lose nor double anything do not hinder a start."""
    Case([], input=more).set_up(place)
    assert place.problems() == []


def test_one_subscription_that_keeps_letters_is_enough(place):
    """Others beside it, which lose letters, are people's own business."""
    Case([], letters={"filter": "attributes:x"}).set_up(place)
    place.subscription("issues-letters", "issues-dead-letter")
    assert place.problems() == []


def test_letters_with_very_many_subscriptions(place):
    """Not all of them are read: that none of those keeps letters is no proof, and is said."""
    Case([], letters=None).set_up(place)
    for number in range(21):
        name = f"letters-{number:02}"
        place.subscription(name, "issues-dead-letter", filter="attributes:x")
    found = examine(place.settings())
    assert found.problems == ()
    told = str(found.unchecked[1])
    assert told.startswith(
        f"{filled(DEAD, place.project)}: no subscription is known to keep every letter: "
    )
    assert told.count("has the filter") == 20


def test_everything_at_once(place):
    """Several things that are wrong with one subscription and the letters are all told."""
    case = Case(
        [],
        input={
            "message_retention_duration": timedelta(minutes=10),
            "filter": "attributes:x",
            "enable_message_ordering": True,
        },
        letters=None,
    )
    case.set_up(place)
    assert [text.partition(" (")[0].rpartition("sub: ")[2][:30] for text in place.problems()] == [
        "keeps messages for 10 minutes,",
        "drops what does not match its ",
        "has message ordering: one repe",
        f"--dead_letter_topic projects/{place.project}"[:30],
    ]


class Changed:
    """A client whose answers to some methods are changed; the rest is the emulator's.

    Args:
        client: The real one.
        answers: From a method's name to what takes its real answer and gives another.
    """

    def __init__(self, client, **answers):
        self._client = client
        self._answers = answers

    def __getattr__(self, name):
        real = getattr(self._client, name)
        if name not in self._answers:
            return real
        if name == "test_iam_permissions":  # which the emulator does not have
            return lambda request, timeout, retry: self._answers[name](request)
        return lambda **keywords: self._answers[name](real(**keywords))


def raising(error):
    def answer(_):
        raise error

    return answer


def had(*permissions):
    return lambda request: SimpleNamespace(
        permissions=[each for each in request["permissions"] if each in permissions]
    )


def detached(found):
    found.detached = True
    return found


DENIED = exceptions.PermissionDenied("User not authorized.")
CHANGED = {
    "detached": (
        {"subscriber": {"get_subscription": detached}},
        [
            f"{IN}: is detached from its topic: it has no messages and gets none ({ANOTHER})",
            f"{DEAD}: has no subscription that keeps every letter: {LETTERS} is detached ({KEEPS})",
        ],
    ),
    "not-on-topic": (
        {
            "publisher": {
                "list_topic_subscriptions": lambda names: [
                    name for name in names if not name.endswith("issues-pipeline-sub")
                ]
            }
        },
        [
            (
                f"{IN}: is not among the subscriptions of its topic {TOPIC} "
                "(create it anew on the topic that the publisher uses)"
            )
        ],
    ),
    "rights": (
        {
            "subscriber": {"test_iam_permissions": had()},
            "publisher": {"test_iam_permissions": had()},
        },
        [
            (
                f"{IN}: the account lacks pubsub.subscriptions.consume "
                "(grant it roles/pubsub.subscriber)"
            ),
            f"{DEAD}: the account lacks pubsub.topics.publish (grant it roles/pubsub.publisher)",
        ],
    ),
    "access": (
        {
            "subscriber": {"get_subscription": raising(DENIED)},
            "publisher": {"list_topic_subscriptions": raising(DENIED)},
        },
        [
            f"{IN}: may not be read: User not authorized. (grant the account roles/pubsub.viewer)",
            (
                f"{DEAD}, subscriptions: may not be read: User not authorized. "
                "(grant the account roles/pubsub.viewer)"
            ),
        ],
    ),
}


def change(monkeypatch, place, answers):
    for kind, changes in answers.items():
        client = Changed(getattr(place, kind), **changes)
        monkeypatch.setattr(live, f"{kind}_client", lambda client=client: client)


@pytest.mark.parametrize("name", CHANGED)
def test_refused_where_the_emulator_cannot_say_so(place, monkeypatch, name):
    """The same, with the emulator's answers changed: it detaches nothing and knows no rights."""
    Case([]).set_up(place)
    answers, told = CHANGED[name]
    change(monkeypatch, place, answers)
    assert place.problems() == filled(told, place.project)


def test_the_rights_that_the_job_needs(place, monkeypatch):
    """An account that may read and publish is told so."""
    Case([]).set_up(place)
    answer = had("pubsub.subscriptions.consume", "pubsub.topics.publish")
    kinds = ("subscriber", "publisher")
    change(monkeypatch, place, {kind: {"test_iam_permissions": answer} for kind in kinds})
    found = examine(place.settings())
    assert not found.problems
    assert [line.rpartition("account ")[2] for line in found.checked if "account" in line] == [
        "has pubsub.subscriptions.consume",
        "has pubsub.topics.publish",
    ]


def test_what_the_emulator_does_not_tell(place):
    """All is well, and that nobody was asked for permissions is said."""
    Case([]).set_up(place)
    found = examine(place.settings())
    assert found.problems == ()
    assert list(found.checked) == filled(
        [
            "--park build/parked: can be written",
            f"{IN}: reads {TOPIC}, keeps messages for 7 days",
            f"{DEAD}: {LETTERS} keeps letters for 7 days",
            "table demo-project.issues_ds.issues_stream: has the 34 columns",
        ],
        place.project,
    )
    assert [str(each) for each in found.unchecked] == ["permissions: an emulator knows of none"]


def test_the_command(place, capsys):
    """`--check` on the command line: exit code 0 when all is well, 2 with what is wrong."""
    Case([]).set_up(place)
    argv = [f"--project={place.project}", "--output_dataset=demo-project.issues_ds", "--check"]
    assert main(argv) == DONE
    shown = capsys.readouterr().out
    assert shown.startswith("checked: 4\n")
    assert shown.endswith("problems: none\n")
    delete_topic("issues-dead-letter")(place)
    assert main([*argv, "--direct_num_workers=3"]) == REFUSED
    told = capsys.readouterr().out.partition("problems: 2\n")[2].splitlines()
    assert [line.partition(": ")[0].strip() for line in told] == [
        "--direct_num_workers",
        filled(DEAD, place.project),
    ]


def test_a_topic_of_another_project_that_is_closed(place, monkeypatch):
    """Whether it changes messages cannot be asked: said, and no problem."""
    Case([]).set_up(place)

    def closed_input(found):
        if found.name.endswith("issues-topic"):
            raise DENIED
        return found

    change(monkeypatch, place, {"publisher": {"get_topic": closed_input}})
    found = examine(place.settings())
    assert found.problems == ()
    assert str(found.unchecked[0]) == (
        f"topic projects/{place.project}/topics/issues-topic: may not be read: "
        "User not authorized. (roles/pubsub.viewer lets the account)"
    )


def test_a_letters_subscription_that_is_closed(place, monkeypatch):
    """Then it is not known that letters would be lost: said, and no problem."""
    Case([]).set_up(place)

    def closed_letters(found):
        if found.name.endswith("issues-dead-letter-sub"):
            raise DENIED
        return found

    change(monkeypatch, place, {"subscriber": {"get_subscription": closed_letters}})
    found = examine(place.settings())
    assert found.problems == ()
    assert filled(f"{DEAD}", place.project) in [each.where for each in found.unchecked]


def test_workers_elsewhere(place):
    """Their account's rights cannot be asked here, nor do they see what aims this process."""
    Case([]).set_up(place)
    flags = ("--runner=DataflowRunner", "--region=us-central1", "--temp_location=gs://b/t")
    found = examine(place.settings(*flags))
    assert found.problems == ()
    assert [each.where for each in found.unchecked] == [
        "--park gs://b/parked",
        "permissions",
        live.PUBSUB_EMULATOR_HOST,
        live.BIGQUERY_EMULATOR_HOST,
    ]
    assert "PUBSUB_EMULATOR_HOST: is set: an emulator was asked" in str(found.unchecked[2])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (600, "10 minutes"),
        (86_400, "1 day"),
        (5_400, "90 minutes"),
        (7_200, "2 hours"),
        (61, "61 s"),
    ],
)
def test_lengths(seconds, text):
    """A length is told in the largest unit that it has whole."""
    assert preflight_pubsub.length(timedelta(seconds=seconds)) == text


def test_the_cases_are_refusals():
    """No case has a name that the list of refusals does not know."""
    known = {name for name in (*CASES, *CHANGED) if not name.startswith("export-")}
    assert known <= refusals.REFUSALS.keys()
