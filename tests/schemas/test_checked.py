"""Value classes that the type checker takes for frozen."""

import dataclasses

import pytest
from mypy import api

from schemas.event import Event
from schemas.message import Message
from schemas.row import Row

PROGRAM = """\
from schemas.event import Event
from schemas.message import Message
from schemas.row import Row

def assign(event: Event, message: Message, row: Row) -> None:
    event.source = "x"
    message.data = b"x"
    row.table = "x"
    print(event.source, message.data, row.table)
    Message(5)
"""


def test_an_assignment_is_refused_by_the_type_checker(tmp_path):
    """What `frozen=True` would refuse when it happens, `make lint` refuses before."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # Each module is known by its annotations here, whatever else is wrong in it.
    options = ["--cache-dir", str(tmp_path / "cache"), "--follow-imports=silent"]
    out, err, _ = api.run([*options, "--ignore-missing-imports", str(program)])
    assert err == ""
    found = [line.split(":", 2)[1:] for line in out.splitlines()[:-1]]
    assert [int(number) for number, _ in found] == [6, 7, 8, 10]
    for (_, said), what in zip(found, ("source", "data", "table"), strict=False):
        assert f'"{what}" ' in said
        assert "read-only" in said


@pytest.mark.parametrize("kind", [Event, Message, Row])
def test_they_are_slotted_dataclasses_all_the_same(kind):
    """So a misspelt attribute is refused when it happens, and `replace` makes another one."""
    made = kind(**{field.name: None for field in dataclasses.fields(kind) if field.init})
    with pytest.raises(AttributeError):
        made.other = 1
    first = dataclasses.fields(kind)[0].name
    changed = dataclasses.replace(made, **{first: "x"})
    assert (getattr(changed, first), getattr(made, first)) == ("x", None)
    assert changed != made
