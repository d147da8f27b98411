"""Pages of strangers, in a real browser (Debian's chromium), against the publisher's guard."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import pytest
import uvicorn
from playwright.async_api import async_playwright
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from publisher.browsers import guarded

DEADLINE = 30


class Site:
    """A page with a form at every GET; what is posted to it is kept."""

    def __init__(self):
        self.target = "/"
        self.posted = []
        self.app = Starlette(
            routes=[Route("/", self.page), Route("/", self.post, methods=["POST"])]
        )

    def page(self, _):
        return HTMLResponse(
            f"<form method=post action='{self.target}'><input name=title value=x><button>x</button>"
        )

    async def post(self, request):
        self.posted.append(await request.body())
        return PlainTextResponse("taken")


@asynccontextmanager
async def served(app):
    """Serves the application on 127.0.0.1; yields the port."""
    server = uvicorn.Server(
        uvicorn.Config(app, "127.0.0.1", 0, log_config=None, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(DEADLINE):
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, DEADLINE)


@pytest.fixture
async def browser():
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not there: apt-get install chromium"
    async with async_playwright() as playwright:
        # Every name leads to this machine, as a stranger's may (DNS rebinding).
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * 127.0.0.1"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        await browser.close()


async def sends(browser, page):
    """The status that the page's form gets when it is sent."""
    tab = await browser.new_page()
    await tab.goto(page)
    async with tab.expect_navigation() as sent:
        await tab.click("button")
    answer = await sent.value
    await tab.close()
    return answer.status


async def test_a_browser_files_only_from_the_services_own_page(browser):
    """A stranger's form is refused, its own is taken; so under a name that a stranger rebinds."""
    own, stranger = Site(), Site()
    open_app = guarded(own.app, (), open_to_all=True)
    async with served(open_app) as port, served(stranger.app) as other:
        # The stranger's page, at another name or another port of the same.
        for target, page in (
            (f"http://localhost:{port}/", f"http://evil.example:{other}/"),
            (f"http://localhost:{port}/", f"http://localhost:{other}/"),
            (f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{other}/"),
            (f"http://publisher.example:{port}/", f"http://evil.example:{other}/"),
        ):
            stranger.target = target
            assert (page, await sends(browser, page)) == (page, 403)
        # The service itself under the stranger's name: to the browser it is one site.
        assert await sends(browser, f"http://evil.example:{port}/") == 403
        assert own.posted == []
        for page in (f"http://localhost:{port}/", f"http://127.0.0.1:{port}/"):
            assert await sends(browser, page) == 200
        assert own.posted == [b"title=x", b"title=x"]


async def test_a_page_without_tls_is_taken_by_its_origin(browser):
    """Over plain HTTP to a name a browser sends no Sec-Fetch-Site: `Origin` must be the Host's."""
    own = Site()
    async with served(guarded(own.app, ())) as port:
        assert await sends(browser, f"http://publisher.example:{port}/") == 200
    assert own.posted == [b"title=x"]
