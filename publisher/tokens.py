"""Google-signed ID tokens: who sends an event.

Eventarc delivers through a push subscription of Pub/Sub's, which puts an OpenID Connect ID token
into `Authorization: Bearer` (https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions):

| claim | what is asked of it |
|---|---|
| `iss` | `https://accounts.google.com`, or the same without `https://` |
| `aud` | one of the audiences: the service's URL, without the endpoint's query |
| `exp`, `iat`, `nbf` | now lies between, give or take `SKEW_SECONDS`; `nbf` may be absent |
| `email` | one of the accounts: the trigger's service account |
| `email_verified` | true |

The signature is RS256 and nothing else, by the key that the header's `kid` names (`jwks`). A
service has two URLs, and a trigger with a path adds it: a token for another audience is told in
the log by its `aud`.

Cloud Run replaces the signature when it checks the token itself
(https://cloud.google.com/run/docs/troubleshooting#signature-removed). Such a token proves nothing
to us: it is refused, and the log says what to change.

A verification takes 0.3 ms, more than all else that a small event costs, and Pub/Sub sends the
same token for up to an hour: what was verified is remembered by digest (then it takes 0.006 ms),
until it expires or Google's list of keys is renewed. Refused tokens are not remembered.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.exceptions import InvalidAudienceError, InvalidTokenError

from publisher.jwks import KeysUnavailable, SigningKeys

__all__ = ["KeysUnavailable", "OtherAccount", "TokenCheck", "Untrusted"]

ALGORITHM = "RS256"
ISSUERS = ("https://accounts.google.com", "accounts.google.com")

# Clocks of Google's and ours; what Google's own libraries allow is 0 to 300 s.
SKEW_SECONDS = 60

# Google's have some 800 characters.
MAX_TOKEN_CHARACTERS = 8_192
MAX_REMEMBERED = 1_000

_LAST_SECOND = 253_402_300_800  # the year 10000

REMOVED_SIGNATURE = "SIGNATURE_REMOVED_BY_GOOGLE"
_REMOVED = (
    "Cloud Run checked the token itself and removed its signature, so it cannot be checked here: "
    "deploy with --allow-unauthenticated (this service checks tokens and keys itself)"
)


class Untrusted(Exception):
    """The token does not prove what it says; the sentence, for the log, says why."""


class OtherAccount(Exception):
    """The token is right, and of an account that may not send events; the sentence names it."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """What is remembered of a token."""

    kid: str
    key: RSAPublicKey
    expires: float


class TokenCheck:
    """Judges tokens. One event loop uses it.

    Args:
        audiences: Whom a token must be meant for, one of these.
        accounts: E-mail addresses of whoever may send events.
        keys: Google's.
        now: Seconds since the Unix epoch.
    """

    def __init__(
        self,
        audiences: Collection[str],
        accounts: Collection[str],
        keys: SigningKeys,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._audiences = tuple(audiences)
        self._accounts = frozenset(accounts)
        self._keys = keys
        self._now = now
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()

    async def check(self, token: str) -> None:
        """Returns when the token is of one who may send events.

        Args:
            token: As it was sent, without `Bearer`.

        Raises:
            Untrusted: It is malformed, expired, for somebody else, not signed by Google, ...
            OtherAccount: It is not, but its account is none of ours.
            KeysUnavailable: Google's keys could not be had.
        """
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            raise Untrusted("it is too long, or not ASCII")
        digest = hashlib.sha256(token.encode()).digest()
        if known := self._remembered.get(digest):
            same = await self._keys.key(known.kid) is known.key
            self._remembered.pop(digest, None)
            if same and self._now() < known.expires + SKEW_SECONDS:
                self._remembered[digest] = known  # the last to be forgotten
                return
        kid = _kid(token)
        key = await self._keys.key(kid)
        if key is None:
            raise Untrusted(f"Google has no key {kid[:64]!r}")
        claims = self._verified(token, key)
        self._remembered[digest] = _Verified(kid, key, claims["exp"])
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _verified(self, token: str, key: RSAPublicKey) -> Mapping[str, Any]:
        """The claims, once signature and claims are right."""
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audiences,
                issuer=ISSUERS,
                # Times are judged below, by the clock that also judges remembered tokens.
                options={
                    "require": ["exp", "iat", "aud", "iss"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except InvalidAudienceError as error:
            # The signature was judged before the audience: Google did write this.
            shown = jwt.decode(token, options={"verify_signature": False}).get("aud")
            what = f"its aud is {str(shown)[:256]!r}, which is not in EVENT_AUDIENCES"
            raise Untrusted(what) from error
        except InvalidTokenError as error:
            raise Untrusted(str(error)) from error
        if problem := _untimely(claims, self._now()):
            raise Untrusted(problem)
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise Untrusted(
                "it has no verified email; a service account's token has one only where it was "
                "asked for (gcloud: --include-email)"
            )
        if email not in self._accounts:
            raise OtherAccount(f"{email[:256]!r} is not in EVENT_SERVICE_ACCOUNTS")
        return claims


def _kid(token: str) -> str:
    """The id of the key that is said to have signed it.

    Raises:
        Untrusted: It is no token, or not one of Google's kind.
    """
    if token.rpartition(".")[2] == REMOVED_SIGNATURE:
        raise Untrusted(_REMOVED)
    try:
        header = jwt.get_unverified_header(token)
    except InvalidTokenError as error:
        raise Untrusted(f"it is no signed token: {error}") from error
    if header.get("alg") != ALGORITHM:
        raise Untrusted(f"its algorithm is not {ALGORITHM}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise Untrusted("it names no key")
    return kid


def _untimely(claims: Mapping[str, Any], now: float) -> str:
    """What is wrong with the token's times; '' when now lies in them."""
    for name in ("exp", "iat", "nbf"):
        at = claims.get(name, 0)
        # The bound keeps out NaN and infinity, which Python's JSON takes, and milliseconds.
        if isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) < _LAST_SECOND:
            return f"{name} is not a time in seconds"
    if not now < claims["exp"] + SKEW_SECONDS:
        return f"it expired {now - claims['exp']:.0f} s ago"
    early = max(claims["iat"], claims.get("nbf", 0)) - now
    if not early <= SKEW_SECONDS:
        return f"it is valid only in {early:.0f} s"
    return ""
