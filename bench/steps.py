"""Events a second through the job's steps, beside the floor: from bytes to encoded row.

One process, one core. The floor is what no plain decoder of these bytes can do without: base64
where they came in it, parse the protobuf, walk both values, write both as JSON. Decode and shape
do that, and identity, types and columns, in at most 1.5 times the floor's time for the made-up
event: `decode and shape / floor` tells. What is equal on both sides they read once
(`schemas.sides`), so that a large document's update costs less than its floor. Encode is the row's
protobuf; `steps` are the three together, and `in Beam` the same as DoFns in one fused stage of
FnApiRunner.

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
_ROUNDS = 10


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
    """Floor, decode and shape, and encode in turn, in rounds; then Beam.

    The fastest round counts, in seconds of the processor, so that others who use the machine
    change little: none of the three ever waits.
    """
    times = max(EVENTS_COUNT // len(distinct) // _ROUNDS, 1)
    messages = [*distinct] * times
    count = len(messages)
    shaper = Shaper(shipped())
    rows = [shaper.shape(decode_message(message), now_micros()) for message in distinct] * times
    rounds = [
        (
            _seconds(lambda: _floor(messages, raw), time.process_time),
            _seconds(lambda: _decode_and_shape(messages), time.process_time),
            _seconds(lambda: _encode(rows), time.process_time),
        )
        for _ in range(_ROUNDS)
    ]
    floor, read, encode = map(min, zip(*rounds, strict=True))
    steps = read + encode
    through_beam = _seconds(lambda: _beam(distinct, times * _ROUNDS), time.perf_counter)
    return {
        f"{kind}: events, distinct": len(distinct),
        f"{kind}: events": count * _ROUNDS,
        f"{kind}: bytes an event": sum(len(message.data) for message in distinct) // len(distinct),
        f"{kind}: floor, us an event": round(floor / count * 1e6, 1),
        f"{kind}: decode and shape, us an event": round(read / count * 1e6, 1),
        f"{kind}: decode and shape / floor": round(read / floor, 2),
        f"{kind}: encode, us an event": round(encode / count * 1e6, 1),
        f"{kind}: steps / floor": round(steps / floor, 2),
        f"{kind}: steps, events/s": round(count / steps),
        f"{kind}: steps in Beam, events/s": round(count * _ROUNDS / through_beam),
    }


def _seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    work()
    return clock() - began


def _floor(messages: Iterable[Message], raw: Callable[[bytes], bytes]) -> None:
    parse, walk = firestore.DocumentEventData.FromString, firestore.fields_to_json
    for message in messages:
        event = parse(raw(message.data))
        orjson.dumps(walk(event.value.fields))
        orjson.dumps(walk(event.old_value.fields))


def _decode_and_shape(messages: Iterable[Message]) -> None:
    shaper = Shaper(shipped())
    for message in messages:
        shaper.shape(decode_message(_anew(message)), now_micros())


def _encode(rows: Iterable[Row]) -> None:
    encoder = Encoder(shipped()[0])
    for row in rows:
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
