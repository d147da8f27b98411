"""Google's keys: how long they serve, and who waits for them."""

import asyncio
import json
import logging
import threading

import pytest

from publisher.jwks import (
    FETCH_SECONDS,
    MAX_FRESH_SECONDS,
    MIN_FRESH_SECONDS,
    PAUSE_SECONDS,
    STALE_SECONDS,
    Answer,
    KeysUnavailable,
    SigningKeys,
    fetch_keys,
    fresh_seconds,
    parse_jwks,
)
from tests.publisher.signer import KeyServer, Signer

FRESH = 1_000.0


async def until(condition):
    """Waits for it, ten seconds at most."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never was")


class Endpoint:
    """Google's endpoint and the clock, in a test's hands."""

    def __init__(self, signer):
        self.signer = signer
        self.now = 0.0
        self.fetched = []
        self.error = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.keys = SigningKeys("https://keys", self.fetch, lambda: self.now)

    def fetch(self, url):
        self.fetched.append(url)
        assert self.may_answer.wait(30)
        if self.error:
            raise self.error
        return Answer(self.signer.jwks(), f"public, max-age={FRESH:.0f}")

    async def until_fetched(self, times):
        """Waits until that many fetches began and none is under way."""
        await until(lambda: len(self.fetched) >= times and not self.keys._fetching)
        assert len(self.fetched) == times


@pytest.fixture
def endpoint():
    return Endpoint(Signer())


async def test_a_list_serves_as_long_as_cache_control_says(endpoint):
    """One fetch, and the same object for the same id."""
    key = await endpoint.keys.key("first")
    endpoint.now = FRESH - 1
    assert await endpoint.keys.key("first") is key
    assert endpoint.fetched == ["https://keys"]


async def test_a_stale_list_serves_while_a_new_one_is_fetched(endpoint):
    """Nobody waits for it; then the new one serves."""
    key = await endpoint.keys.key("first")
    endpoint.signer.rotate("second")
    endpoint.now = FRESH
    endpoint.may_answer.clear()
    assert await endpoint.keys.key("first") is key
    assert await endpoint.keys.key("first") is key
    endpoint.may_answer.set()
    await endpoint.until_fetched(2)
    assert await endpoint.keys.key("first") is not key
    assert await endpoint.keys.key("second")
    endpoint.now = 2 * FRESH - 1
    await endpoint.keys.key("first")
    assert len(endpoint.fetched) == 2


async def test_the_keys_serve_for_a_day_while_google_cannot_be_reached(endpoint, caplog):
    """It is asked again at every pause; after the day nobody is believed, until it answers."""
    key = await endpoint.keys.key("first")
    endpoint.error = OSError("no route to host")
    endpoint.now = FRESH
    await endpoint.keys.key("first")
    await endpoint.until_fetched(2)
    endpoint.now = FRESH + PAUSE_SECONDS - 1
    await endpoint.keys.key("first")
    await endpoint.until_fetched(2)
    endpoint.now = FRESH + STALE_SECONDS - 1
    assert await endpoint.keys.key("first") is key
    await endpoint.until_fetched(3)
    assert [record.getMessage() for record in caplog.records] == [
        f"https://keys: no route to host; the keys that are here serve for {left} s more"
        for left in (86_400, 1)
    ]
    endpoint.now = FRESH + STALE_SECONDS + PAUSE_SECONDS
    with pytest.raises(KeysUnavailable):
        await endpoint.keys.key("first")
    assert caplog.records[-1].getMessage() == "https://keys: no route to host; no keys"
    endpoint.error = None
    with pytest.raises(KeysUnavailable):  # not before the pause is over
        await endpoint.keys.key("first")
    assert len(endpoint.fetched) == 4
    endpoint.now += PAUSE_SECONDS
    assert await endpoint.keys.key("first")


async def test_an_unknown_id_brings_the_new_list(endpoint):
    """Google signs with a new key: whoever shows it waits for the list that has it."""
    await endpoint.keys.key("first")
    endpoint.signer.rotate("second")
    endpoint.now = PAUSE_SECONDS
    assert await endpoint.keys.key("second")
    assert len(endpoint.fetched) == 2


async def test_invented_ids_fetch_no_more_than_once_in_a_pause(endpoint):
    """A flood of strangers' tokens is not passed on to Google."""
    await endpoint.keys.key("first")
    for second in range(30):
        endpoint.now = float(second)
        assert await endpoint.keys.key(f"invented-{second}") is None
        assert await endpoint.keys.key(f"other-{second}") is None
    assert len(endpoint.fetched) == 3  # at 0, 10 and 20 s


async def test_all_who_ask_at_once_share_one_fetch(endpoint):
    """A hundred requests at the start wait for the same answer."""
    endpoint.may_answer.clear()
    asking = [asyncio.create_task(endpoint.keys.key("first")) for _ in range(100)]
    await until(lambda: endpoint.fetched)
    endpoint.now = PAUSE_SECONDS  # one at a time, however long it takes
    asking += [asyncio.create_task(endpoint.keys.key("first")) for _ in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who asked first goes away: the others have their answer all the same
    endpoint.may_answer.set()
    keys = await asyncio.gather(*asking[1:])
    assert keys[0] is not None
    assert all(key is keys[0] for key in keys)
    assert asking[0].cancelled()
    assert len(endpoint.fetched) == 1


async def test_an_endpoint_that_does_not_answer_is_waited_for_no_longer(endpoint, monkeypatch):
    """The deadline is ours, whatever the socket does."""
    assert FETCH_SECONDS < 8  # what a request may take in all
    monkeypatch.setattr("publisher.jwks.FETCH_SECONDS", 0.05)
    endpoint.may_answer.clear()
    try:
        with pytest.raises(KeysUnavailable):
            await asyncio.wait_for(endpoint.keys.key("first"), 10)
    finally:
        endpoint.may_answer.set()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"keys": 5}', b'{"keys": []}', b'{"keys": [5, {}]}']
)
async def test_an_answer_without_keys_replaces_nothing(endpoint, body, caplog):
    """A proxy's page does not take away the keys that are here."""
    key = await endpoint.keys.key("first")
    endpoint.signer.jwks = lambda: body
    endpoint.now = FRESH
    await endpoint.keys.key("first")
    await endpoint.until_fetched(2)
    assert await endpoint.keys.key("first") is key
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_only_rsa_keys_for_signatures_are_read():
    """A set may have others, and may be damaged in one."""
    (good,) = json.loads(Signer().jwks())["keys"]
    bare = {name: good[name] for name in ("kty", "n", "e")} | {"kid": "bare"}
    others = [
        good | {"kid": "encrypts", "use": "enc"},
        good | {"kid": "other", "alg": "RS512"},
        good | {"kid": 5},
        {name: value for name, value in good.items() if name != "kid"},
        good | {"kid": "damaged", "n": "!"},
        good | {"kid": "damaged", "e": 65537},
        good | {"kid": "damaged", "n": None},
        {"kid": "octets", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "curve", "kty": "EC", "crv": "P-256", "x": good["n"], "y": good["n"]},
    ]
    body = json.dumps({"keys": [*others, good, bare]}).encode()
    assert sorted(parse_jwks(body)) == ["bare", "first"]


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("public, max-age=21000, must-revalidate", "", 21_000),
        ("Max-Age=21000", "1000", 20_000),
        ('max-age="900"', "", 900),
        ("public,max-age=900", "x", 900),
        ("max-age=900", "800", MIN_FRESH_SECONDS),
        ("max-age=0", "", MIN_FRESH_SECONDS),
        ("no-store", "", MIN_FRESH_SECONDS),
        ("", "", MIN_FRESH_SECONDS),
        ("s-maxage=900", "", MIN_FRESH_SECONDS),
        ("max-age=999999999", "", MAX_FRESH_SECONDS),
    ],
)
def test_how_long_a_list_is_fresh(cache_control, age, seconds):
    """Cache-Control without Age, within our own bounds."""
    assert fresh_seconds(cache_control, age) == seconds


async def test_the_list_comes_over_http():
    """Body and headers of a real answer; another status, or no server, is an error."""
    with KeyServer(Signer()) as server:
        server.headers |= {"Age": "7", "Location": server.url}
        answer = await asyncio.to_thread(fetch_keys, server.url)
        assert answer == Answer(server.signer.jwks(), "public, max-age=21000, must-revalidate", "7")
        for server.status in (500, 404, 302):
            with pytest.raises(OSError, match=f"status {server.status}"):
                await asyncio.to_thread(fetch_keys, server.url)
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await asyncio.to_thread(fetch_keys, server.url)
