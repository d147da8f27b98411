"""The public keys with which Google signs ID tokens: fetched, kept, renewed.

Google changes the keys every few days, publishes a new one before it is used, and says in
Cache-Control how long the list holds (https://openid.net/specs/openid-connect-core-1_0.html
#RotateAsymmetricSigningKeys). What is kept serves in three ages (RFC 5861):

- fresh, as long as Cache-Control says: it is used;
- stale, for `STALE_SECONDS` more: it is used, and a new list is fetched meanwhile, so an outage of
  Google's endpoint is not felt here for a day;
- older, or never fetched: whoever asks waits for the fetch, and `KeysUnavailable` if it fails.

An unknown key id makes everyone who shows it wait for one fetch. However many ask, fetches begin
at most every `PAUSE_SECONDS` and one at a time, so a stranger's invented ids flood nobody.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import InvalidKeyError

# https://developers.google.com/identity/openid-connect/openid-connect#discovery : `jwks_uri`.
GOOGLE_KEYS_URL = "https://www.googleapis.com/oauth2/v3/certs"

# A request waits for it, and Pub/Sub for the request: 10 s in all.
FETCH_SECONDS = 3.0
PAUSE_SECONDS = 10.0

# Google says some six hours. A list without a word holds for the least.
MIN_FRESH_SECONDS = 300.0
MAX_FRESH_SECONDS = 86_400.0
STALE_SECONDS = 86_400.0

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?([0-9]{1,9})", re.IGNORECASE)

log = logging.getLogger("publisher.jwks")


class KeysUnavailable(Exception):
    """No key of Google's could be had: nobody's token can be judged, and no sender is to blame."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint answered.

    Args:
        body: A JSON Web Key Set (RFC 7517, 5).
        cache_control: The header Cache-Control.
        age: The header Age, in seconds: how long it lay in a cache on the way.
    """

    body: bytes
    cache_control: str = ""
    age: str = ""


Fetch = Callable[[str], Answer]


def fetch_keys(url: str) -> Answer:
    """Fetches the list; blocks, and ends by itself in about `FETCH_SECONDS`.

    Raises:
        OSError: It could not be had (requests' own errors are of that kind too).
    """
    # Only now: a service that checks no tokens does without.
    import requests  # noqa: PLC0415

    answer = requests.get(url, timeout=FETCH_SECONDS, allow_redirects=False)
    if answer.status_code != 200:
        raise OSError(f"status {answer.status_code}")
    headers = answer.headers
    return Answer(answer.content, headers.get("Cache-Control", ""), headers.get("Age", ""))


class SigningKeys:
    """The keys by their ids. One event loop, and no other thread, uses it.

    Args:
        url: Where they are.
        fetch: Fetches them, in a thread; raises OSError when it can't.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        url: str = GOOGLE_KEYS_URL,
        fetch: Fetch = fetch_keys,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._fresh_until = self._stale_until = self._next_fetch = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key of that id, None when Google has none.

        It is the same object until the list is fetched anew.

        Raises:
            KeysUnavailable: There is no list, or only one that is too old.
        """
        now = self._clock()
        if now >= self._stale_until:
            await self._renewed()
            if self._clock() >= self._stale_until:
                raise KeysUnavailable(f"no keys from {self._url}")
        elif now >= self._fresh_until:
            self._begin()
        if kid not in self._keys:
            await self._renewed()
        return self._keys.get(kid)

    async def _renewed(self) -> None:
        """Waits for the fetch that is under way or may begin; it may fail."""
        if task := self._begin():
            # Who asked first may go away; the others wait on.
            await asyncio.shield(task)

    def _begin(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, begun now if one may begin."""
        if self._fetching is None and self._clock() >= self._next_fetch:
            self._next_fetch = self._clock() + PAUSE_SECONDS
            self._fetching = asyncio.create_task(self._renew())
        return self._fetching

    async def _renew(self) -> None:
        """Fetches the list; keeps the one that is there when it can't."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                answer = await asyncio.to_thread(self._fetch, self._url)
            keys = parse_jwks(answer.body)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            left = self._stale_until - self._clock()
            what = f"the keys that are here serve for {left:.0f} s more" if left > 0 else "no keys"
            log.warning("%s: %s; %s", self._url, str(error) or type(error).__name__, what)
        else:
            self._keys = keys
            self._fresh_until = self._clock() + fresh_seconds(answer.cache_control, answer.age)
            self._stale_until = self._fresh_until + STALE_SECONDS
        finally:
            self._fetching = None


def parse_jwks(body: bytes) -> dict[str, RSAPublicKey]:
    """The RSA signing keys of a JSON Web Key Set; others in it are passed over (RFC 7517, 5).

    Raises:
        ValueError: It is none, or has no such key.
    """
    value = json.loads(body)
    entries = value.get("keys") if isinstance(value, dict) else None
    keys: dict[str, RSAPublicKey] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
            continue
        if entry.get("kty") != "RSA" or entry.get("alg", "RS256") != "RS256":
            continue
        if entry.get("use", "sig") != "sig":
            continue
        try:
            key = RSAAlgorithm.from_jwk(entry)
        except (InvalidKeyError, ValueError, TypeError) as error:  # the latter two for a bad n or e
            log.warning("a key of the list cannot be read: %s", error)
            continue
        if isinstance(key, RSAPublicKey):
            keys[entry["kid"]] = key
    if not keys:
        raise ValueError("has no RSA key for signatures")
    return keys


def fresh_seconds(cache_control: str, age: str) -> float:
    """How long a list is fresh, from its headers (RFC 9111, 4.2), within this module's bounds."""
    found = _MAX_AGE.search(cache_control)
    if not found:
        return MIN_FRESH_SECONDS
    spent = int(age[:9]) if age.isascii() and age.isdigit() else 0
    return min(max(int(found[1]) - spent, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
