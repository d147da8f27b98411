"""What the sample sends, without an emulator: its documents, its poison, and the recordings."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1 import _helpers as encoder

from local.destinations import destination
from local.documents import STEPS, every_type
from local.poison import poison
from local.ports import HOST
from local.sample import cloudevents
from local.table_documents import CONFIDENTIAL
from local.table_documents import STEPS as TABLE_STEPS
from local.table_files import FILES, read_tables
from publisher import intake
from schemas.event import Undecodable, decode_message
from schemas.firestore import DocumentEventData
from schemas.message import limit_problems
from schemas.recorded import from_line
from schemas.row import Shaper
from schemas.shaping import Unshapeable
from schemas.table_file import shipped
from schemas.times import now_micros

DATA = Path(__file__).parent.parent / "data"
KINDS = {
    "null_value",
    "boolean_value",
    "integer_value",
    "double_value",
    "timestamp_value",
    "string_value",
    "bytes_value",
    "reference_value",
    "geo_point_value",
    "array_value",
    "map_value",
}


def recorded(name):
    return [from_line(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def documents():
    return recorded("firestore_events.jsonl")


def test_every_type_of_value_is_written():
    """One document has every type that a Firestore value can be, a vector among the maps."""
    client = firestore.Client("demo-project", credentials=AnonymousCredentials())
    values = encoder.encode_dict(dict(every_type(client)))
    assert {value._pb.WhichOneof("value_type") for value in values.values()} == KINDS
    marks = [
        value.map_value.fields["__type__"].string_value
        for value in values.values()
        if "__type__" in value.map_value.fields
    ]
    assert marks == ["__vector__"]


def test_forty_documents_are_compared_and_every_operation_is_there():
    """Documents are created, updated and deleted, and one comes back after its deletion.

    Each step is one event, and all of them are compared: deletions by what was there before.
    """
    assert len(STEPS) > 40
    assert len([step for step in STEPS if step.fields is not None]) >= 35
    assert {step.verb for step in STEPS} == {"set", "update", "delete"}
    verbs = [step.verb for step in STEPS if step.path == "issues/one"]
    assert verbs[-2:] == ["delete", "set"]


@pytest.mark.parametrize("case", poison(now_micros()), ids=lambda case: case.what)
def test_poison_fails_where_and_as_it_says(case):
    """Each message fails at its stage with its error, and Pub/Sub takes it all the same."""
    assert limit_problems(case.message.data, case.message.attributes) == []
    if case.stage == "decode":
        with pytest.raises(Undecodable) as failed:
            decode_message(case.message)
    else:
        event = decode_message(case.message)
        with pytest.raises(Unshapeable) as failed:
            Shaper(shipped()).shape(event, now_micros())
    assert type(failed.value).__name__ == case.error


def test_poison_of_another_run_is_another_event():
    """Two runs against the same tables are not taken for repeats, but for the bare message."""
    first, second = ({p.message.event_id for p in poison(time)} for time in (1, 2))
    assert len(first) == len(second) == len(poison(1))
    bare = {p.message.event_id for p in poison(1) if not p.message.attributes}
    assert first & second == bare


def test_the_recorded_events_are_the_samples_documents():
    """The recording of the emulator has one event for each step, in the order of the steps."""
    data = [DocumentEventData.FromString(base64.b64decode(message.data)) for message in documents()]
    names = [(each.value.name or each.old_value.name).partition("/documents/")[2] for each in data]
    assert names == [step.path for step in STEPS]
    for each, step in zip(data, STEPS, strict=True):
        assert (step.verb == "delete") == (not each.value.name)


class Publisher(BaseHTTPRequestHandler):
    """Takes what is posted as the publisher does, and keeps the messages it makes of it."""

    messages: ClassVar[list] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        self.messages.extend(intake.judge(headers, body, intake.Stamp()).messages)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_one_structured_and_two_batched_events_are_posted():
    """The publisher makes messages of them whose ids and bodies are the expected ones."""
    Publisher.messages.clear()
    with ThreadingHTTPServer((HOST, 0), Publisher) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        expected = cloudevents(f"{HOST}:{server.server_address[1]}")
        server.shutdown()
    assert len(expected) == 3
    assert all(each.compared for each in expected)
    assert [message.event_id for message in Publisher.messages] == [e.event_id for e in expected]
    bodies = [json.loads(message.data) for message in Publisher.messages]
    assert bodies == [each.fields for each in expected]


def test_the_recording_names_no_machine():
    """Nothing of the machine that it was made on is in it."""
    for message in documents() + recorded("manual_and_poison.jsonl"):
        for value in (*message.attributes.values(), message.data.decode("latin-1")):
            assert "127.0.0.1" not in value
            assert "localhost" not in value


def test_the_samples_tables_are_three_collections_and_a_subcollection():
    """One of them keeps messages, one drops fields; a subcollection's ids are columns."""
    tables = {table.name: table for table in read_tables(FILES)}
    assert {name: table.collections for name, table in tables.items()} == {
        "issues_stream": ("issues",),
        "comments": ("issues/{issue}/comments/{comment}",),
        "projects": ("projects",),
        "teams": ("teams",),
    }
    assert [name for name, table in tables.items() if table.raw] == ["teams"]
    assert {name: table.dropped for name, table in tables.items() if table.dropped} == {
        "projects": (("confidential",), ("contact", "confidential_phone"))
    }


def test_documents_of_the_sample_go_to_every_table():
    """Each path with its table, by name; what no table names goes to the default one.

    Among them: a subcollection's documents of the same id under different parents, and a
    collection of the same id elsewhere.
    """
    tables = read_tables(FILES)
    paths = dict.fromkeys(step.path for step in (*STEPS, *TABLE_STEPS))
    found = {path: destination(path, tables) for path in paths}
    places = {path: (table.name, ids) for path, (table, ids) in found.items()}
    elsewhere = {path: place for path, place in places.items() if place != ("issues_stream", {})}
    assert elsewhere == {
        "issues/other/comments/1": ("comments", {"issue": "other", "comment": "1"}),
        "issues/full/comments/1": ("comments", {"issue": "full", "comment": "1"}),
        "issues/ü 'quoted'/comments/2 (50%25)": (
            "comments",
            {"issue": "ü 'quoted'", "comment": "2 (50%25)"},
        ),
        "projects/apollo": ("projects", {}),
        "projects/gemini": ("projects", {}),
        "projects/mercury": ("projects", {}),
        "teams/blue": ("teams", {}),
        "teams/green": ("teams", {}),
    }
    unmatched = {path for path in paths if not path.startswith("issues/")} - elsewhere.keys()
    assert unmatched == {"teams/red/members/ada", "projects/gemini/comments/1", "invoices/2030-1"}


def test_only_what_is_dropped_is_confidential():
    """The word stands in fields of projects that are dropped, and nowhere else in the sample.

    It is what the rows are searched for, so it must not be there for another reason.
    """
    client = firestore.Client("demo-project", credentials=AnonymousCredentials())
    written = [(step.path, step.fields(client)) for step in (*STEPS, *TABLE_STEPS) if step.fields]
    said = {path for path, fields in written if CONFIDENTIAL in str(fields)}
    assert said == {"projects/apollo", "projects/gemini", "projects/mercury"}
    assert not any(CONFIDENTIAL in path for path, _ in written)
