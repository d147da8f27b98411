"""What the stateful Deduplicate costs (`transforms.first_of_key`): bytes, and time of a worker.

The messages are those of `steps`' made-up kind. Bytes are as Beam encodes them for the runner; what
a service adds to store them is its own. Times are in seconds of the processor. In Beam, it is what
FnApiRunner takes more with the step than without: it groups by key, reads and writes each key's
state and fires each key's timer, all in one process. Beam's cache of state is off, as it is on a
worker unless `--max_cache_memory_usage_mb` is given; what it would cost is measured too.
"""

import pickle
import statistics
import time
from collections.abc import Callable, Iterable, Sequence

import apache_beam as beam
from apache_beam.coders import BytesCoder, TupleCoder
from apache_beam.coders.coders import _TimerCoder  # the coder of what a worker sends
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms.userstate import Timer
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PANE_INFO_UNKNOWN

from local.load import changes
from schemas.message import Message
from schemas.raw import from_raw
from transforms.first_of_key import DropRepeats, FirstOfKey, keyed

MESSAGES = 20_000

_HORIZON = 3_600.0
_ROUNDS = 3
_FEW = 1_000
_DAY = 86_400
_KEY, _PAIR = BytesCoder(), TupleCoder((BytesCoder(), BytesCoder()))


def run() -> dict[str, object]:
    """Measures bytes a key, bytes a message and time a message."""
    messages = list(changes(MESSAGES, "dedup"))
    sizes = bytes_of_a_key(messages[0])
    kept = sum(sizes.values())
    return {
        "messages": MESSAGES,
        **{f"{what}, bytes a key": size for what, size in sizes.items()},
        "key, state and timer, bytes a key": kept,
        "the same for 100 keys/s over a day, MB": round(kept * 100 * _DAY / 1e6),
        "data, bytes a message": _mean(len(message.data) for message in messages),
        "shuffled, bytes a message": shuffled(messages),
        "shuffled if pickled, bytes a message": _mean(len(pickle.dumps(each)) for each in messages),
        "to bytes and back, us a message": _micros(MESSAGES, lambda: _there_and_back(messages)),
        "in Beam, us a message": _in_beam(messages),
        "in Beam with a state cache of 100 MB, us a message": _in_beam(messages[:_FEW], 100),
    }


def bytes_of_a_key(message: Message) -> dict[str, int]:
    """The key, its state and its timer, each as a worker encodes it."""
    return {
        "key": len(_KEY.encode(keyed(message)[0])),
        "state": len(FirstOfKey.SEEN.coder.encode(True)),
        "timer, its key among it": len(timer(message)),
    }


def timer(message: Message) -> bytes:
    """A message's timer as a worker sends it."""
    at = Timestamp.now()
    made = Timer(keyed(message)[0], "", (GlobalWindow(),), False, at, at, PANE_INFO_UNKNOWN)
    encoded: bytes = _TimerCoder(_KEY, GlobalWindows().get_window_coder()).encode(made)
    return encoded


def shuffled(messages: Iterable[Message]) -> int:
    """Mean bytes of a key and its message, as they cross the shuffle."""
    return _mean(len(_PAIR.encode(keyed(each))) for each in messages)


def _there_and_back(messages: Sequence[Message]) -> None:
    for message in messages:
        _, value = _PAIR.decode(_PAIR.encode(keyed(message)))
        from_raw(value)


def _in_beam(messages: Sequence[Message], cache: int = 0) -> float:
    def through(*steps: beam.PTransform) -> None:
        with beam.Pipeline(runner=FnApiRunner()) as p:
            found = p | beam.Create(messages, reshuffle=False)
            for step in steps:
                found |= step
            _ = found | "Ids" >> beam.Map(lambda message: message.event_id)

    before = worker_handlers.STATE_CACHE_SIZE_MB
    worker_handlers.STATE_CACHE_SIZE_MB = cache
    try:
        without = _micros(len(messages), through)
        return round(_micros(len(messages), lambda: through(DropRepeats(_HORIZON))) - without, 1)
    finally:
        worker_handlers.STATE_CACHE_SIZE_MB = before


def _micros(count: int, work: Callable[[], None]) -> float:
    """Microseconds of the processor for each of so many messages, of the fastest round."""
    seconds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return round(min(seconds) / count * 1e6, 1)


def _mean(sizes: Iterable[int]) -> int:
    return round(statistics.mean(sizes))
