"""What BigQuery gives back is what the table of types says, for values of every kind.

Documents go the job's own way: protobuf, `decode_message`, `Shaper`, `Encoder`, a Storage Write
append; then they are queried. What is expected is made from the documents, not from the rows.
"""

import itertools
import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.append_stream import Encoded, TableWriter
from schemas import live
from schemas.apply import bigquery_table
from schemas.document_change import Document, DocumentChange
from schemas.encode import Encoder
from schemas.event import decode_message
from schemas.firestore_values import GeoPoint, Reference, Timestamp, Vector
from schemas.message import CE_ID, CE_SOURCE, CE_TIME, CE_TYPE, Message
from schemas.row import Shaper
from schemas.table import Type
from schemas.table_file import parse_table
from schemas.times import format_micros, now_micros
from tests.strategies import (
    NAME,
    WRITTEN,
    exact_fields,
    exact_scalars,
    exact_values,
    int64,
    is_same,
    json_model,
    text,
    times,
)

PROJECT, DATASET = "demo-project", "values_ds"
DEADLINE = 20
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = {
    "s": Type.STRING, "i": Type.INT64, "d": Type.FLOAT64, "b": Type.BOOL, "y": Type.BYTES,
    "t": Type.TIMESTAMP, "j": Type.JSON,
}  # fmt: skip
"""Each is a column of a field of its name; with an `s` behind it, a REPEATED one."""

_numbers = itertools.count()


class Values:
    """A table in the stand-in, and the job's own way into it."""

    def __init__(self):
        plain = [f"{{path: {name}, type: {kind}}}" for name, kind in COLUMNS.items()]
        many = [f"{{path: {n}s, type: {kind}, mode: REPEATED}}" for n, kind in COLUMNS.items()]
        name = f"t{next(_numbers)}"
        self.table = parse_table(
            f"{{table: {name}, default: true, columns: [{', '.join(plain + many)}]}}", "t.yaml"
        )
        self.client = live.bigquery_client(PROJECT)
        self.client.create_dataset(DATASET, exists_ok=True, timeout=DEADLINE, retry=None)
        self.client.create_table(
            bigquery_table(self.table, f"{PROJECT}.{DATASET}"), timeout=DEADLINE, retry=None
        )
        self.shaper, self.encoder = Shaper((self.table,)), Encoder(self.table)
        self.writer = TableWriter(
            live.bigquery_write_client(),
            f"projects/{PROJECT}/datasets/{DATASET}/tables/{name}",
            self.encoder.descriptor,
            lag=lambda: None,
            written=None,
        )

    def through(self, documents):
        """Appends documents, each as a creation, and reads their rows back, in their order."""
        now = now_micros()
        made = Timestamp(now // 1_000_000)
        names = [f"{NAME}-{next(_numbers)}" for _ in documents]
        rows = []
        for name, fields in zip(names, documents, strict=True):
            data = DocumentChange(Document(name, fields, made, made)).to_protobuf()
            attributes = {CE_ID: name, CE_SOURCE: "//test", CE_TYPE: WRITTEN}
            message = Message(data, attributes | {CE_TIME: format_micros(now)})
            values = self.shaper.shape(decode_message(message), now).values
            rows.append(Encoded(self.encoder.encode(values)))
        assert self.writer.append(rows) == []
        query = f"SELECT * FROM {DATASET}.{self.table.name}"
        job = self.client.query(query, timeout=DEADLINE, retry=None, job_retry=None)
        result = job.result(timeout=DEADLINE, retry=None, job_retry=None)
        found = {row["document_name"]: dict(row) for row in result}
        return [found[name] for name in names]


@pytest.fixture
def values(bigquery):
    made = Values()
    yield made
    made.writer.close()


def column(exact):
    """An exact value as Google's client gives it from a column of its own type."""
    if isinstance(exact, Timestamp):
        return EPOCH + timedelta(seconds=exact.seconds, microseconds=exact.nanos // 1_000)
    return exact.name if isinstance(exact, Reference) else exact


def check(row, document):
    """Each column is what the document's field is, and `payload` all of it."""
    assert row["type_errors"] == []
    assert is_same(row["payload"], json_model(document))
    assert is_same(row["j"], json_model(document.get("j")))
    # Google's client reads the text of a JSON column, and leaves that of a REPEATED one.
    assert is_same([json.loads(each) for each in row["js"]], json_model(kept(document, "js")))
    for name in [*COLUMNS][:-1]:
        assert is_same(row[name], column(document.get(name)))
        assert is_same(row[f"{name}s"], [column(each) for each in kept(document, f"{name}s")])


def kept(document, name):
    """What a REPEATED column holds of an array: all but nulls."""
    return [each for each in document.get(name, []) if each is not None]


EDGES = {
    "s": ["", "Zürich 東京 🚒", "\x00\n\u2028\"'`\\", Reference(NAME)],
    "i": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
    "d": [0.0, -0.0, 3.0, 0.1, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf],
    "b": [False, True],
    "y": [b"", b"\x00\xff\xfe", bytes(range(256))],
    "t": [
        Timestamp(0), Timestamp(1_709_168_523, 123_456_789), Timestamp(-1, 999_999_999),
        Timestamp(-62_135_596_800), Timestamp(253_402_300_799, 999_999_999),
    ],
    "j": [
        False, 0, -0.0, 2**53 + 1, 2**63 - 1, -(2**63), "", "null", 1e308, 5e-324, math.nan,
        {}, {"": None, "a.b": {"`\"'\\": [None, {}]}, "0": 1, "a/b": 2}, b"\xff", Timestamp(-1, 1),
        GeoPoint(0.0, 0.0), GeoPoint(-0.0, 180.0), Vector(()), Vector((1.0, -0.0, math.inf)),
    ],
}  # fmt: skip


def test_every_type_at_its_edges(values):
    """Each value alone in its column, and all of a type in a REPEATED one with nulls between."""
    documents = [{name: edge} for name, edges in EDGES.items() for edge in edges]
    documents += [{f"{name}s": [None, *edges, None]} for name, edges in EDGES.items()]
    documents += [{"j": []}, {"j": [1, None, {"a": []}]}, dict.fromkeys(COLUMNS), {}]
    documents += [{f"{name}s": []} for name in COLUMNS]
    documents += [{"deep": nested(200)}]
    for row, document in zip(values.through(documents), documents, strict=True):
        check(row, document)


def nested(levels):
    value = None
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


SCALARS = {
    "s": text | text.map(lambda name: Reference(f"{NAME}/{name}")),
    "i": int64,
    "d": st.floats(),
    "b": st.booleans(),
    "y": st.binary(max_size=30),
    "t": times,
    "j": exact_scalars | exact_fields,
}


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large,
    ],
)  # fmt: skip
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                **{name: st.none() | scalars for name, scalars in SCALARS.items()},
                **{
                    f"{name}s": st.lists(st.none() | scalars, max_size=4)
                    for name, scalars in SCALARS.items()
                },
                "x": exact_values,
            },
        ),
        min_size=10,
        max_size=30,
    )
)
def test_any_documents(values, documents):
    """Whatever Firestore holds, dozens at a time, beside and in the columns."""
    for row, document in zip(values.through(documents), documents, strict=True):
        check(row, document)


def test_what_fits_no_column_is_in_payload(values):
    """Each kind of value in a column of each other type: NULL and named, and nothing is lost."""
    misfits = {"s": [5, True, {}], "i": ["5", 0.5], "d": [2**53 + 1, "1"], "b": [0, "true"],
               "y": ["?", 5], "t": [0, "now"]}  # fmt: skip
    documents = [{name: value} for name, given in misfits.items() for value in given]
    for row, document in zip(values.through(documents), documents, strict=True):
        (name,) = document
        assert (row[name], row["type_errors"]) == (None, [name])
        assert is_same(row["payload"], json_model(document))
