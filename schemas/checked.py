"""Value classes whose immutability the type checker holds, not the interpreter."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[_Class]) -> type[_Class]:
    """A slotted dataclass that mypy takes for frozen, while at run time it is a plain one.

    For what is made for each event, and for that alone: `frozen=True` sets each field through
    `object.__setattr__`, so that an Event of 20 fields costs 7 us instead of 2.4. Everything else
    is `dataclass(frozen=True, slots=True)`.
    """
    return dataclass(slots=True)(cls)
