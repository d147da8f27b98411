"""`make fuzz`: mutated messages through decode and shape, guided by coverage (atheris, libFuzzer).

A message either becomes a row that its table's encoder takes, with JSON in its JSON columns and in
the changelog's texts; or it is refused by a named exception, and its dead letter, as Pub/Sub would
carry it, has the original bytes. Anything else ends the run, and the input is kept in build/fuzz.

Seeds are the recorded messages in tests/data, and those of the changelog's collection. Mutations
are libFuzzer's own on the bytes, and `bench.mutations` on the event: values of other types, odd
names, nesting, sides that go, masks.

An input is one byte for the type, one for the content type, one of flags, then the data.
"""

import argparse
import base64
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import atheris

with atheris.instrument_imports(include=["schemas"], enable_loader_override=False):
    from schemas.encode import Encoder
    from schemas.event import Undecodable, decode_message
    from schemas.event_data import read_json
    from schemas.failure import DATA, DATA_ROW, Failure, dead_letter
    from schemas.message import CE_ID, CE_SOURCE, CE_TIME, CE_TYPE, CONTENT_TYPE, Message
    from schemas.raw import from_raw, to_raw
    from schemas.recorded import from_line
    from schemas.row import Shaper
    from schemas.shaping import Unshapeable
    from schemas.table import Table, Type
    from schemas.table_file import parse_tables
    from schemas.times import now_micros

from bench.mutations import mutate_event
from bench.report import FOLDER, save
from local.processes import ROOT

RUNS = 1_000_000
_SEED = 1
_MOST_BYTES = 16_384
_HEAD = 3
_OF_HEAD, _OF_EVENT = 0.1, 0.7  # shares of mutations, each with those before it
_PREFIX = "google.cloud.firestore.document.v1."
_TYPES = (
    f"{_PREFIX}written",
    f"{_PREFIX}created",
    f"{_PREFIX}updated",
    f"{_PREFIX}deleted",
    f"{_PREFIX}written.withAuthContext",
    "issues.manual.created",
    "",
    "google.cloud.datastore.entity.v1.written",
)
_CONTENT_TYPES = ("application/protobuf", "", "application/json", "text/plain; charset=\u00e9")
_NO_ATTRIBUTES, _IN_BASE64, _ROW, _BAD_TIME, _NO_TIME = 1, 2, 4, 8, 16

_TABLES = (
    """
table: everything
default: true
columns:
  - {path: title}
  - {path: s, type: STRING, mode: REPEATED}
  - {path: votes, type: INT64}
  - {path: integer, type: INT64, mode: REPEATED}
  - {path: estimate, type: FLOAT64}
  - {path: double, type: FLOAT64, mode: REPEATED}
  - {path: blocked, type: BOOL}
  - {path: "true", type: BOOL, mode: REPEATED}
  - {path: due_at, type: TIMESTAMP}
  - {path: timestamp, type: TIMESTAMP, mode: REPEATED}
  - {path: bytes, type: BYTES}
  - {path: empty_bytes, type: BYTES, mode: REPEATED}
  - {path: map.b.c, type: JSON}
  - {path: array, type: JSON, mode: REPEATED}
""",
    "{table: kept_whole, collections: [teams], raw: true}",
    """
table: comments
collections: ["issues/{issue}/comments/{comment}"]
columns: [{path: text, policy: drop}, {path: map.a, policy: drop}]
""",
    "{table: flat, layout: flat, collections: [reactions]}",
    """
table: changelog
layout: changelog
collections: [votes, "boards/{board}/votes/{vote}"]
columns: [{path: text, policy: drop}, {path: map.a, policy: drop}]
""",
)
_JSON_TEXT = {"changelog": ("data", "old_data", "path_params")}
"""Columns of a layout that are JSON as STRING."""


class _Probe:
    """Sends one input after the other through the steps, and counts what became of them."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._shaper = Shaper(tables)
        self._encoders = {table.name: Encoder(table) for table in tables}
        self._json = {
            table.name: [
                (column.name, column.repeated)
                for column in table.columns
                if column.type is Type.JSON or column.name in _JSON_TEXT.get(table.layout, ())
            ]
            for table in tables
        }
        self.outcomes: Counter[str] = Counter()

    def __call__(self, given: bytes) -> None:
        """One input; raises for what must not be."""
        message = _message(given)
        before = bytes(bytearray(message.data))
        stage = "decode"
        try:
            event = decode_message(message)
            stage = "shape"
            row = self._shaper.shape(event, now_micros())
        except (Undecodable, Unshapeable) as error:
            self._refused(message, before, stage, error)
            return
        values = row.values
        self._encoders[row.table].encode(values)
        for name, repeated in self._json[row.table]:
            for text in values[name] if repeated else [values[name]]:
                if text is not None:
                    json.loads(text, parse_constant=_no_json)
        if row.message is not message or message.data != before:
            raise AssertionError("the row's message is not the one that came")
        self.outcomes[f"row in {row.table}"] += 1

    def _refused(self, message: Message, before: bytes, stage: str, error: Exception) -> None:
        name = type(error).__name__
        letter = dead_letter(
            Failure(message, stage, name, str(error)), time=now_micros(), job="fuzz"
        )
        carried = from_raw(to_raw(Message(letter.data, letter.attributes)))
        if carried.data != before or carried.attributes != letter.attributes:
            raise AssertionError(f"the dead letter has not the original bytes: {carried}")
        if letter.unpublishable or not str(error):
            raise AssertionError(f"no publishable letter with a reason: {letter}")
        self.outcomes[f"dead letter of {stage}: {name}"] += 1


def _no_json(word: str) -> None:
    raise AssertionError(f"{word} in a JSON column")


def _message(given: bytes) -> Message:
    head, data = given[:_HEAD].ljust(_HEAD, b"\0"), given[_HEAD:]
    kind, content_type = _TYPES[head[0] % len(_TYPES)], _CONTENT_TYPES[head[1] % 4]
    flags = head[2]
    if flags & _IN_BASE64:
        data = base64.b64encode(data)
    if flags & _NO_ATTRIBUTES:
        return Message(data)
    attributes = {CE_ID: "1", CE_SOURCE: "//fuzz", CE_TYPE: kind, CONTENT_TYPE: content_type}
    if not flags & _NO_TIME:
        attributes[CE_TIME] = (
            "2026-13-01T00:00:00Z" if flags & _BAD_TIME else "2026-11-01T00:00:00Z"
        )
    if flags & _ROW:
        attributes[DATA] = DATA_ROW
    return Message(data, attributes, publish_time=flags)


def _seeds() -> Iterator[bytes]:
    for name in ("firestore_events.jsonl", "manual_and_poison.jsonl"):
        for line in (ROOT / "tests/data" / name).read_text("utf-8").splitlines():
            message = from_line(line)
            data = message.data
            with contextlib.suppress(ValueError):  # those that came raw
                data = base64.b64decode(data, validate=True)
            if len(data) > _MOST_BYTES - _HEAD:
                continue
            kind = message.attribute(CE_TYPE)
            index = _TYPES.index(kind) if kind in _TYPES else len(_TYPES) - 1
            yield bytes((index, 0, 0 if kind else _NO_ATTRIBUTES)) + data
    yield from _changelog_seeds()
    row = {"table": "everything", "values": {"event_id": "1", "created_at": now_micros()}}
    yield bytes((0, 0, _ROW)) + json.dumps(row).encode()


def _changelog_seeds() -> Iterator[bytes]:
    """An update in the changelog's collection, as protobuf, and as JSON after any white space."""
    name = "projects/p-1/databases/(default)/documents/boards/b/votes/1"
    fields = {
        "a": {"stringValue": "x"},
        "map": {"mapValue": {"fields": {"b": {"nullValue": None}}}},
    }
    event = {
        "value": {"name": name, "fields": fields},
        "oldValue": {"name": name, "fields": {"b": {"doubleValue": "NaN"}}},
    }
    yield bytes((0, 0, 0)) + read_json(event).SerializeToString(deterministic=True)
    for space in (b"", b" ", b"\t", b"\r\n"):
        yield (
            bytes((0, _CONTENT_TYPES.index("application/json"), 0))
            + space
            + json.dumps(event).encode()
        )


def _mutate(given: bytes, most: int, seed: int) -> bytes:
    """LibFuzzer's hook: the same input and seed give the same mutation."""
    chance = random.Random(seed)  # noqa: S311
    head, data = bytearray(given[:_HEAD].ljust(_HEAD, b"\0")), given[_HEAD:]
    what = chance.random()
    changed: bytes | None = None
    if what < _OF_HEAD:
        head[chance.randrange(_HEAD)] = chance.randrange(256)
        changed = data
    elif what < _OF_EVENT:
        changed = mutate_event(data, chance)
    if changed is None:
        changed = bytes(atheris.Mutate(data, max(most - _HEAD, 1)))
    return (bytes(head) + changed)[:most]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs so many inputs; ends with exit code 0 only if all of them held."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=_SEED, help="of libFuzzer (default: 1)")
    arguments = parser.parse_args(argv)
    tables = parse_tables((f"table {i}", text) for i, text in enumerate(_TABLES))
    probe = _Probe(tables)
    folder = FOLDER.parent / "fuzz"
    corpus = folder / "seeds"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(_seeds()):
        (corpus / f"{i:03}").write_bytes(seed)
    began = time.monotonic()

    def one(given: bytes) -> None:
        probe(given)
        if probe.outcomes.total() == arguments.runs:
            figures: dict[str, object] = {
                "messages": arguments.runs,
                "seconds": round(time.monotonic() - began),
                **dict(sorted(probe.outcomes.items())),
            }
            save("fuzz", figures)
            for name, number in figures.items():
                print(f"{number:>9}  {name}", flush=True)

    atheris.Setup(
        [
            "fuzz",
            f"-runs={arguments.runs}",
            f"-seed={arguments.seed}",
            f"-max_len={_MOST_BYTES}",
            f"-artifact_prefix={folder}/",
            "-print_final_stats=1",
            str(corpus),
        ],
        one,
        custom_mutator=_mutate,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
