"""API keys: what a manual call shows, and what is kept of it.

`API_KEYS` is a list of `CLIENT:DIGEST`, parted by commas or white space; DIGEST is the SHA-256 of
the key as 64 hexadecimal digits, CLIENT a name of 1 to 64 letters, digits, `.`, `_` and `-` that
starts with a letter or digit. A client may have several keys: a new one is added, the client
changes over, the old one goes.

A key is `issues_key_` and 64 hexadecimal digits, 256 random bits; a secret scanner finds it by
`issues_key_[0-9a-f]{64}`. One round of SHA-256 is right for what is kept: slow hashes (scrypt,
argon2) protect passwords, which can be guessed; 256 random bits cannot, and a slow hash on each
request would be a way to flood the service. So keys must be made here, never thought up.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.problem import Problem, ProblemsFound

WHERE = "API_KEYS"
KEY_PREFIX = "issues_key_"
KEY_BYTES = 32

_KEY = re.compile(KEY_PREFIX + r"[0-9a-f]{64}")
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_PARTED = re.compile(r"[,\s]+")

_MAKE = "make one with `python -m publisher key CLIENT`"
# What a pipe that broke leaves: `sha256sum` of nothing, and of a line break.
_OF_NOTHING = frozenset(hashlib.sha256(text).digest() for text in (b"", b"\n"))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key.

    Args:
        client: Whose it is.
        digest: SHA-256 of the key, 32 bytes.
    """

    client: str
    digest: bytes = field(repr=False)

    def entry(self) -> str:
        """The entry in `API_KEYS`."""
        return f"{self.client}:{self.digest.hex()}"


class KeyRing:
    """Finds the client of a key that is shown.

    The look-up is by digest in a dictionary. How long it takes tells nothing of use: it could only
    tell how much of a *digest* is right, and nobody can choose a key by the start of its digest.

    Args:
        keys: All that are accepted.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._clients = {key.digest: key.client for key in keys}

    def client(self, shown: str) -> str | None:
        """The client whose key this is; None for every other text."""
        # Others are not hashed: a form's field may have megabytes, and characters without UTF-8.
        if not _KEY.fullmatch(shown):
            return None
        return self._clients.get(_digest(shown))


def new_key(client: str) -> tuple[str, ApiKey]:
    """A new key, which is nowhere kept, and its entry.

    Args:
        client: Whose it will be.

    Raises:
        ProblemsFound: The name is none.
    """
    if not _CLIENT.fullmatch(client):
        raise ProblemsFound([Problem("CLIENT", f"{client!r} is not a client's name", _GRAMMAR)])
    key = KEY_PREFIX + secrets.token_hex(KEY_BYTES)
    return key, ApiKey(client, _digest(key))


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Reads `API_KEYS`; '' is none.

    Raises:
        ProblemsFound: With every entry that is wrong, by its number. None of its text is shown,
            as it may be a key.
    """
    keys: list[ApiKey] = []
    problems: list[Problem] = []
    entries = [entry for entry in _PARTED.split(text) if entry]
    numbers: dict[bytes, int] = {}
    for number, entry in enumerate(entries, 1):
        problem = _problem(entry)
        if problem is None:
            client, _, digest = entry.partition(":")
            key = ApiKey(client, bytes.fromhex(digest))
            keys.append(key)
            if (first := numbers.setdefault(key.digest, number)) != number:
                problem = (
                    f"has the key of entry {first}",
                    "a key stands once, with one client",
                )
        if problem is not None:
            what, remedy = problem
            problems.append(Problem(WHERE, f"entry {number} of {len(entries)} {what}", remedy))
    if problems:
        raise ProblemsFound(problems)
    return tuple(keys)


_GRAMMAR = "1 to 64 letters, digits, . _ -, the first a letter or digit"


def _problem(entry: str) -> tuple[str, str] | None:
    """What is wrong with an entry and what to do, without a word of it."""
    client, colon, digest = entry.partition(":")
    if KEY_PREFIX in entry:
        replace = "put its SHA-256 there; the key has been seen here, so better make a new one"
        return "is a key itself", replace
    if not colon:
        return "has no colon", f"CLIENT:DIGEST; {_MAKE}"
    if not _CLIENT.fullmatch(client):
        return "does not start with a client's name", _GRAMMAR
    if not _DIGEST.fullmatch(digest):
        what = f"has a digest of {len(digest)} characters that are not 64 hexadecimal digits"
        return what, f"it is the SHA-256 of the key; {_MAKE}"
    if bytes.fromhex(digest) in _OF_NOTHING:
        return "is the digest of nothing", _MAKE
    return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
