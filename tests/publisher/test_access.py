"""Who may send what, as the settings say. Each credential by itself is test_auth_matrix's."""

import logging

import pytest

from publisher.access import EVENT, ISSUE, Caller, Stranger, access_problems, open_access
from publisher.jwks import Answer, KeysUnavailable, SigningKeys
from publisher.keys import new_key
from publisher.settings import Settings
from tests.publisher.signer import ACCOUNT, AUDIENCE, Signer

KEY, KEPT = new_key("helpdesk")
NO_KEY = (401, "an issue needs a valid API key (X-API-Key)", 'ApiKey realm="issues"')
NOT_ACCEPTED = (
    401,
    "the token in Authorization is not accepted",
    'Bearer realm="events", error="invalid_token"',
)


@pytest.fixture(scope="module")
def signer():
    return Signer()


@pytest.fixture
def opened(signer):
    """Opens access with both doors, or as the settings given say."""

    def open_with(**changed):
        given = {
            "auth": True,
            "event_audiences": (AUDIENCE,),
            "event_accounts": (ACCOUNT,),
            "api_keys": (KEPT,),
        }
        settings = Settings("demo-project", **(given | changed))
        return open_access(settings, lambda: SigningKeys("k", lambda _: Answer(signer.jwks())))

    return open_with


def answer_of(error):
    return error.status, error.reason, error.challenge


async def refused(access, *headers):
    with pytest.raises(Stranger) as caught:
        await access.caller(headers)
    return answer_of(caught.value)


def required(caller, kind):
    with pytest.raises(Stranger) as caught:
        caller.require(kind)
    return answer_of(caught.value)


def bearer(token):
    return b"authorization", f"Bearer {token}".encode()


def api_key(key=KEY):
    return b"x-api-key", key.encode()


async def test_with_access_off_everyone_may_everything(opened):
    """Nothing that is shown is looked at, so nothing that is shown can be wrong."""
    access = opened(auth=False, event_audiences=(), event_accounts=(), api_keys=())
    assert not access.required
    for headers in ((), (bearer("x"),), (api_key("x"), api_key("y"))):
        caller = await access.caller(headers)
        assert caller == Caller("", events=True, issues=True)
        caller.require(EVENT)
        caller.require(ISSUE)
    access.caller_by_key("x").require(ISSUE)


async def test_a_token_is_for_events_and_a_key_for_issues(opened, signer):
    """Each alone, and both together both."""
    access = opened()
    assert access.required
    with_key = await access.caller([api_key()])
    with_token = await access.caller([bearer(signer.token())])
    assert with_key == access.caller_by_key(KEY) == Caller("helpdesk", issues=True)
    assert with_token == Caller(events=True)
    assert await access.caller([api_key(), bearer(signer.token())]) == Caller(
        "helpdesk", events=True, issues=True
    )
    with_key.require(ISSUE)
    with_token.require(EVENT)
    assert required(with_key, EVENT) == (403, "an API key is not for events", "")
    assert required(with_token, ISSUE) == (403, "a token is not for issues", "")


async def test_who_shows_nothing_may_do_nothing_and_hears_what_is_missing(opened):
    """A 401 names the scheme; none of them makes a browser ask for a password."""
    nobody = await opened().caller([(b"content-type", b"application/json")])
    assert nobody == Caller()
    assert required(nobody, ISSUE) == NO_KEY
    assert required(nobody, EVENT) == (
        401,
        "an event needs a Google-signed ID token (Authorization: Bearer)",
        'Bearer realm="events"',
    )


async def test_a_wrong_credential_is_not_made_good_by_a_right_one(opened, signer):
    """What is shown is wrong or right by itself."""
    access = opened()
    assert await refused(access, api_key(), bearer("x")) == NOT_ACCEPTED
    assert await refused(access, api_key("x"), bearer(signer.token())) == NO_KEY


@pytest.mark.parametrize(
    "key", ["", "x", new_key("helpdesk")[0], KEY[:-1], KEY.upper(), KEPT.entry(), "\xff"]
)
async def test_every_key_that_is_none_has_the_answer_of_no_key(opened, key):
    """An unknown one, a malformed one and none can't be told apart."""
    access = opened()
    assert await refused(access, (b"x-api-key", key.encode("latin-1"))) == NO_KEY
    with pytest.raises(Stranger) as caught:
        access.caller_by_key(key)
    assert answer_of(caught.value) == NO_KEY


def test_a_key_may_be_pasted_with_space_around_it(opened):
    """On the page nobody sees a line break at its end."""
    assert opened().caller_by_key(f" {KEY}\r\n") == Caller("helpdesk", issues=True)


async def test_a_credential_that_is_sent_twice_is_wrong(opened, signer):
    """A proxy might judge one of the two and hand both on."""
    access, token = opened(), signer.token()
    assert await refused(access, api_key(), api_key()) == NO_KEY
    assert await refused(access, bearer(token), bearer(token)) == NOT_ACCEPTED


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic dXNlcjpwYXNz",
        b"Bearer\xff x",
        b"{token}",
        b"Basic {token}",
    ],
)
async def test_authorization_is_a_bearer_token_or_nothing(opened, signer, value):
    """Another scheme is shown, and wrong."""
    value = value.replace(b"{token}", signer.token().encode())
    assert await refused(opened(), (b"authorization", value)) == NOT_ACCEPTED


async def test_the_schemes_name_may_be_written_anyhow(opened, signer):
    """RFC 9110, 11.1: case does not matter, nor does a second space."""
    for scheme in (b"bearer ", b"BEARER  "):
        caller = await opened().caller([(b"authorization", scheme + signer.token().encode())])
        assert caller == Caller(events=True)


async def test_a_door_for_which_nothing_is_configured_is_shut(opened, signer, caplog):
    """No accounts, no events; no keys, no issues; the other door opens as ever."""
    issues = opened(event_audiences=(), event_accounts=())
    assert await refused(issues, bearer(signer.token())) == NOT_ACCEPTED
    assert "EVENT_SERVICE_ACCOUNTS is not set" in caplog.text
    assert await issues.caller([api_key()]) == Caller("helpdesk", issues=True)
    events = opened(api_keys=())
    assert await refused(events, api_key()) == NO_KEY
    assert await events.caller([bearer(signer.token())]) == Caller(events=True)


async def test_that_googles_keys_cannot_be_had_is_no_refusal(opened, signer):
    """The sender is not to blame: it may come again."""

    def fetch(_):
        raise OSError("no route to host")

    settings = Settings(
        "demo-project", auth=True, event_audiences=(AUDIENCE,), event_accounts=(ACCOUNT,)
    )
    access = open_access(settings, lambda: SigningKeys("k", fetch))
    with pytest.raises(KeysUnavailable):
        await access.caller([bearer(signer.token())])


async def test_the_log_says_why_and_shows_no_credential(opened, signer, caplog):
    """One warning for each refusal; the sender hears less."""
    caplog.set_level(logging.DEBUG)
    access = opened()
    other = new_key("helpdesk")[0]
    tokens = [signer.token(aud="https://other"), signer.token(email="someone@x")]
    await refused(access, api_key(other))
    for token in tokens:
        await refused(access, bearer(token))
    assert [(record.levelname, record.getMessage()) for record in caplog.records[-3:]] == [
        ("WARNING", "refused: an API key that is not in API_KEYS"),
        (
            "WARNING",
            "refused: a token: its aud is 'https://other', which is not in EVENT_AUDIENCES",
        ),
        ("WARNING", "refused: a right token: 'someone@x' is not in EVENT_SERVICE_ACCOUNTS"),
    ]
    for secret in (other, *tokens, *(token.rpartition(".")[2] for token in tokens)):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("auth", "audiences", "accounts", "keys", "wrong"),
    [
        (False, (), (), (), []),
        (True, (AUDIENCE,), (ACCOUNT,), (), []),
        (True, (), (), (KEPT,), []),
        (True, (AUDIENCE,), (ACCOUNT,), (KEPT,), []),
        (True, (), (), (), ["AUTH"]),
        (True, (AUDIENCE,), (), (KEPT,), ["EVENT_SERVICE_ACCOUNTS"]),
        (True, (), (ACCOUNT,), (KEPT,), ["EVENT_AUDIENCES"]),
        (True, (), (ACCOUNT,), (), ["EVENT_AUDIENCES"]),
        (False, (AUDIENCE,), (), (), ["EVENT_SERVICE_ACCOUNTS"]),
    ],
)
def test_settings_that_let_nobody_in_or_half_of_a_token_are_refused(
    auth, audiences, accounts, keys, wrong
):
    """The start fails closed, with what to set."""
    problems = access_problems(auth, audiences, accounts, keys)
    assert [problem.where for problem in problems] == wrong
    assert all(problem.remedy for problem in problems)
