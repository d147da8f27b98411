"""Events a second through the job's steps, beside the floor: from bytes to encoded row.

One process, one core. The floor is what no decoder of these bytes can do without: parse the
protobuf, walk both values, write both as JSON. The steps do that, and identity, types, columns and
the row's protobuf. `beam` is the same steps as DoFns in one fused stage of FnApiRunner.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from local.load import change
from schemas import firestore
from schemas.encode import Encoder
from schemas.event import decode_message
from schemas.message import Message
from schemas.row import Row, Shaper
from schemas.table_file import shipped
from schemas.times import now_micros
from transforms.decode import EVENTS, DecodeEvents
from transforms.shape import ROWS, ShapeRows

EVENTS_COUNT = 100_000
_DISTINCT = 1_000


def run() -> dict[str, object]:
    """Measures the floor and the steps in turn, thrice, and takes the fastest of each."""
    recorded = [change(number) for number in range(_DISTINCT)]
    messages = recorded * (EVENTS_COUNT // _DISTINCT)
    floor = min(_seconds(_floor, messages) for _ in range(3))
    steps = min(_seconds(_steps, messages) for _ in range(3))
    through_beam = _beam(messages)
    return {
        "events": len(messages),
        "bytes an event": sum(len(m.data) for m in recorded) // _DISTINCT,
        "floor, us an event": _per(floor),
        "steps, us an event": _per(steps),
        "steps / floor": round(steps / floor, 2),
        "steps, events/s": round(EVENTS_COUNT / steps),
        "steps in Beam, events/s": round(EVENTS_COUNT / through_beam),
    }


def _per(seconds: float) -> float:
    return round(seconds / EVENTS_COUNT * 1e6, 1)


def _seconds(function: Callable[[Iterable[Message]], None], messages: list[Message]) -> float:
    began = time.perf_counter()
    function(messages)
    return time.perf_counter() - began


def _floor(messages: Iterable[Message]) -> None:
    parse, walk = firestore.DocumentEventData.FromString, firestore.fields_to_json
    for message in messages:
        event = parse(message.data)
        orjson.dumps(walk(event.value.fields))
        orjson.dumps(walk(event.old_value.fields))


def _steps(messages: Iterable[Message]) -> None:
    tables = shipped()
    shaper, encoder = Shaper(tables), Encoder(tables[0])
    for message in messages:
        # As it arrives: what a Message remembers about itself is not kept from the last round.
        fresh = Message(message.data, message.attributes, message.message_id, message.publish_time)
        row = shaper.shape(decode_message(fresh), now_micros())
        encoder.encode(row.values)


class _Emit(beam.DoFn):
    def __init__(self, distinct: list[Message], times: int) -> None:
        self._distinct = distinct
        self._times = times

    def process(self, _: Any) -> Iterator[Message]:
        for _ in range(self._times):
            yield from self._distinct


class _Encode(beam.DoFn):
    def setup(self) -> None:
        self._encoder = Encoder(shipped()[0])

    def process(self, row: Row) -> None:
        self._encoder.encode(row.values)


def _beam(messages: list[Message]) -> float:
    began = time.perf_counter()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = (
            pipeline
            | beam.Create([None], reshuffle=False)
            | beam.ParDo(_Emit(messages[:_DISTINCT], len(messages) // _DISTINCT))
        )
        events = (read | DecodeEvents())[EVENTS]
        rows = (events | ShapeRows(shipped()))[ROWS]
        rows | beam.ParDo(_Encode())
    return time.perf_counter() - began
