"""Events a second through the job's steps, beside the floor: from bytes to encoded row.

One process, one core. The floor is what no decoder of these bytes can do without: base64 where
they came in it, parse the protobuf, walk both values, write both as JSON. The steps do that, and
identity, types, columns and the row's protobuf. `in Beam` is the same steps as DoFns in one fused
stage of FnApiRunner.

Two kinds of event, each in a round until there are 100,000:
- recorded: what the Firestore emulator sent (tests/data/firestore_events.jsonl), as it was sent,
  in base64; small documents, many of them odd ones. Those of 10 KB and more are left out: three
  that would take most of the time and say little about the others.
- made up: an update of a document with 21 fields, as production Eventarc sends it, raw.
"""

import base64
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from local.load import change
from local.processes import ROOT
from schemas import firestore
from schemas.encode import Encoder
from schemas.event import decode_message
from schemas.message import Message
from schemas.recorded import from_line
from schemas.row import Row, Shaper
from schemas.table_file import shipped
from schemas.times import now_micros
from transforms.decode import EVENTS, DecodeEvents
from transforms.shape import ROWS, ShapeRows

EVENTS_COUNT = 100_000
LARGE = 10_000
"""Bytes of a recorded event's data from which on it is left out."""

_MADE_UP = 1_000
_ROUNDS = 3


def run() -> dict[str, object]:
    """Measures both kinds of event."""
    made_up = [change(number) for number in range(_MADE_UP)]
    return _measure("recorded", recorded(), base64.b64decode) | _measure("made up", made_up, bytes)


def recorded() -> list[Message]:
    """The recorded events, but for the large ones."""
    lines = (ROOT / "tests/data/firestore_events.jsonl").read_text().splitlines()
    return [message for message in map(from_line, lines) if len(message.data) < LARGE]


def _measure(
    kind: str, distinct: Sequence[Message], raw: Callable[[bytes], bytes]
) -> dict[str, object]:
    """The floor and the steps in turn, thrice, of which the fastest count; then Beam once."""
    times = max(EVENTS_COUNT // len(distinct), 1)
    messages = [*distinct] * times
    count = len(messages)
    floor = min(_seconds(lambda: _floor(messages, raw)) for _ in range(_ROUNDS))
    steps = min(_seconds(lambda: _steps(messages)) for _ in range(_ROUNDS))
    through_beam = _seconds(lambda: _beam(distinct, times))
    return {
        f"{kind}: events, distinct": len(distinct),
        f"{kind}: events": count,
        f"{kind}: bytes an event": sum(len(message.data) for message in distinct) // len(distinct),
        f"{kind}: floor, us an event": round(floor / count * 1e6, 1),
        f"{kind}: steps, us an event": round(steps / count * 1e6, 1),
        f"{kind}: steps / floor": round(steps / floor, 2),
        f"{kind}: steps, events/s": round(count / steps),
        f"{kind}: steps in Beam, events/s": round(count / through_beam),
    }


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _floor(messages: Iterable[Message], raw: Callable[[bytes], bytes]) -> None:
    parse, walk = firestore.DocumentEventData.FromString, firestore.fields_to_json
    for message in messages:
        event = parse(raw(message.data))
        orjson.dumps(walk(event.value.fields))
        orjson.dumps(walk(event.old_value.fields))


def _steps(messages: Iterable[Message]) -> None:
    tables = shipped()
    shaper, encoder = Shaper(tables), Encoder(tables[0])
    for message in messages:
        row = shaper.shape(decode_message(_anew(message)), now_micros())
        encoder.encode(row.values)


def _anew(message: Message) -> Message:
    """As it arrives: what a Message remembers about itself is not kept from the last round."""
    return Message(message.data, message.attributes, message.message_id, message.publish_time)


class _Emit(beam.DoFn):  # type: ignore[misc]
    def __init__(self, distinct: Sequence[Message], times: int) -> None:
        self._distinct = distinct
        self._times = times

    def process(self, _: Any) -> Iterator[Message]:
        for _ in range(self._times):
            yield from map(_anew, self._distinct)


class _Encode(beam.DoFn):  # type: ignore[misc]
    def setup(self) -> None:
        self._encoder = Encoder(shipped()[0])

    def process(self, row: Row) -> None:
        self._encoder.encode(row.values)


def _beam(distinct: Sequence[Message], times: int) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = pipeline | beam.Create([None], reshuffle=False) | beam.ParDo(_Emit(distinct, times))
        events = (read | DecodeEvents())[EVENTS]
        rows = (events | ShapeRows(shipped()))[ROWS]
        rows | beam.ParDo(_Encode())
