"""Google-signed tokens: which are believed. The table of refusals is test_auth_matrix's."""

import asyncio
import base64
import json
import logging

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.jwks import Answer, KeysUnavailable, SigningKeys
from publisher.tokens import (
    MAX_REMEMBERED,
    MAX_TOKEN_CHARACTERS,
    SKEW_SECONDS,
    OtherAccount,
    TokenCheck,
    Untrusted,
)
from tests.publisher.signer import ACCOUNT, AUDIENCE, ISSUER, Signer

NOW = 1_795_514_400


@pytest.fixture(scope="module")
def signer():
    return Signer()


class Clock:
    """A clock that a test sets."""

    def __init__(self, at=0.0):
        self.at = at

    def __call__(self):
        return self.at


def checker(signer, *, now=None, audiences=(AUDIENCE,), accounts=(ACCOUNT,), clock=None):
    keys = SigningKeys("https://keys", lambda _: Answer(signer.jwks()), clock or Clock())
    return TokenCheck(audiences, accounts, keys, now or Clock(NOW))


def token(signer, **claims):
    return signer.token(**{"iat": NOW, "exp": NOW + 3_600} | claims)


async def refused(check, shown):
    with pytest.raises(Untrusted) as caught:
        await check.check(shown)
    return str(caught.value)


@pytest.mark.parametrize("issuer", [ISSUER, "accounts.google.com"])
async def test_both_names_of_the_issuer_are_taken(signer, issuer):
    """Google's documents name both."""
    await checker(signer).check(token(signer, iss=issuer))


async def test_any_of_several_audiences_and_accounts_will_do(signer):
    """A service has two URLs, and may have several triggers."""
    check = checker(
        signer, audiences=("https://other", AUDIENCE), accounts=("other@x", ACCOUNT, "third@x")
    )
    await check.check(token(signer))
    await check.check(token(signer, aud="https://other", email="third@x"))


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"exp": NOW - SKEW_SECONDS + 1}, ""),
        ({"exp": NOW - SKEW_SECONDS}, f"it expired {SKEW_SECONDS} s ago"),
        ({"iat": NOW + SKEW_SECONDS}, ""),
        ({"iat": NOW + SKEW_SECONDS + 1}, f"it is valid only in {SKEW_SECONDS + 1} s"),
        ({"nbf": NOW + SKEW_SECONDS}, ""),
        ({"nbf": NOW + SKEW_SECONDS + 1}, f"it is valid only in {SKEW_SECONDS + 1} s"),
        ({"exp": NOW + 0.5}, ""),
        ({"exp": (NOW + 3_600) * 1_000}, "exp is not a time in seconds"),
        ({"exp": str(NOW + 3_600)}, "exp is not a time in seconds"),
        ({"exp": True}, "exp is not a time in seconds"),
        ({"exp": float("nan")}, "exp is not a time in seconds"),
        ({"iat": float("-inf")}, "iat is not a time in seconds"),
        ({"nbf": [NOW]}, "nbf is not a time in seconds"),
    ],
    ids=str,
)
async def test_now_must_lie_in_the_tokens_times_give_or_take_the_skew(signer, times, reason):
    """To the second, and only for numbers; a NaN is no time that never ends."""
    check, shown = checker(signer), token(signer, **times)
    if reason:
        assert await refused(check, shown) == reason
    else:
        await check.check(shown)


@pytest.mark.parametrize("claim", ["exp", "iat", "aud", "iss"])
async def test_a_claim_that_is_absent_is_missed(signer, claim):
    """No claim is optional because it is not there."""
    assert claim in await refused(checker(signer), token(signer, **{claim: None}))


@pytest.mark.parametrize("verified", [None, False, "true", 1])
async def test_an_email_counts_only_when_it_is_verified(signer, verified):
    """True and nothing like it."""
    reason = await refused(checker(signer), token(signer, email_verified=verified))
    assert reason.startswith("it has no verified email")
    assert "--include-email" in reason


async def test_a_right_token_of_another_account_is_told_apart(signer):
    """It is known who asks: 403 is another answer than 401."""
    with pytest.raises(OtherAccount, match=r"'someone@x' is not in EVENT_SERVICE_ACCOUNTS"):
        await checker(signer).check(token(signer, email="someone@x"))
    for not_text in (None, 5, [ACCOUNT]):
        await refused(checker(signer), token(signer, email=not_text))


async def test_the_log_has_the_audience_that_came(signer):
    """Which of its two URLs a trigger takes is the commonest mistake in the settings."""
    other = "https://firestore-to-pubsub-123456789012.us-east1.run.app/"
    reason = await refused(checker(signer), token(signer, aud=other))
    assert reason == f"its aud is {other!r}, which is not in EVENT_AUDIENCES"


async def test_the_audience_of_a_forged_token_is_not_judged(signer):
    """Nobody can try out audiences, or write into the log, without Google's signature."""
    forged = signer.token(key=Signer().keys["first"], aud="https://other")
    assert await refused(checker(signer), forged) == "Signature verification failed"


async def test_a_signature_that_cloud_run_removed_is_none(signer):
    """The log says how to deploy; the token is not believed."""
    shown = token(signer).rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"
    assert "deploy with --allow-unauthenticated" in await refused(checker(signer), shown)


async def test_a_token_is_verified_once_until_it_expires(signer, monkeypatch):
    """Then it is as refused as at the first time."""
    decoded = []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *a, **k: decoded.append(a[0]) or decode(*a, **k))
    now = Clock(NOW)
    check, shown = checker(signer, now=now), token(signer)
    for now.at in (NOW, NOW + 1, NOW + 3_600 + SKEW_SECONDS - 1):
        await check.check(shown)
    assert decoded == [shown]
    now.at = NOW + 3_600 + SKEW_SECONDS
    assert await refused(check, shown) == f"it expired {SKEW_SECONDS} s ago"


async def test_a_token_is_verified_anew_with_a_new_list_of_keys():
    """What a withdrawn key signed is not believed on."""
    signer, clock = Signer(), Clock()
    check, shown = checker(signer, clock=clock), token(signer)
    await check.check(shown)
    signer.rotate("second")
    del signer.keys["first"]
    clock.at = 300  # without a word in Cache-Control, a list is fresh for so long
    await check.check(shown)  # the old list serves while the new one is fetched
    for _ in range(1_000):
        await asyncio.sleep(0.01)
        if check._keys._fetching is None:
            break
    assert await refused(check, shown) == "Google has no key 'first'"
    await check.check(token(signer))


async def test_one_changed_character_is_another_token(signer):
    """What is remembered is the whole token, its signature too."""
    check, shown = checker(signer), token(signer)
    await check.check(shown)
    head, payload, signature = shown.split(".")
    changed = "A" if signature[9] != "A" else "B"
    await refused(check, f"{head}.{payload}.{signature[:9]}{changed}{signature[10:]}")
    await refused(check, f"{head}.{payload}.")
    claims = signer.claims(iat=NOW, exp=NOW + 9_999)
    longer = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    await refused(check, f"{head}.{longer}.{signature}")


async def test_so_many_tokens_are_remembered_and_no_more(signer, monkeypatch):
    """A service that calls for years keeps within its memory, and the newest stay."""
    monkeypatch.setattr("publisher.tokens.MAX_REMEMBERED", 3)
    check = checker(signer)
    shown = [token(signer, jti=str(n)) for n in range(5)]
    for one in shown[:3]:
        await check.check(one)
    await check.check(shown[0])  # used again: the second is now the oldest
    for one in shown[3:]:
        await check.check(one)
    assert MAX_REMEMBERED == 1_000
    assert len(check._remembered) == 3
    decoded = []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *a, **k: decoded.append(a[0]) or decode(*a, **k))
    for one in (shown[0], shown[3], shown[4]):
        await check.check(one)
    assert decoded == []
    await check.check(shown[1])
    assert decoded == [shown[1]]


async def test_a_token_that_fits_nothing_never_asks_for_keys(signer):
    """Rubbish costs neither a fetch nor a signature."""

    def fetch(_):
        raise AssertionError("asked for keys")

    check = TokenCheck((AUDIENCE,), (ACCOUNT,), SigningKeys("https://keys", fetch))
    unnamed = jwt.encode(signer.claims(), signer.keys["first"], "RS256")
    none = jwt.encode(signer.claims(), None, "none", {"kid": "first"})
    for shown in ("", "x", "a.b.c", "..", unnamed, none, "é.é.é", "x" * 10_000_000):
        await refused(check, shown)
    long = signer.token(padding="x" * MAX_TOKEN_CHARACTERS)
    assert await refused(check, long) == "it is too long, or not ASCII"


async def test_without_any_key_no_token_is_judged(signer, caplog):
    """That is nobody's fault but ours: another answer than to a stranger."""

    def fetch(_):
        raise OSError("no route to host")

    check = TokenCheck((AUDIENCE,), (ACCOUNT,), SigningKeys("https://keys", fetch), Clock(NOW))
    with pytest.raises(KeysUnavailable):
        await check.check(token(signer))
    assert "no route to host" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_token_is_an_unforeseen_error(data):
    """Whatever is between the dots, it is refused."""
    json_like = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), inner)
        ),
        max_leaves=9,
    )
    part = st.binary(max_size=40) | json_like.map(lambda value: json.dumps(value).encode())
    head = part | st.fixed_dictionaries(
        {"alg": st.just("RS256"), "kid": st.just("first") | json_like}
    ).map(lambda value: json.dumps(value).encode())
    parts = [data.draw(head), *data.draw(st.lists(part, max_size=4))]
    shown = ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts)

    async def judged():
        with pytest.raises(Untrusted):
            await checker(ONE).check(shown)

    asyncio.run(judged())


ONE = Signer()
