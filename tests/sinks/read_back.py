"""What a table is to hold, by its messages, and whether it does: each column of each row."""

import json
from datetime import UTC, datetime, timedelta

from schemas.event import decode_message
from schemas.row import Shaper
from schemas.table import Type
from tests.strategies import is_same

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INGEST_TIME = "ingest_time"


def expected(tables, messages, now):
    """By table and event_id, the values of every row that the messages make."""
    shaper = Shaper(tables)
    found = {}
    for message in messages:
        row = shaper.shape(decode_message(message), now)
        found.setdefault(row.table, {})[message.event_id] = row.values
    return found


def as_row(given, table):
    """A row as BigQuery's client gives it, by `schemas.table.Type`; JSON is read."""
    return {
        # The client reads JSON, but not of a REPEATED column.
        column.name: [
            json.loads(item) if column.type is Type.JSON else _value(item, column.type)
            for item in given[column.name]
        ]
        if column.repeated
        else _value(given[column.name], column.type)
        for column in table.columns
    }


def _value(value, type_):
    if type_ is Type.TIMESTAMP and value is not None:
        return (value - _EPOCH) // timedelta(microseconds=1)
    return value


def read(values, table):
    """A row's values with JSON read, for the comparison with one that was read back."""
    return {column.name: _read(values[column.name], column) for column in table.columns}


def _read(value, column):
    if column.type is not Type.JSON or value is None:
        return value
    return [json.loads(item) for item in value] if column.repeated else json.loads(value)


def differences(found, wanted, table, began, ended):
    """What differs between a row that was read back and what it is to be, a sentence each."""
    found, wanted = as_row(found, table), read(wanted, table)
    told = []
    for name, value in wanted.items():
        if name == INGEST_TIME:
            if not began <= found[name] <= ended:
                told.append(f"{name} {found[name]} is not within the run")
        elif not is_same(found[name], value):
            told.append(f"{name} is {found[name]!r:.200}, not {value!r:.200}")
    return told
