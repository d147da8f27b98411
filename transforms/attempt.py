"""The one way in which a pure step meets bad input: what it raises becomes a Failure."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from schemas.failure import Failure
from schemas.message import Message

FAILED = "failed"

_log = logging.getLogger(__name__)


class Attempt(beam.DoFn):
    """Applies a pure function to each element; good results to the main output.

    Any exception is a Failure: the named ones as they are, an unforeseen one as
    `UnexpectedError`, with its traceback in the log and counted. Otherwise one message would
    end every restart of an engine that does not retry.

    Args:
        stage: What the step is called in a dead letter.
        function: From an element to a result; named exceptions are the input's fault.
        named: The exceptions that the function raises for bad input.
        message_of: From an element to its Message.
    """

    def __init__(
        self,
        stage: str,
        function: Callable[[Any], Any],
        named: tuple[type[Exception], ...],
        message_of: Callable[[Any], Message],
    ) -> None:
        self._stage = stage
        self._function = function
        self._named = named
        self._message_of = message_of
        self._good = Metrics.counter(stage, "good")
        self._failed = Metrics.counter(stage, "failed")
        self._unexpected = Metrics.counter(stage, "unexpected_errors")

    def process(self, element: Any) -> Iterable[Any]:
        """Yields the result, or a Failure on the output `failed`."""
        try:
            result = self._function(element)
        except self._named as error:
            return (self._failure(element, type(error).__name__, str(error)),)
        except Exception as error:  # noqa: BLE001 - see above: logged, counted, dead-lettered
            message = self._message_of(element)
            _log.exception("%s failed on event %s", self._stage, message.event_id)
            self._unexpected.inc()
            reason = f"{type(error).__name__}: {error}"
            return (self._failure(element, "UnexpectedError", reason),)
        self._good.inc()
        return (result,)

    def _failure(self, element: Any, error: str, reason: str) -> TaggedOutput:
        self._failed.inc()
        message = self._message_of(element)
        return TaggedOutput(FAILED, Failure(message, self._stage, error, reason))
