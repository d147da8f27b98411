"""What Storage Write does not know yet: tables and columns that were made a moment ago.

The service's two halves learn of each other late. After `tables.insert` or `tables.patch` has
answered, Storage Write still says NOT_FOUND for the table, or refuses the column as an extra
field, for seconds up to minutes; reading the table through REST shows it all the while. Whoever
streams has to tell that from a table or column that is missing for good.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from local.bigquery_emulator.refusals import Code, not_found

Key = tuple[str, ...]
"""Project, dataset and table; for a column also its name, in lower case."""


class Lateness:
    """Tables and columns that Storage Write has not met yet, and when it will know them.

    The time runs from the first call that needs the table or column, not from when it was made,
    so that a test meets it however slow the machine is. In memory: after a restart nothing is
    late.

    Args:
        seconds: For how long Storage Write does not know; 0 for not at all.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[Key, float | None] = {}

    def table_made(self, key: Key) -> None:
        """Notes a table that Storage Write is to find late."""
        self._note([key])

    def columns_added(self, key: Key, names: Iterable[str]) -> None:
        """Notes columns that are to be extra fields for a while."""
        self._note([(*key, name.lower()) for name in names])

    def check_table(self, key: Key, entity: str) -> None:
        """Refuses a table that is too new.

        Args:
            key: The table.
            entity: Its resource name.

        Raises:
            Refused: NOT_FOUND, TABLE_NOT_FOUND.
        """
        if self._late(key):
            raise not_found(entity, Code.TABLE_NOT_FOUND)

    def known(self, key: Key, fields: Sequence[Any], sent: Iterable[str]) -> Sequence[Any]:
        """The columns of a table without those that a request sends and that are too new.

        Args:
            key: The table.
            fields: Its columns, from the catalog.
            sent: Names of the fields of the request.
        """
        if not self._until:
            return fields
        late = {name for name in map(str.lower, sent) if self._late((*key, name))}
        return [field for field in fields if field.name.lower() not in late]

    def _note(self, keys: Iterable[Key]) -> None:
        if self._seconds:
            with self._lock:
                self._until |= dict.fromkeys(keys)

    def _late(self, key: Key) -> bool:
        with self._lock:
            if key not in self._until:
                return False
            now = self._clock()
            until = self._until[key]
            if until is None:
                until = self._until[key] = now + self._seconds
            if now < until:
                return True
            del self._until[key]
            return False
