"""The duplicate cache knows what the tables hold: at the start, and once more a lease later."""

import tracemalloc

import pytest
import requests
from google.api_core import exceptions

from pipeline import resident, warm
from pipeline.append_stream import Encoded
from pipeline.leases import LEASE_SECONDS
from pipeline.lookups import Lookups
from pipeline.outages import StoppedWaiting
from pipeline.warm import MOST_IDS, WrittenIds, seen_ids, written_ids
from schemas import live
from schemas.apply import apply, bigquery_table
from schemas.problem import ProblemsFound
from schemas.shaping import DAY
from schemas.table import Column, Table, Type
from schemas.table_file import parse_tables, shipped
from schemas.times import format_micros, now_micros
from tests.pipeline.fakes import Clock
from transforms.deduplicate import SeenIds

PROJECT = "demo-project"
DEADLINE = 20


class Tables:
    """What one table answers to each question; keeps what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, since, until):
        self.asked.append((since, until))
        return [keys(*self.answers.pop(0))]


def keys(*ids):
    return [SeenIds.key(id_) for id_ in ids]


def knows(seen, *ids):
    return [SeenIds.key(id_) in seen for id_ in ids]


def test_warmed_at_the_start():
    """The ids of the last horizon are known before the first message comes."""
    tables = Tables(["a", "b"])
    before = now_micros()
    written = WrittenIds(tables, 3_600, Clock())
    assert knows(written.get(), "a", "b", "c") == [True, True, False]
    [(since, until)] = tables.asked
    assert 0 <= since - (before - 3_600_000_000) < 5_000_000
    # What this process writes later it knows by itself, and would only push the others out.
    assert until - since == 3_605_000_000


def test_the_newest_are_kept(monkeypatch, caplog):
    """Beyond the bound the oldest are forgotten, and the log says how many."""
    monkeypatch.setattr(warm, "MOST_IDS", 3)
    written = WrittenIds(Tables(["a", "b", "c", "d", "e"]), 3_600, Clock())
    assert knows(written.get(), "a", "b", "c", "d", "e") == [False, False, True, True, True]
    assert "2 event ids more than the bound of 3" in caplog.text


TWO_TABLES = parse_tables(
    [
        ("s", "table: s\nlayout: structured\ndefault: true"),
        ("c", "table: c\nlayout: changelog\ncollections: [cs]"),
    ]
)


def test_tables_share_the_bound(monkeypatch, caplog):
    """Each table is asked for its part of the bound, and the log names one that holds more."""
    held = {"s": ["s1"], "c": ["c1", "c2", "c3"]}
    asked = []

    def recent(lookups, since, until, limit):
        name = lookups.name.rpartition(".")[2]
        asked.append((name, limit))
        return keys(*held[name][-limit:])

    monkeypatch.setattr(live, "bigquery_client", lambda project: None)
    monkeypatch.setattr(Lookups, "recent", recent)
    monkeypatch.setattr(warm, "MOST_IDS", 4)
    seen = written_ids(f"{PROJECT}.ds", TWO_TABLES, 60.0)
    # Those that cannot tell when a row came first: the others' ids are forgotten after theirs.
    assert asked == [("c", 2), ("s", 2)]
    assert knows(seen, "c1", "c2", "c3", "s1") == [False, True, True, True]
    assert f"table {PROJECT}.ds.c: only its newest 2 event ids are known" in caplog.text
    assert f"table {PROJECT}.ds.s" not in caplog.text
    assert seen.add(keys("later", "latest")) == 1
    assert knows(seen, "c2", "c3", "s1", "later", "latest") == [False, True, True, True, True]


class Answer:
    """A BigQuery client whose every query gives so many rows, made one by one as they are read."""

    def __init__(self, rows):
        self._rows = rows
        self.held = 0

    def query(self, *_, **__):
        return self

    def result(self, **_):
        for number in range(self._rows):
            yield (f"{number:036}",)
        self.held = tracemalloc.get_traced_memory()[0]


def test_ids_are_hashed_as_they_come():
    """What is held when the last row has been read is a key an id, not the text of the rows."""
    client = Answer(20_000)
    lookups = Lookups(client, f"{PROJECT}.ds", TWO_TABLES[1])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = lookups.recent(0, 1, 20_000)
    finally:
        tracemalloc.stop()
    assert found[-1] == SeenIds.key(f"{0:036}")  # the newest, which was asked for first
    # 16 bytes are a Python object of 49, and 8 in a list that grows ahead; the text alone is 85.
    assert (client.held - before) / 20_000 < 80


def test_warmed_once_more_when_old_leases_have_run_out():
    """What the process before wrote in its last moment is seen a lease later, and only then."""
    clock = Clock()
    tables = Tables(["a"], ["a", "late"])
    written = WrittenIds(tables, 3_600, clock)
    clock.advance(LEASE_SECONDS - 0.1)
    assert knows(written.get(), "a", "late") == [True, False]
    clock.advance(0.1)
    assert knows(written.get(), "a", "late") == [True, True]
    clock.advance(10 * LEASE_SECONDS)
    written.get()
    assert len(tables.asked) == 2
    assert tables.asked[0] == tables.asked[1]


def test_forgotten_after_the_horizon():
    """Ids older than the horizon give their memory back, as new ones come."""
    clock = Clock()
    written = WrittenIds(Tables(["a"], ["b"]), 60, clock)
    clock.advance(61)
    assert knows(written.get(), "a", "b") == [False, True]


def test_one_cache_a_process():
    """Stretches share the cache of a horizon."""
    assert seen_ids(60.0) is seen_ids(60.0)
    assert seen_ids(60.0) is not seen_ids(61.0)


def test_a_service_that_is_down_at_the_start_is_waited_for(monkeypatch, no_waiting):
    """The real client against a port where nobody listens: an outage, not the end of the job."""
    monkeypatch.setenv(live.BIGQUERY_EMULATOR_HOST, "http://127.0.0.1:1")
    no_waiting.stop_after = 2
    with pytest.raises(resident.BundleFailed):
        written_ids(f"{PROJECT}.ds", shipped(), 60.0)
    assert isinstance(resident.raised, StoppedWaiting)


def test_what_ends_the_warming_is_told(monkeypatch):
    """It is kept for the launcher, as it was raised."""

    def fail(project):
        raise exceptions.PermissionDenied("no")

    monkeypatch.setattr(live, "bigquery_client", fail)
    with pytest.raises(resident.BundleFailed):
        written_ids(f"{PROJECT}.ds", shipped(), 60.0)
    assert isinstance(resident.raised, exceptions.PermissionDenied)


def test_flat_tables_are_not_asked(monkeypatch):
    """A flat table has no ids: it is left out, and alone it asks nothing."""
    monkeypatch.setattr(live, "bigquery_client", lambda project: None)
    flat = parse_tables([("f", "table: f\nlayout: flat\ndefault: true")])
    assert len(written_ids(f"{PROJECT}.ds", flat, 60.0)) == 0


class Recording:
    """A BigQuery client that keeps the queries that pass through it."""

    def __init__(self, client):
        self._client = client
        self.queries = []

    def __getattr__(self, name):
        return getattr(self._client, name)

    def query(self, text, job_config, **options):
        sent = job_config.to_api_repr()["query"]["queryParameters"]
        parameters = {each["name"]: each["parameterValue"].get("value") for each in sent}
        self.queries.append((text, parameters))
        return self._client.query(text, job_config=job_config, **options)


@pytest.fixture
def client(bigquery):
    return Recording(live.bigquery_client(PROJECT))


@pytest.fixture
def lookups(client, request):
    """A table with three rows: of now, of an hour ago, and of long ago."""
    dataset = request.node.name
    tables = shipped()
    apply(client._client, dataset, tables, deadline=DEADLINE)
    now = now_micros()
    ages = {"now": 0, "hour": 3_600_000_000, "old": 50 * DAY}
    values = ", ".join(
        f"('{name}', TIMESTAMP '{format_micros(now - age)}', "
        f"TIMESTAMP '{format_micros(now - age)}')"
        for name, age in ages.items()
    )
    insert = f"INSERT INTO {dataset}.issues_stream (event_id, created_at, ingest_time) VALUES "
    job = client._client.query(insert + values, timeout=DEADLINE, retry=None, job_retry=None)
    job.result(timeout=DEADLINE, retry=None, job_retry=None)
    return Lookups(client, f"{PROJECT}.{dataset}", tables[0])


def test_recent_ids_on_a_real_table(lookups, client):
    """The newest of a time, the oldest of them first, from their partitions only."""
    now = now_micros()

    def recent(age, limit=10, until=now):
        return lookups.recent(now - age, until, limit)

    assert recent(60_000_000) == keys("now")
    assert recent(2 * 3_600_000_000) == keys("hour", "now")
    assert recent(2 * 3_600_000_000, limit=1) == keys("now")
    assert recent(2 * 3_600_000_000, until=now - 60_000_000) == keys("hour")
    # An event far older than any that could be delivered again is not looked for.
    assert recent(60 * DAY) == keys("old", "hour", "now")
    for text, parameters in client.queries:
        assert "WHERE ingest_time >= @since AND ingest_time < @until AND created_at >= @day" in text
        assert set(parameters) == {"since", "until", "day"}


def test_the_day_that_bounds_the_partitions(client, lookups):
    """Partitions are bounded by 40 days before the horizon: longer than a message can be kept."""
    since = now_micros()
    lookups.recent(since, since + 1, 10)
    _, parameters = client.queries[-1]
    assert parameters["since"] == format_micros(since)
    assert parameters["day"] == format_micros(since - 40 * DAY)


CHANGELOG = Table(
    "issues_raw_changelog",
    "changelog",
    (Column("timestamp", Type.TIMESTAMP), Column("event_id", Type.STRING)),
    partition="timestamp",
)


@pytest.fixture
def changelog(client, request):
    """A table without ingest_time: events ahead of the clock, of now, of 39 and of 41 days ago.

    And a row without an id, as an import of another system's leaves it.
    """
    dataset = request.node.name
    client._client.create_dataset(dataset, timeout=DEADLINE, retry=None)
    made = bigquery_table(CHANGELOG, f"{PROJECT}.{dataset}")
    client._client.create_table(made, timeout=DEADLINE, retry=None)
    now = now_micros()
    ages = {"ahead": -DAY, "now": 0, "39 days": 39 * DAY, "41 days": 41 * DAY}
    values = ", ".join(
        f"(TIMESTAMP '{format_micros(now - age)}', '{name}')" for name, age in ages.items()
    )
    values += f", (TIMESTAMP '{format_micros(now)}', NULL)"
    insert = f"INSERT INTO {dataset}.{CHANGELOG.name} (timestamp, event_id) VALUES {values}"
    job = client._client.query(insert, timeout=DEADLINE, retry=None, job_retry=None)
    job.result(timeout=DEADLINE, retry=None, job_retry=None)
    return Lookups(client, f"{PROJECT}.{dataset}", CHANGELOG)


def test_recent_ids_of_a_table_without_ingest_time(changelog, client):
    """All events since 40 days before are recent, the newest by their own time if there are more.

    Also one that its sender dates ahead of our clock. A row without an id is left out.
    """
    now = now_micros()

    def recent(limit):
        return changelog.recent(now - 60_000_000, now, limit)

    assert recent(10) == keys("39 days", "now", "ahead")
    assert recent(2) == keys("now", "ahead")
    text, parameters = client.queries[0]
    assert "WHERE timestamp >= @day AND event_id IS NOT NULL ORDER BY timestamp DESC" in text
    assert parameters == {"day": format_micros(now - 60_000_000 - 40 * DAY)}


def test_written_asks_a_table_by_its_own_partitions(changelog, client):
    """Rows are looked up by `event_id` within their times in the table's partitioning column."""
    now = now_micros()
    rows = [Encoded(b"", "39 days", now - 39 * DAY - 9_000_000), Encoded(b"", "now", now)]
    assert changelog.written([*rows, Encoded(b"", "new", now)]) == {"39 days", "now"}
    assert changelog.written([rows[1], Encoded(b"", "39 days", now - DAY)]) == {"now"}
    text, _ = client.queries[0]
    assert text.endswith("event_id IN UNNEST(@ids) AND timestamp BETWEEN @first AND @last")


def test_a_table_that_is_as_declared(lookups):
    """A refusal by a table that has every column is mere lateness."""
    lookups.check_present()


def test_a_table_that_is_missing(client):
    """A table that is not there is a problem with its full name and the command that makes it."""
    missing = Lookups(client, f"{PROJECT}.nowhere", shipped()[0])
    with pytest.raises(ProblemsFound) as found:
        missing.check_present()
    assert str(found.value) == (
        "table demo-project.nowhere.issues_stream: is not there "
        "(run python -m schemas apply --dataset demo-project.nowhere, then start again)"
    )


def test_asking_rides_out_an_outage(lookups, client, no_waiting):
    """A question that meets an outage is asked again."""
    query = client._client.query
    failures = [
        exceptions.ServiceUnavailable("away"),
        requests.exceptions.ConnectionError("refused"),
    ]

    def failing(*args, **options):
        if failures:
            raise failures.pop()
        return query(*args, **options)

    client._client.query = failing
    now = now_micros()
    assert lookups.recent(now - 60_000_000, now, 10) == keys("now")
    assert len(no_waiting.waits) == 2


def test_written_ids_of_a_real_table(bigquery, lookups):
    """The process's view is warmed from the table, once for all stretches."""
    dataset = lookups._full.rpartition(".")[0]
    seen = written_ids(dataset, shipped(), 60.0)
    assert knows(seen, "now", "hour") == [True, False]
    assert written_ids(dataset, shipped(), 60.0) is seen
    assert MOST_IDS == warm.MOST_IDS
