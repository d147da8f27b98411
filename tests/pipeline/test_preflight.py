"""Before a start: what would lose data is refused, every reason at once, within a deadline."""

from types import SimpleNamespace

import pytest
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery

from pipeline import preflight as module
from pipeline.options import parse
from pipeline.preflight import preflight
from schemas import command_line, live
from schemas.apply import bigquery_schema

TOPIC = "projects/demo-project/topics/issues"
DEAD = "projects/demo-project/topics/issues-dead-letter"
TABLE = "demo-project.issues_ds.issues_stream"
SUBSCRIPTION = "projects/demo-project/subscriptions/issues-pipeline-sub"
APPLY = "python -m schemas apply --dataset demo-project.issues_ds"
AWAY = exceptions.ServiceUnavailable("connection refused")


class Cloud:
    """Pub/Sub and BigQuery, as they answer the three questions; an exception is raised."""

    def __init__(self, tables):
        self.topic = TOPIC
        self.dead_topic = SimpleNamespace(name=DEAD)
        self.subscriptions = ["projects/demo-project/subscriptions/dead"]
        self.schemas = {
            f"demo-project.issues_ds.{table.name}": bigquery_schema(table.columns)
            for table in tables
        }
        self.asked = []

    def get_subscription(self, *, subscription, timeout, retry):
        assert subscription == SUBSCRIPTION
        return SimpleNamespace(topic=self._answer(self.topic, timeout, retry))

    def list_topic_subscriptions(self, *, topic, timeout, retry):
        self.asked.append(topic)
        return iter(self._answer(self.subscriptions, timeout, retry))

    def get_topic(self, *, topic, timeout, retry):
        assert topic == DEAD
        return self._answer(self.dead_topic, timeout, retry)

    def get_table(self, name, timeout, retry):
        self.asked.append(name)
        missing = exceptions.NotFound("no such table")
        schema = self._answer(self.schemas.get(name, missing), timeout, retry)
        return SimpleNamespace(schema=schema)

    @staticmethod
    def _answer(answer, timeout, retry):
        assert 0 < timeout <= 5
        assert retry is None
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def settings():
    return parse(["--project=demo-project"], lambda: "")


@pytest.fixture
def cloud(settings, monkeypatch):
    made = Cloud(settings.tables)
    monkeypatch.setattr(live, "subscriber_client", lambda: made)
    monkeypatch.setattr(live, "publisher_client", lambda: made)
    monkeypatch.setattr(live, "bigquery_client", lambda project: made)
    return made


def told(settings, **options):
    return [str(problem) for problem in preflight(settings, **options)]


def test_all_is_well(cloud, settings):
    """With everything in place nothing is said."""
    assert told(settings) == []
    assert cloud.asked == [DEAD, "demo-project.issues_ds.issues_stream"]


def test_everything_is_missing(cloud, settings):
    """Each thing that is missing is told at once, with what to do."""
    cloud.topic = cloud.subscriptions = exceptions.NotFound("gone")
    cloud.schemas.clear()
    assert told(settings) == [
        (
            f"--input_subscription {SUBSCRIPTION}: is not there (create it on the issues topic "
            "before the publisher starts: a topic without a subscription discards what comes)"
        ),
        f"--dead_letter_topic {DEAD}: is not there (create it, with a subscription)",
        f"table {TABLE}: is not there (create it: {APPLY})",
    ]


def test_dead_letters_that_nobody_would_keep(cloud, settings):
    """A topic without a subscription discards every letter: refused."""
    cloud.subscriptions = []
    assert told(settings) == [
        (
            f"--dead_letter_topic {DEAD}: has no subscription: it would discard every letter "
            "(create one)"
        )
    ]


def test_a_dead_letter_topic_that_is_missing_on_the_emulator(cloud, settings):
    """The emulator lists no subscription of a missing topic, and no error: told apart too."""
    cloud.subscriptions = []
    cloud.dead_topic = exceptions.NotFound("no topic")
    assert told(settings) == [
        f"--dead_letter_topic {DEAD}: is not there (create it, with a subscription)"
    ]


def test_dead_letters_into_the_input(cloud, settings):
    """Dead letters into the topic that is read would go round for ever: refused."""
    cloud.topic = DEAD
    assert told(settings) == [
        (
            f"--dead_letter_topic {DEAD}: is the topic that the job reads "
            "(give the dead letters their own)"
        )
    ]


def test_columns_that_are_missing_or_different(cloud, settings):
    """Each column that the table lacks or has otherwise is named."""
    name = "demo-project.issues_ds.issues_stream"
    fields = [field for field in cloud.schemas[name] if field.name not in ("votes", "auth_id")]
    fields = [
        bigquery.SchemaField("title", "INTEGER") if field.name == "title" else field
        for field in fields
    ]
    cloud.schemas[name] = fields
    assert told(settings) == [
        (
            f"table {name}, column title: is INT64 NULLABLE in BigQuery and STRING NULLABLE "
            "in its file (BigQuery keeps a column's type: give it another `name` in the file, and "
            "it is added)"
        ),
        f"table {name}: lacks columns: votes, auth_id (add them: {APPLY})",
    ]


def test_the_command_that_makes_a_table_of_a_file(cloud, tmp_path):
    """It names the dataset, and a file where the table is not the shipped one; it is accepted."""
    (tmp_path / "a").write_text("{table: a, collections: [x]}")
    flags = [f"--schema={tmp_path / 'a'}", "--output_dataset=other-project:ds"]
    command = "python -m schemas apply FILE --dataset other-project.ds"
    cloud.schemas.clear()
    assert told(parse(["--project=demo-project", *flags], lambda: ""))[-1] == (
        f"table other-project.ds.a: is not there (create it: {command})"
    )
    for text in (command, APPLY):
        given = command_line.parser().parse_args(text.split()[3:])
        assert given.dataset == text.split()[-1]


def test_access_denied(cloud, settings):
    """What may not be asked is a problem too, since the job may not do its work."""
    cloud.topic = exceptions.PermissionDenied("not you")
    assert told(settings) == [
        (
            f"--input_subscription {SUBSCRIPTION}: may not be read: not you "
            "(grant the job's account access)"
        )
    ]


def test_a_service_that_is_away_does_not_hinder_the_start(cloud, settings, caplog, monkeypatch):
    """What does not answer within the patience is logged: the job itself waits for it."""
    cloud.topic = cloud.subscriptions = AWAY
    cloud.schemas["demo-project.issues_ds.issues_stream"] = AWAY
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    assert told(settings, patience=0.05) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"not checked, since it does not answer: {where}: 503 connection refused"
        for where in (
            f"--input_subscription {SUBSCRIPTION}",
            f"--dead_letter_topic {DEAD}",
            "table demo-project.issues_ds.issues_stream",
        )
    ]


def test_real_clients_without_a_service(settings, caplog, monkeypatch):
    """Ports where nobody listens, asked by Google's own clients: logged, and no problem."""
    monkeypatch.undo()
    for name in (live.PUBSUB_EMULATOR_HOST, live.BIGQUERY_STORAGE_EMULATOR_HOST):
        monkeypatch.setenv(name, "127.0.0.1:1")
    monkeypatch.setenv(live.BIGQUERY_EMULATOR_HOST, "http://127.0.0.1:1")
    assert told(settings, patience=0.5) == []
    assert caplog.text.count("not checked, since it does not answer") == 3


def test_no_credentials(settings, monkeypatch):
    """A sentence that says what to do, no traceback."""
    monkeypatch.undo()

    def none():
        raise DefaultCredentialsError("none found")

    monkeypatch.setattr(live, "subscriber_client", none)
    assert told(settings) == [
        (
            "credentials: none found "
            "(run gcloud auth application-default login, or aim the job at emulators)"
        )
    ]


def test_a_place_to_park_must_take_a_file(cloud, tmp_path):
    """A folder that cannot be written is refused before a letter needs it."""
    (tmp_path / "file").write_text("")
    found = parse(["--project=demo-project", f"--park={tmp_path}/file/parked"], lambda: "")
    [problem] = told(found)
    assert problem.startswith(f"--park {tmp_path}/file/parked: cannot be written: ")
    fine = parse(["--project=demo-project", f"--park={tmp_path}/parked"], lambda: "")
    assert told(fine) == []
    assert list((tmp_path / "parked").iterdir()) == []


def test_a_service_that_comes_back(cloud, settings, monkeypatch):
    """A question that met an outage is asked again within the patience."""
    answers = [AWAY, AWAY, []]
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setattr(
        cloud, "list_topic_subscriptions", lambda **_: iter(cloud._answer(answers.pop(0), 1, None))
    )
    assert told(settings) == [
        (
            f"--dead_letter_topic {DEAD}: has no subscription: it would discard every letter "
            "(create one)"
        )
    ]


def test_files_are_looked_for(cloud, tmp_path):
    """A pattern that matches no file is refused: Beam would read nothing and all seem well."""
    (tmp_path / "a.jsonl").write_text("")
    found = parse(["--project=demo-project", f"--input_files={tmp_path}/*.jsonl"], lambda: "")
    assert told(found) == []
    pattern = f"{tmp_path}/*.json"
    missing = parse(["--project=demo-project", f"--input_files={pattern}"], lambda: "")
    assert told(missing) == [f"--input_files {pattern}: matches no file (give a path or a glob)"]


def test_a_place_of_files_that_is_unknown(cloud):
    """A scheme that Beam cannot read is told as a problem, not as a traceback."""
    settings = parse(["--project=demo-project", "--input_files=nowhere://b/f"], lambda: "")
    [problem] = preflight(settings)
    assert problem.where == "--input_files nowhere://b/f"
    assert problem.what.startswith("cannot be looked up: Unable to get filesystem")
