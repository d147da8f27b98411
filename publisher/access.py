"""Who may send what: events by a Google-signed token, manual issues by an API key.

Two doors, each shut while nothing is configured for it. What a caller shows and is wrong is
refused even where the other credential would do. Nobody is told why: a sender hears which
credential is missing or not accepted, the log has the reason, and neither has the credential.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from publisher.jwks import SigningKeys
from publisher.keys import ApiKey, KeyRing
from publisher.tokens import OtherAccount, TokenCheck, Untrusted
from schemas.problem import Problem

Headers = Iterable[tuple[bytes, bytes]]

EVENT = "event"
ISSUE = "issue"

# One answer for keys that are absent, malformed, unknown or withdrawn.
_NO_KEY = "an issue needs a valid API key (X-API-Key)"
_UNSIGNED = "an event needs a Google-signed ID token (Authorization: Bearer)"
_NOT_ACCEPTED = "the token in Authorization is not accepted"
_OTHER_ACCOUNT = "this account may not send events"
_NOT_ALLOWED = {EVENT: "an API key is not for events", ISSUE: "a token is not for issues"}

# RFC 6750, 3. The scheme for keys is ours: none is registered, and a browser asks its user for a
# password only at schemes that it knows.
_CHALLENGES = {EVENT: 'Bearer realm="events"', ISSUE: 'ApiKey realm="issues"'}
_CHALLENGE_REFUSED = 'Bearer realm="events", error="invalid_token"'

log = logging.getLogger("publisher.access")


class Stranger(Exception):
    """The caller may not do this.

    Args:
        status: 401, or 403 when it is known who it is.
        reason: For the sender.
        challenge: The header WWW-Authenticate, which a 401 must have (RFC 9110, 15.5.2); '' for
            a 403.
    """

    def __init__(self, status: int, reason: str, challenge: str = "") -> None:
        self.status = status
        self.reason = reason
        self.challenge = challenge
        super().__init__(f"{status}: {reason}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as far as that was shown.

    Args:
        client: The name that goes with the API key; '' without one.
        events: Whether it may send events.
        issues: Whether it may file issues.
    """

    client: str = ""
    events: bool = False
    issues: bool = False

    def require(self, kind: str) -> None:
        """Returns when it may send that kind, `EVENT` or `ISSUE`.

        Raises:
            Stranger: 401 when nothing was shown, 403 when what was shown is for the other kind.
        """
        if self.events if kind == EVENT else self.issues:
            return
        if self.events or self.issues:
            raise Stranger(403, _NOT_ALLOWED[kind])
        raise Stranger(401, _UNSIGNED if kind == EVENT else _NO_KEY, _CHALLENGES[kind])


class Access(Protocol):
    """Tells who a caller is."""

    required: bool
    """Whether anything must be shown at all."""

    async def caller(self, headers: Headers) -> Caller:
        """Who the headers show; one who shows nothing may do nothing.

        Args:
            headers: As ASGI has them: lower-case names, values as bytes.

        Raises:
            Stranger: What is shown is wrong.
            KeysUnavailable: A token is shown, and Google's keys could not be had.
        """

    def caller_by_key(self, key: str) -> Caller:
        """Who the API key shows; for the page's field.

        Raises:
            Stranger: It is no key.
        """


class AccessSettings(Protocol):
    """The part of the settings that is read here."""

    @property
    def auth(self) -> bool:
        """Whether callers must show who they are."""

    @property
    def event_audiences(self) -> tuple[str, ...]:
        """Whom a token must be meant for."""

    @property
    def event_accounts(self) -> tuple[str, ...]:
        """Who may send events."""

    @property
    def api_keys(self) -> tuple[ApiKey, ...]:
        """Of clients that may file issues."""


def access_problems(
    auth: bool, audiences: Sequence[str], accounts: Sequence[str], keys: Sequence[ApiKey]
) -> list[Problem]:
    """What is wrong with these settings taken together.

    One door alone is fine. None is not: a service that lets nobody in is a mistake, and one that
    was opened instead would be a worse one.
    """
    problems = []
    if bool(audiences) != bool(accounts):
        unset, other = "EVENT_AUDIENCES", "EVENT_SERVICE_ACCOUNTS"
        if audiences:
            unset, other = other, unset
        what = f"is not set, and {other} is: both are asked of a token"
        problems.append(Problem(unset, what, "set both, or neither to take no events"))
    if auth and not (audiences or accounts or keys):
        what = "is on, and nobody is let in: no API_KEYS, no EVENT_SERVICE_ACCOUNTS"
        remedy = "set one of them or both; AUTH=off lets everybody in, on a machine of one's own"
        problems.append(Problem("AUTH", what, remedy))
    return problems


def open_access(
    settings: AccessSettings, signing_keys: Callable[[], SigningKeys] = SigningKeys
) -> Access:
    """What the settings ask for.

    Args:
        settings: Without `access_problems`.
        signing_keys: Makes what fetches Google's keys.
    """
    if not settings.auth:
        return _Open()
    tokens = None
    if settings.event_accounts:
        tokens = TokenCheck(settings.event_audiences, settings.event_accounts, signing_keys())
    return _Closed(KeyRing(settings.api_keys), tokens)


class _Open:
    """Everyone may everything; nothing that is shown is looked at."""

    required = False

    async def caller(self, headers: Headers) -> Caller:  # noqa: ARG002
        return _ANYONE

    def caller_by_key(self, key: str) -> Caller:  # noqa: ARG002
        return _ANYONE


_ANYONE = Caller(events=True, issues=True)
_NOBODY = Caller()
_EVENTS = Caller(events=True)


class _Closed:
    """Each kind needs its credential."""

    required = True

    def __init__(self, keys: KeyRing, tokens: TokenCheck | None) -> None:
        self._keys = keys
        self._tokens = tokens

    async def caller(self, headers: Headers) -> Caller:
        tokens, keys = [], []
        for name, value in headers:
            if name == b"authorization":
                tokens.append(value)
            elif name == b"x-api-key":
                keys.append(value)
        # The key first: it costs nothing.
        caller = self._by_keys(keys) if keys else _NOBODY
        if tokens:
            await self._check_tokens(tokens)
            caller = Caller(caller.client, events=True, issues=True) if keys else _EVENTS
        return caller

    def caller_by_key(self, key: str) -> Caller:
        client = self._keys.client(key.strip())
        if client is None:
            log.warning("refused: an API key that is not in API_KEYS")
            raise Stranger(401, _NO_KEY, _CHALLENGES[ISSUE])
        return Caller(client, issues=True)

    def _by_keys(self, values: Sequence[bytes]) -> Caller:
        # Two are one that is wrong: who reads the first and who reads the last would differ.
        return self.caller_by_key(values[0].decode("latin-1") if len(values) == 1 else "")

    async def _check_tokens(self, values: Sequence[bytes]) -> None:
        try:
            await self._judge(values)
        except Untrusted as error:
            log.warning("refused: a token: %s", error)
            raise Stranger(401, _NOT_ACCEPTED, _CHALLENGE_REFUSED) from error
        except OtherAccount as error:
            log.warning("refused: a right token: %s", error)
            raise Stranger(403, _OTHER_ACCOUNT) from error

    async def _judge(self, values: Sequence[bytes]) -> None:
        if self._tokens is None:
            raise Untrusted("no events are taken: EVENT_SERVICE_ACCOUNTS is not set")
        await self._tokens.check(_bearer(values))


def _bearer(values: Sequence[bytes]) -> str:
    """The token of the Authorization header (RFC 6750, 2.1).

    Raises:
        Untrusted: There is none, or more than one.
    """
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise Untrusted("Authorization is not one bearer token")
    return token.strip()
