"""The rules that CloudEvents 1.0.2 sets for context attributes, one by one.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import re
from collections.abc import Iterable, Mapping
from itertools import islice

from schemas.message import MAX_VALUE_BYTES
from schemas.problem import Problem
from schemas.times import parse_rfc3339

SPECVERSION = "1.0"

REQUIRED = ("specversion", "id", "source", "type")
CORE = (*REQUIRED, "time", "subject", "dataschema", "datacontenttype")
_SPECIFICATION = "CloudEvents 1.0.2"

FIRESTORE_TYPES = "google.cloud.firestore."

# As many as help a sender; a body may hold millions, and each is answered and logged.
MAX_PROBLEMS = 20

NAME = re.compile(r"[a-z0-9]+")
# The specification's String: no control characters, no surrogates, no Unicode noncharacters.
_DISALLOWED = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
# RFC 2046 with RFC 9110's tokens: type/subtype and parameters.
_T = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(rf'{_T}/{_T}(?:[ \t]*;[ \t]*{_T}=(?:{_T}|"(?:[^"\\]|\\.)*"))*')
# RFC 3986: absolute and relative references.
_P = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_REG = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
_AUTHORITY = rf"//(?:(?:{_REG}|:)*@)?(?:\[[0-9A-Fa-fvV:.]+\]|{_REG}*)(?::[0-9]*)?(?:/{_P}*)*"
_END = rf"(?:\?(?:{_P}|[/?])*)?(?:#(?:{_P}|[/?])*)?"
_URI_TEXT = rf"[A-Za-z][A-Za-z0-9+\-.]*:(?:{_AUTHORITY}|/?(?:{_P}+(?:/{_P}*)*)?)"
_RELATIVE = rf"(?:{_AUTHORITY}|/(?:{_P}+(?:/{_P}*)*)?|(?:(?!:){_P})+(?:/{_P}*)*|)"
_GRAMMARS = {
    "source": (re.compile(rf"(?:{_URI_TEXT}|{_RELATIVE}){_END}"), "URI-reference (RFC 3986)"),
    "dataschema": (re.compile(_URI_TEXT + _END), "URI (RFC 3986)"),
    "datacontenttype": (_MEDIA_TYPE, "media type (RFC 2046)"),
}


def shown(name: str) -> str:
    """A name fit for an error text: short, and without half a surrogate pair or a control."""
    return name[:64] if name.isascii() and name.isprintable() else repr(name[:64])


def first_problems(problems: Iterable[Problem]) -> list[Problem]:
    """The first `MAX_PROBLEMS`, and one that says so when there are more."""
    found = list(islice(problems, MAX_PROBLEMS + 1))
    if len(found) > MAX_PROBLEMS:
        found[MAX_PROBLEMS] = Problem("and more", f"only the first {MAX_PROBLEMS} are told")
    return found


def leave_out_hints(attributes: dict[str, str], problems: dict[str, Problem]) -> None:
    """Takes out of a Firestore event what is wrong with anything but its identity and its time.

    Its senders make attributes of a document's name, which may hold any character and any percent
    sign, and of the user's id, which may be any string under custom authentication; the protobuf
    has the names themselves, and Eventarc drops an event that is refused. An empty time is absent,
    another one that can't be read is a problem still. Other types of events are left alone.

    Args:
        attributes: As read, those with a problem too where they could be; changed in place.
        problems: By attribute; changed in place.
    """
    if not attributes.get("type", "").startswith(FIRESTORE_TYPES):
        return
    kept = REQUIRED if attributes.get("time") == "" else (*REQUIRED, "time")
    for name in problems.keys() - kept:
        del problems[name]
        attributes.pop(name, None)


def attribute_problems(
    attributes: Mapping[str, str], known: Iterable[str], prefix: str
) -> dict[str, Problem]:
    """What breaks the specification's rules, by attribute; `known` ones are reported already."""
    problems: dict[str, Problem] = {}
    for name in REQUIRED:
        if name not in attributes and name not in known:
            problems[name] = Problem(prefix + name, "missing", f"{_SPECIFICATION} requires it")
    for name, value in attributes.items():
        if name not in known and (what := _broken_rule(name, value)):
            problems[name] = Problem(shown(prefix + name), what)
    return problems


def _broken_rule(name: str, value: str) -> str:
    """Which rule the attribute breaks, as a clause; '' when it keeps them all."""
    if name == "data" or not NAME.fullmatch(name):
        return "is no attribute name (lower-case letters and digits, not 'data')"
    if name in CORE and not value:
        return "is empty"
    if bad := _DISALLOWED.search(value):
        return f"holds the disallowed character U+{ord(bad[0]):04X}"
    if name == "specversion" and value != SPECVERSION:
        return f"is {value[:64]!r}, only {SPECVERSION!r} is read"
    grammar = _GRAMMARS.get(name)
    # What is too long for Pub/Sub is not matched: to_message refuses it or leaves it out.
    if grammar and len(value) <= MAX_VALUE_BYTES and not grammar[0].fullmatch(value):
        return f"{value[:64]!r} is no {grammar[1]}"
    if name == "time":
        try:
            parse_rfc3339(value)
        except ValueError as error:
            return str(error)
    return ""
