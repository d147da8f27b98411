"""Every credential against every form of request: once by access alone, once through the service.

The keys are real RSA keys, made here and served over HTTP as Google serves its own.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import publisher.post
from publisher.access import EVENT, ISSUE, Stranger, open_access
from publisher.app import create_app
from publisher.jwks import PAUSE_SECONDS, SigningKeys
from publisher.keys import new_key
from publisher.settings import Settings
from publisher.tokens import SKEW_SECONDS
from tests.contract.broker_contract import MemoryBroker
from tests.publisher.signer import ACCOUNT, AUDIENCE, KeyServer, Signer

OLD_KEY, OLD_ENTRY = new_key("helpdesk")
NEW_KEY, NEW_ENTRY = new_key("helpdesk")
WITHDRAWN_KEY, _ = new_key("helpdesk")

SETTINGS = Settings(
    "demo-project",
    auth=True,
    event_audiences=(AUDIENCE, "https://events.example.com"),
    event_accounts=(ACCOUNT,),
    api_keys=(OLD_ENTRY, NEW_ENTRY),
)


# --- Credentials


def hmac_with_the_public_key(signer):
    """The oldest trick: the public key, which all know, as the secret of a symmetric algorithm."""
    pem = (
        signer.keys["first"]
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    parts = ({"alg": "HS256", "typ": "JWT", "kid": "first"}, signer.claims())
    signed = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts
    )
    mac = hmac.new(pem, signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def payload_of_another(signer):
    """Signature and header of a right token around claims that were not signed."""
    head, _, signature = signer.token(email="someone@example.com").split(".")
    return ".".join([head, signer.token().split(".")[1], signature])


def other_rsa():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def without_signature(signer, end):
    return signer.token().rpartition(".")[0] + "." + end


def now():
    return int(time.time())


SOON = SKEW_SECONDS - 20  # a test has 20 s between making a token and showing it

# What makes the token, and what a sender of events hears.
TOKENS = {
    "right": (lambda s: s.token(), 204),
    "right, other audience": (lambda s: s.token(aud="https://events.example.com"), 204),
    "right, older name of the issuer": (lambda s: s.token(iss="accounts.google.com"), 204),
    "expired within the skew": (lambda s: s.token(exp=now() - SOON), 204),
    "issued within the skew": (lambda s: s.token(iat=now() + SOON), 204),
    "expired": (lambda s: s.token(iat=now() - 7_200, exp=now() - 3_600), 401),
    "expired just beyond the skew": (lambda s: s.token(exp=now() - SKEW_SECONDS), 401),
    "issued in an hour": (lambda s: s.token(iat=now() + 3_600, exp=now() + 7_200), 401),
    "not before an hour": (lambda s: s.token(nbf=now() + 3_600), 401),
    "without exp": (lambda s: s.token(exp=None), 401),
    "without aud": (lambda s: s.token(aud=None), 401),
    "without email": (lambda s: s.token(email=None), 401),
    "wrong audience": (lambda s: s.token(aud="https://other-ue.a.run.app"), 401),
    "audience with a path": (lambda s: s.token(aud=AUDIENCE + "/x"), 401),
    "wrong account": (lambda s: s.token(email="other@demo-project.iam.gserviceaccount.com"), 403),
    "email not verified": (lambda s: s.token(email_verified=False), 401),
    "wrong issuer": (lambda s: s.token(iss="https://accounts.google.com.evil.example"), 401),
    "wrong signature": (lambda s: s.token(key=other_rsa()), 401),
    "claims of another": (payload_of_another, 401),
    "unknown key": (lambda s: s.token(key=other_rsa(), kid="unknown"), 401),
    "HS256 with the public key": (hmac_with_the_public_key, 401),
    "none": (lambda s: jwt.encode(s.claims(), None, "none", {"kid": "first"}), 401),
    "RS256 without a signature": (lambda s: without_signature(s, ""), 401),
    "ES256": (
        lambda s: s.token(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        401,
    ),
    "RS512": (lambda s: s.token(algorithm="RS512"), 401),
    "PS256": (lambda s: s.token(algorithm="PS256"), 401),
    "signature removed": (lambda s: without_signature(s, "SIGNATURE_REMOVED_BY_GOOGLE"), 401),
    "a text": (lambda _: "hunter2-not-a-token", 401),
}
# The key, and what a sender of issues hears.
KEYS = {
    "old": (OLD_KEY, 200),
    "new": (NEW_KEY, 200),
    "withdrawn": (WITHDRAWN_KEY, 401),
    "malformed": ("hunter2-not-a-key", 401),
    "cut": (NEW_KEY[:-1], 401),
    "the entry": (NEW_ENTRY.entry(), 401),
    "the digest": (NEW_ENTRY.digest.hex(), 401),
    "empty": ("", 401),
}


# --- Requests

EVENT_HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "//firestore.googleapis.com/projects/demo-project/databases/(default)",
    "ce-type": "google.cloud.firestore.document.v1.written",
    "content-type": "application/protobuf",
}
STRUCTURED = {
    "specversion": "1.0",
    "id": "1",
    "source": "//firestore",
    "type": "google.cloud.firestore.document.v1.written",
    "data": {"a": 1},
}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


@dataclass(frozen=True)
class Sent:
    """A request without credentials: its kind, headers, body, and how many messages it is."""

    kind: str
    headers: dict[str, str]
    body: bytes
    messages: int = 1


REQUESTS = {
    "binary": Sent(EVENT, EVENT_HEADERS, b"\x0a\x00"),
    "structured": Sent(
        EVENT, {"content-type": "application/cloudevents+json"}, json.dumps(STRUCTURED).encode()
    ),
    "batch": Sent(
        EVENT,
        {"content-type": "application/cloudevents-batch+json"},
        json.dumps([STRUCTURED, STRUCTURED | {"id": "2"}]).encode(),
        messages=2,
    ),
    "older body": Sent(EVENT, JSON, json.dumps({"data": "CgA="}).encode()),
    "issue": Sent(ISSUE, JSON, json.dumps({"title": "Printer on fire"}).encode()),
    "issue without a type": Sent(ISSUE, {}, b'{"title": "Printer on fire"}'),
    "form": Sent(ISSUE, FORM, urlencode({"title": "Printer on fire"}).encode()),
    "issue as curl sends it": Sent(ISSUE, FORM, b'{"title": "Printer on fire"}'),
}


# --- The matrix


@pytest.fixture(scope="module")
def signer():
    return Signer()


@pytest.fixture(scope="module")
def server(signer):
    with KeyServer(signer) as server:
        yield server


@pytest.fixture
def access_of(server):
    """Opens access with keys from the server."""
    return partial(open_access, signing_keys=lambda: SigningKeys(server.url))


@pytest.fixture
async def service(access_of, lifespan, monkeypatch):
    """The whole service; yields what sends a request to it, and its broker."""
    monkeypatch.setattr("publisher.app.open_access", access_of)
    broker = MemoryBroker()
    app = create_app(lambda: SETTINGS, lambda *_: broker)
    async with lifespan(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://publisher") as client:

            async def send(sent, **credentials):
                headers = sent.headers | credentials.pop("headers", {})
                return await client.post("/", headers=headers, content=sent.body, **credentials)

            yield send, broker


def expected(kind, name, *, token=False):
    """The status that this credential gets for that kind of request."""
    if name is None:
        return 401
    own, status = (EVENT, TOKENS[name][1]) if token else (ISSUE, KEYS[name][1])
    # What is right opens its own door; at the other it is known who asks, and that is not enough.
    return status if status >= 300 or kind == own else 403


async def status_by_access(access, kind, headers):
    """The status; None for a 401 without a challenge, or a 403 with one."""
    try:
        (await access.caller(headers)).require(kind)
    except Stranger as error:
        return error.status if bool(error.challenge) == (error.status == 401) else None
    return 204 if kind == EVENT else 200


@pytest.mark.parametrize("kind", [EVENT, ISSUE])
@pytest.mark.parametrize("name", TOKENS)
async def test_tokens_by_access_alone(name, kind, signer, access_of, caplog):
    """Each token has the status that the table gives it, and is not in the log."""
    token = TOKENS[name][0](signer)
    headers = [(b"authorization", f"Bearer {token}".encode())]
    access = access_of(SETTINGS)
    for _ in range(2):  # what is remembered judges no other way
        status = await status_by_access(access, kind, headers)
        assert status == expected(kind, name, token=True)
    assert not_told(caplog.text, token)


@pytest.mark.parametrize("kind", [EVENT, ISSUE])
@pytest.mark.parametrize("name", KEYS)
async def test_keys_by_access_alone(name, kind, access_of, caplog):
    """Each key has the status that the table gives it, and is not in the log."""
    key = KEYS[name][0]
    status = await status_by_access(access_of(SETTINGS), kind, [(b"x-api-key", key.encode())])
    assert status == expected(kind, name)
    assert not_told(caplog.text, key)


def not_told(text, secret):
    """Whether neither a secret nor a part of it that proves anything is in a text."""
    return not secret or all(part not in text for part in [secret, *secret.split(".")[1:]] if part)


async def judged(service, caplog, secret, status_of, **credentials):
    """Sends every request with the credentials; holds each answer to its status."""
    send, broker = service
    for name, sent in REQUESTS.items():
        status, before = status_of(sent.kind), len(broker.messages)
        answer = await send(sent, **credentials)
        assert (name, answer.status_code) == (name, status)
        assert len(broker.messages) - before == (sent.messages if status < 300 else 0)
        assert ("www-authenticate" in answer.headers) == (status == 401)
        if status >= 300:
            assert list(answer.json()) == ["error"]
        assert not_told(answer.text + str(answer.headers), secret)
    assert not_told(caplog.text, secret)


@pytest.mark.parametrize("name", TOKENS)
async def test_tokens_against_every_request(name, signer, service, caplog):
    """What is refused is not on the topic, and neither log nor answer has the token."""
    token = TOKENS[name][0](signer)
    headers = {"authorization": f"Bearer {token}"}
    await judged(
        service, caplog, token, lambda kind: expected(kind, name, token=True), headers=headers
    )


@pytest.mark.parametrize("name", KEYS)
async def test_keys_against_every_request(name, service, caplog):
    """What is refused is not on the topic, and neither log nor answer has the key."""
    key = KEYS[name][0]
    await judged(
        service, caplog, key, lambda kind: expected(kind, name), headers={"x-api-key": key}
    )


async def test_nothing_shown_against_every_request(service, caplog):
    """401 for all, and nothing on the topic."""
    await judged(service, caplog, "", lambda _: 401)


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("name", KEYS)
async def test_keys_in_the_pages_field(name, accept, service, caplog):
    """As in the header; the page that shows the form again does not show the key."""
    send, broker = service
    key, status = KEYS[name]
    body = urlencode({"title": "Printer on fire", "api_key": key}).encode()
    answer = await send(Sent(ISSUE, FORM | {"accept": accept}, body))
    assert answer.status_code == status
    assert len(broker.messages) == (1 if status == 200 else 0)
    assert not_told(answer.text + str(answer.headers) + caplog.text, key)
    assert all(key.encode() not in message.data for message in broker.messages if key)


async def test_unknown_malformed_and_absent_keys_have_one_answer(service):
    """Nobody learns by asking whether a key was ever one."""
    send, _ = service
    shown = [{}] + [{"x-api-key": key} for key, status in KEYS.values() if status == 401]
    answers = [await send(REQUESTS["issue"], headers=headers) for headers in shown]
    assert len({(a.status_code, a.content, a.headers["www-authenticate"]) for a in answers}) == 1


async def test_wrong_tokens_have_one_answer(signer, service):
    """The log says what was wrong, the sender hears only that it was."""
    send, _ = service
    answers = [
        await send(REQUESTS["binary"], headers={"authorization": f"Bearer {make(signer)}"})
        for make, status in TOKENS.values()
        if status == 401
    ]
    assert len({(a.status_code, a.content, a.headers["www-authenticate"]) for a in answers}) == 1


async def test_a_stranger_is_refused_before_its_body_is_read(service):
    """What nobody may send takes no memory."""
    send, broker = service
    read = []

    async def body():
        read.append(1)
        yield b"x" * 1_000_000

    for name in ("binary", "structured", "issue"):
        answer = await send(Sent(EVENT, REQUESTS[name].headers, body()))
        assert answer.status_code == 401
    assert (read, broker.messages) == ([], [])


async def test_after_a_rotation_new_and_old_keys_of_google_are_right(lifespan, monkeypatch):
    """The new key is asked for when its first token comes, once."""
    signer, clock = Signer(), [0.0]
    with KeyServer(signer) as server:
        keys = SigningKeys(server.url, clock=lambda: clock[0])
        monkeypatch.setattr(
            "publisher.app.open_access", partial(open_access, signing_keys=lambda: keys)
        )
        broker = MemoryBroker()
        app = create_app(lambda: SETTINGS, lambda *_: broker)
        async with lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:

            async def status(token):
                headers = EVENT_HEADERS | {"authorization": f"Bearer {token}"}
                return (await client.post("http://publisher/", headers=headers)).status_code

            old = signer.token()
            assert await status(old) == 204
            signer.rotate("second")
            clock[0] = PAUSE_SECONDS
            assert [await status(token) for token in (signer.token(), old)] == [204, 204]
            assert server.requests == 2
            del signer.keys["first"]
            assert await status(signer.token(key=signer.keys["second"])) == 204
    assert len(broker.messages) == 4


async def test_that_googles_keys_cannot_be_had_is_our_fault(signer, server, service, monkeypatch):
    """503: the right sender comes again; an issue needs no keys of Google's."""
    send, broker = service
    monkeypatch.setattr(server, "status", 500)
    for name in ("binary", "batch", "older body"):
        headers = {"authorization": f"Bearer {signer.token()}"}
        answer = await send(REQUESTS[name], headers=headers)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
    assert broker.messages == []
    answer = await send(REQUESTS["issue"], headers={"x-api-key": NEW_KEY})
    assert answer.status_code == 200


async def test_a_large_form_is_parted_only_for_who_has_shown_a_key(service, monkeypatch):
    """Strangers can't make the service part megabytes: then the key must be in the header."""
    send, broker = service
    parted = []
    real = publisher.post.read_form
    monkeypatch.setattr(publisher.post, "read_form", lambda *a: parted.append(1) or real(*a))
    text = "x" * publisher.post.MAX_BYTES_OF_STRANGERS
    body = urlencode({"title": text, "api_key": NEW_KEY}).encode()
    answer = await send(Sent(ISSUE, FORM, body))
    assert (answer.status_code, parted, broker.messages) == (413, [], [])
    assert "send it as X-API-Key" in answer.json()["error"]
    answer = await send(Sent(ISSUE, FORM, body), headers={"x-api-key": NEW_KEY})
    assert (answer.status_code, parted, len(broker.messages)) == (200, [1], 1)


async def test_strangers_forms_do_not_close_the_service(service):
    """Forms that say they are large and do not come hold a part of the room alone."""
    send, _ = service
    never = asyncio.Event()

    async def nothing():
        await never.wait()
        yield b""

    slow = [
        asyncio.create_task(
            send(Sent(ISSUE, FORM, nothing()), headers={"content-length": "9000000"})
        )
        for _ in range(100)
    ]
    await asyncio.sleep(0.05)
    assert sum(one.done() for one in slow) == 25
    answer = await send(REQUESTS["issue"], headers={"x-api-key": NEW_KEY})
    assert answer.status_code == 200
    for one in slow:
        one.cancel()
    await asyncio.wait(slow)
