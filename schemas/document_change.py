"""A change of a document in exact Python values, and its two forms as an event's data.

What a DocumentEventData carries, whole: read from an event, or made from a document to be written
as one. `schemas.event` reads events for rows, faster and as JSON; this keeps every type.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.event_data import write_json
from schemas.firestore import DocumentEventData, InvalidValue, parse_event_data
from schemas.firestore_values import (
    Exact,
    Timestamp,
    check_text,
    read_fields,
    read_time,
    write_fields,
    write_time,
)


@dataclass(frozen=True, slots=True)
class Document:
    """A document at one time.

    Args:
        name: Full: `projects/P/databases/D/documents/...`.
        fields: By name, by the table of `schemas.firestore`.
        create_time: When it was created; None where the event does not say.
        update_time: When it was last changed; at first its create_time.
    """

    name: str
    fields: Mapping[str, Exact] = field(default_factory=dict)
    create_time: Timestamp | None = None
    update_time: Timestamp | None = None


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """What happened to a document.

    Args:
        new: The document after; None where it was deleted.
        old: The document before; None where it was created.
        mask: Paths of the fields that an update changed, in Firestore's quoting; () where the
            event does not say.
    """

    new: Document | None
    old: Document | None = None
    mask: tuple[str, ...] = ()

    def to_event_data(self) -> Any:
        """As a DocumentEventData.

        Raises:
            InvalidValue: It has no side, an empty name, sides of two documents, or a value that
                Firestore cannot hold; the text begins with the side and the path in it.
        """
        if self.new is None and self.old is None:
            raise InvalidValue("a change has a document: both new and old are None")
        if self.new is not None and self.old is not None and self.new.name != self.old.name:
            raise InvalidValue(
                f"old is of another document: {self.old.name!r:.500}, not {self.new.name!r:.500}"
            )
        event = DocumentEventData()
        if self.new is not None:
            _write_document(event.value, self.new, "new")
        if self.old is not None:
            _write_document(event.old_value, self.old, "old")
        for i, path in enumerate(self.mask):
            check_text(path, f"mask[{i}]")
            event.update_mask.field_paths.append(path)
        return event

    def to_protobuf(self) -> bytes:
        """As Eventarc sends it (`application/protobuf`); the same change is the same bytes.

        Raises:
            InvalidValue: As for `to_event_data`.
        """
        encoded: bytes = self.to_event_data().SerializeToString(deterministic=True)
        return encoded

    def to_json(self) -> bytes:
        """As the body of a JSON CloudEvent (`application/json`): protobuf's JSON, in UTF-8.

        Raises:
            InvalidValue: As for `to_event_data`.
        """
        return json.dumps(
            write_json(self.to_event_data()),
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        ).encode()


def from_event_data(event: Any) -> DocumentChange:
    """Reads a DocumentEventData; a side without a name is absent, as is a mask without paths.

    Raises:
        InvalidValue: A value that has no meaning; the text begins with the side and the path.
    """
    return DocumentChange(
        _read_document(event.value, "new"),
        _read_document(event.old_value, "old"),
        tuple(event.update_mask.field_paths),
    )


def from_bytes(data: bytes, content_type: str) -> DocumentChange:
    """Reads an event's data in whichever of its forms (`schemas.firestore.parse_event_data`).

    Raises:
        InvalidEventData: The bytes are no whole DocumentEventData.
        InvalidValue: As for `from_event_data`.
    """
    return from_event_data(parse_event_data(data, content_type))


def _write_document(target: Any, document: Document, side: str) -> None:
    check_text(document.name, f"{side}.name")
    if not document.name:
        raise InvalidValue(f"{side}.name: empty, so that the side would be read as absent")
    target.name = document.name
    try:
        write_fields(target.fields, document.fields)
    except InvalidValue as error:
        raise InvalidValue(f"{side}.fields: {error}") from error
    if document.create_time is not None:
        write_time(target.create_time, document.create_time, f"{side}.create_time")
    if document.update_time is not None:
        write_time(target.update_time, document.update_time, f"{side}.update_time")


def _read_document(document: Any, side: str) -> Document | None:
    if not document.name:
        return None
    try:
        fields = read_fields(document.fields)
    except InvalidValue as error:
        raise InvalidValue(f"{side}.fields: {error}") from error
    return Document(
        document.name,
        fields,
        _read_time(document, "create_time", side),
        _read_time(document, "update_time", side),
    )


def _read_time(document: Any, name: str, side: str) -> Timestamp | None:
    if not document.HasField(name):
        return None
    return read_time(getattr(document, name), f"{side}.{name}")
