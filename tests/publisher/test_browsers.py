"""What browsers are told, and what is not taken from them."""

import json
import logging

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response

from publisher.browsers import CONTENT_SECURITY_POLICY, guarded

LISTED = "https://helpdesk.example.com"
HOST = "publisher.example.com"


class App:
    """Answers everything with 204; counts what reaches it."""

    def __init__(self, response=None):
        self.response = response
        self.reached = 0

    async def __call__(self, scope, receive, send):
        self.reached += 1
        if self.response:
            await self.response(scope, receive, send)
            return
        await send(START)
        await send({"type": "http.response.body", "body": b""})


START = {"type": "http.response.start", "status": 204, "headers": ()}


async def ask(app, method="POST", host=HOST, headers=None, **options):
    transport = httpx.ASGITransport(app=guarded(app, options.pop("origins", ()), **options))
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.request(method, f"http://{host}/", headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
async def test_every_answer_carries_the_security_headers(method):
    """And is not stored, since it says nothing of that itself."""
    answer = await ask(App(), method)
    assert dict(answer.headers) == {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "strict-transport-security": "max-age=31536000",
        "cache-control": "no-store",
    }


def test_the_policy_lets_in_nothing_but_the_services_own():
    """No inline script or style, no frame, no other host, no base that moves a form's target."""
    policy = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }


async def test_an_answer_says_itself_how_long_it_is_stored():
    """Static files do."""
    response = PlainTextResponse("x", headers={"Cache-Control": "public, max-age=3600"})
    answer = await ask(App(response), "GET")
    assert answer.headers.get_list("cache-control") == ["public, max-age=3600"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_applications_own_object_is_not_changed():
    """It may send the same one for every request; no origin's permission stays in it."""
    app = App()
    for _ in range(2):
        assert len((await ask(app)).headers) == 7
        answer = await ask(app, headers={"Origin": LISTED}, origins=[LISTED])
        assert cors_of(answer) == {"access-control-allow-origin", "access-control-expose-headers"}
        assert cors_of(await ask(app, "GET", origins=[LISTED])) == set()
    assert START == {"type": "http.response.start", "status": 204, "headers": ()}


async def test_what_is_not_http_passes():
    """The server's lifespan has no headers."""
    reached = []

    async def app(scope, receive, send):
        reached.append(scope)

    await guarded(app, ())({"type": "lifespan"}, None, None)
    assert reached == [{"type": "lifespan"}]


OWN = f"https://{HOST}"
CASES = [
    # Who sends neither header is no browser.
    ({}, True),
    # Browsers of today, over HTTPS or to this machine.
    ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site", "Origin": "https://other.example.com"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, False),
    ({"Sec-Fetch-Site": "", "Origin": OWN}, False),
    ({"Sec-Fetch-Site": "Same-Origin, cross-site"}, False),
    # A proxy that puts another Host: the browser knows better.
    ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example.com"}, True),
    # Older ones, and plain HTTP.
    ({"Origin": OWN}, True),
    ({"Origin": f"http://{HOST}"}, True),
    ({"Origin": f"https://{HOST.upper()}"}, True),
    ({"Origin": OWN, "Host": HOST.upper()}, True),
    ({"Origin": "null", "Host": ""}, False),
    ({"Origin": f"https://{HOST}:8443"}, False),
    ({"Origin": f"https://{HOST}.evil.example"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": HOST}, False),
    # Whose pages may.
    ({"Origin": LISTED}, True),
    ({"Origin": LISTED, "Sec-Fetch-Site": "cross-site"}, True),
    ({"Origin": LISTED.upper(), "Sec-Fetch-Site": "cross-site"}, False),
    ({"Origin": f"{LISTED}:443", "Sec-Fetch-Site": "cross-site"}, False),
    ({"Origin": LISTED.replace("https", "http"), "Sec-Fetch-Site": "cross-site"}, False),
    ([("Origin", LISTED), ("Origin", "https://evil.example")], False),
    ([("Origin", OWN), ("Origin", OWN)], False),
]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(("headers", "taken"), CASES, ids=str)
async def test_what_changes_something_is_not_taken_for_a_strangers_page(headers, taken, method):
    """Refused before the application sees it, with an answer in JSON that says what to do."""
    app, refused = App(), []
    answer = await ask(app, method, headers=headers, origins=[LISTED], refused=refused.append)
    if taken:
        assert (answer.status_code, app.reached, refused) == (204, 1, [])
    else:
        assert (answer.status_code, app.reached, refused) == (403, 0, ["cross_site"])
        assert answer.headers["content-type"] == "application/json"
        assert "CORS_ORIGINS" in json.loads(answer.content)["error"]
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("headers", [headers for headers, _ in CASES], ids=str)
async def test_reading_is_for_every_page(headers):
    """A link from anywhere leads to the page."""
    assert (await ask(App(), "GET", headers=headers)).status_code == 204


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("localhost:8080", True),
        ("localhost", True),
        ("issues.localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.168.0.7:8080", True),
        ("helpdesk.example.com", True),
        ("evil.example:8080", False),
        ("localhost.evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
    ],
)
async def test_with_access_off_a_browser_is_taken_under_no_name_of_a_stranger(host, taken):
    """A name that a stranger's server resolves to 127.0.0.1 is the stranger's page's own."""
    for headers in (
        {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"http://{host}"},
    ):
        app = App()
        answer = await ask(app, host=host, headers=headers, origins=[LISTED], open_to_all=True)
        assert (answer.status_code, app.reached) == ((204, 1) if taken else (403, 0))
        # With access on, such a page has no key: its request is judged as any other.
        answer = await ask(app, host=host, headers=headers, origins=[LISTED])
        assert answer.status_code == 204


async def test_with_access_off_others_than_browsers_are_taken_under_any_name():
    """A container is called by its name in a network of containers."""
    assert (await ask(App(), host="publisher:8080", open_to_all=True)).status_code == 204


@pytest.mark.parametrize("host", [b"[", b"[::1", b"\xff\xfe", b"", b"localhost:x"])
async def test_a_host_that_is_none_is_no_error(host):
    """It is judged as a name: refused, or a local one with a bad port."""
    scope = {"type": "http", "method": "POST", "headers": [(b"host", host)]}
    scope["headers"].append((b"sec-fetch-site", b"same-origin"))
    sent = []

    async def send(message):
        sent.append(message)

    await guarded(App(), (), open_to_all=True)(scope, None, send)
    assert sent[0]["status"] == (204 if host.startswith(b"localhost") else 403)


async def preflight(origin, method="POST", asked="content-type,x-api-key,idempotency-key", **more):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": asked,
    }
    return await ask(App(), "OPTIONS", headers=headers, **more)


def cors_of(answer):
    return {name for name in answer.headers if name.startswith("access-control-")}


async def test_without_listed_origins_there_is_no_cors():
    """Neither a preflight nor an answer says a word of it."""
    assert cors_of(await preflight(LISTED)) == set()
    answer = await ask(App(), "GET", headers={"Origin": LISTED})
    assert cors_of(answer) == set()


async def test_the_page_of_a_listed_origin_may_post_with_our_headers():
    """It asks, it may, and it may read the answer; with no cookie."""
    answer = await preflight(LISTED, origins=[LISTED])
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-allow-methods"] == "POST"
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"content-type", "x-api-key", "idempotency-key"} <= set(allowed)
    assert "authorization" not in allowed
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    answer = await ask(App(Response(status_code=204)), headers={"Origin": LISTED}, origins=[LISTED])
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["access-control-expose-headers"] == "Retry-After"
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    ("origin", "method", "asked"),
    [
        ("https://evil.example", "POST", "content-type"),
        ("null", "POST", "content-type"),
        (LISTED, "DELETE", "content-type"),
        (LISTED, "POST", "authorization"),
    ],
)
async def test_a_preflight_for_more_than_that_fails(origin, method, asked):
    """The browser then sends nothing."""
    answer = await preflight(origin, method, asked, origins=[LISTED])
    assert answer.status_code == 400
    if origin != LISTED:
        assert "access-control-allow-origin" not in answer.headers


async def test_a_refusal_is_in_the_log_without_the_strangers_words(caplog):
    """What a stranger sends is not written down."""
    caplog.set_level(logging.DEBUG, "publisher")
    await ask(App(), headers={"Origin": "https://evil.example"})
    assert [record.levelname for record in caplog.records if record.name.startswith("pub")] == [
        "WARNING"
    ]
    assert "evil" not in "".join(record.getMessage() for record in caplog.records)
