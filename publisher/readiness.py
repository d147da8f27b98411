"""Whether the service can do its work, asked of the broker at most once in a few seconds."""

import asyncio
import time
from collections.abc import Callable

from publisher.broker import Broker, BrokerError
from publisher.room import Room

FRESH_SECONDS = 5.0
# A bad answer is asked again sooner, so that whoever waits for the start waits no longer.
BAD_SECONDS = 1.0


class Readiness:
    """The broker's last answer, and whether there is room; questions together share one call.

    Args:
        broker: Asked.
        room: What it says counts at once: it costs nothing to ask.
        clock: Seconds, never running backwards.
    """

    def __init__(
        self, broker: Broker, room: Room, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._broker = broker
        self._room = room
        self._clock = clock
        self._asking = asyncio.Lock()
        self._reason = ""
        self._until = float("-inf")

    async def reason(self) -> str:
        """Why the service is not ready; '' when it is."""
        async with self._asking:
            if self._clock() >= self._until:
                try:
                    await self._broker.check()
                except BrokerError as error:
                    self._reason = str(error)
                else:
                    self._reason = ""
                lasts = BAD_SECONDS if self._reason else FRESH_SECONDS
                self._until = self._clock() + lasts
            if self._room.full:
                return self._reason or "the queue is full"
            return self._reason
