"""What the sample expects of each event that it sends: where it must arrive, and with what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Expected:
    """One thing that must arrive. What is empty is not known beforehand and not compared.

    Args:
        outcome: A row of a table, or a dead letter.
        what: What was sent.
        table: The table of the row; in any other one it is wrong.
        event_id: Where the sample chose it; the Firestore emulator chooses its own.
        document_path: Of a document's event.
        operation: CREATE, UPDATE, DELETE or MANUAL.
        issue_id: As the publisher answered it.
        stage: Where a dead letter's message failed.
        error: The named type of a dead letter.
        fields: The document after the write, as Firestore's client reads it, or the manual
            body, without what the table drops; None where nothing is left.
        old_fields: The document before the write, likewise; None where nothing was there.
        parameters: The columns that take ids of the document's path, with these ids.
    """

    outcome: Literal["row", "dead letter"]
    what: str
    table: str = ""
    event_id: str = ""
    document_path: str = ""
    operation: str = ""
    issue_id: str = ""
    stage: str = ""
    error: str = ""
    fields: Mapping[str, Any] | None = None
    old_fields: Mapping[str, Any] | None = None
    parameters: Mapping[str, str] | None = None

    @property
    def compared(self) -> bool:
        """Whether what is read back of it is compared with what was written."""
        return self.fields is not None or self.old_fields is not None

    def __str__(self) -> str:
        known = (self.operation, self.document_path, self.issue_id, self.stage, self.error)
        place = f" in {self.table}" if self.table else ""
        return f"{self.outcome}{place} of {self.what!r} ({' '.join(filter(None, known))[:_SHOWN]})"
