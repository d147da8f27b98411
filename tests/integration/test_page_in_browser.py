"""The page in Chromium: by keyboard alone, without its script, narrow, dark, and judged by axe."""

import re
import shutil
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from google.cloud import bigquery
from playwright.sync_api import expect, sync_playwright

from local.resources import DATASET
from publisher.keys import new_key
from schemas import live
from tests.integration.publisher_process import ROOT, Published, publisher

pytestmark = pytest.mark.emulators

SCREENSHOTS = ROOT / "build" / "screenshots"
MILLISECONDS = 15_000
# Without a sandbox for root's sake; the rest keeps it from looking for hosts of its own.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
ISSUE_ID = re.compile(r"INC-[0-9A-F]{8}")
WIDE = {"width": 1000, "height": 900}
# 1,280 pixels at 400 %: https://www.w3.org/TR/WCAG22/#reflow
NARROW = {"width": 320, "height": 256}


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("Chromium is needed to test the page: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page; at the end nothing must have gone wrong in it that was not to be expected."""
    said = []

    @contextmanager
    def page_at(url, *, script=True, expected="", **options):
        options = {"viewport": WIDE, "java_script_enabled": script} | options
        context = browser.new_context(**options)
        context.set_default_timeout(MILLISECONDS)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and said.append(message.text),
        )
        page.goto(url)
        try:
            yield page
        finally:
            context.close()
        if expected:
            said[:] = [text for text in said if expected not in text]

    yield page_at
    assert said == []


@pytest.fixture(scope="module")
def published(stack):
    return Published(stack)


@pytest.fixture(scope="module")
def url(stack, published, tmp_path_factory):
    """A publisher of these tests' own, open to all."""
    with publisher(stack, published, tmp_path_factory.mktemp("open")) as running:
        yield running


KEY, ENTRY = new_key("page")


@pytest.fixture(scope="module")
def closed(stack, published, tmp_path_factory):
    """One that asks for a key."""
    settings = {"AUTH": "on", "API_KEYS": ENTRY.entry()}
    with publisher(stack, published, tmp_path_factory.mktemp("closed"), **settings) as running:
        yield running


FOCUSED = """() => {
  const focused = document.activeElement;
  const shown = getComputedStyle(focused.closest('.choice') || focused);
  const name = focused.id || focused.getAttribute('aria-label') || focused.innerText;
  return {
    name: focused.type === 'radio' ? `${focused.name} ${focused.value}` : name,
    outline: shown.outlineStyle === 'none' ? 0 : parseFloat(shown.outlineWidth),
  };
}"""


def type_through(page, *steps):
    """Presses Tab before each step; focus must be where the step says, and be seen.

    A step is what has the focus, the text or keys that go there, and what has the focus then.
    """
    for name, keys, *then in steps:
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        assert focused["name"] == name
        assert focused["outline"] >= 2, name
        if isinstance(keys, str):
            page.keyboard.type(keys)
        for key in keys if isinstance(keys, tuple) else ():
            page.keyboard.press(key)
        if then:
            assert page.evaluate(FOCUSED)["name"] == then[0]


def filed_id(page):
    """The id of the issue that the page says it has filed; it is announced and has the focus."""
    status = page.get_by_role("status")
    expect(status).to_be_visible()
    expect(status).to_be_focused()
    expect(status.get_by_role("heading")).to_have_text("The issue is filed")
    issue_id = page.locator("#issue-id").inner_text()
    assert ISSUE_ID.fullmatch(issue_id)
    return issue_id


def row_of(project, issue_id):
    """The one row of the issue."""
    columns = (
        "title, priority, description, labels, assignee, source, operation, "
        "JSON_VALUE(payload, '$.team') AS team"
    )
    query = f"SELECT {columns} FROM {DATASET}.issues_stream WHERE issue_id = @id"
    config = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("id", "STRING", issue_id)]
    )
    job = live.bigquery_client(project).query(
        query, job_config=config, timeout=20, retry=None, job_retry=None
    )
    (row,) = job.result(timeout=20, retry=None, job_retry=None)
    return dict(row)


def test_from_the_keyboard_to_the_row(opened, stack, job):
    """Filled by keyboard alone, and once without the script: the id is shown, and its row is there.

    Every stop of the Tab key is named and its focus is seen.
    """
    with opened(stack.addresses.publisher) as page:
        type_through(
            page,
            ("title", 'Größe fehlt: <b>"quoted"</b> & more'),
            ("priority ", ("ArrowRight", "ArrowRight"), "priority P1"),
            ("description", ("A", "Enter", "B")),
            ("labels", "login, größer ,"),
            ("Further fields (optional)", ("Enter",)),
            ("name-1", "assignee"),
            ("value-1", "Ada"),
            ("Remove field 1", ()),
            ("Add a field", ("Enter",), "name-4"),
        )
        page.keyboard.type("team")
        type_through(page, ("value-4", "platform"))
        screenshot(page, "page")
        type_through(
            page,
            ("Remove field 4", ()),
            ("Add a field", ()),
            ("File the issue", ("Enter",)),
        )
        by_keyboard = filed_id(page)
        screenshot(page, "filed")
        type_through(page, ("File another issue", ("Enter",)))
        expect(page.get_by_label("Title")).to_have_value("")
    with opened(stack.addresses.publisher, script=False) as page:
        page.get_by_label("Title").fill("Plain")
        page.get_by_text("Further fields").first.click()
        page.get_by_label("Name").nth(2).fill("team")
        page.get_by_label("Value").nth(2).fill("support")
        page.get_by_role("button").click()
        by_form = filed_id(page)
    assert job.run() == 0
    assert row_of(job.project, by_keyboard) == {
        "title": 'Größe fehlt: <b>"quoted"</b> & more',
        "priority": "P1",
        "description": "A\r\nB",
        "labels": ["login", "größer"],
        "assignee": "Ada",
        "source": "manual-api",
        "operation": "MANUAL",
        "team": "platform",
    }
    assert row_of(job.project, by_form) == {
        "title": "Plain",
        "priority": None,
        "description": None,
        "labels": [],
        "assignee": None,
        "source": "manual-api",
        "operation": "MANUAL",
        "team": "support",
    }


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_one_page_files_one_issue(opened, url, published, script):
    """A double click, and the answer loaded again: one id on the page, one event on the topic."""
    with opened(url, script=script) as page:
        title = f"Twice {script}"
        page.get_by_label("Title").fill(title)
        page.get_by_role("button", name="File the issue").dblclick()
        first = filed_id(page)
        sent = []
        page.on("request", lambda request: sent.append(request.method))
        page.reload()
        assert sent[0] == "POST"
        assert filed_id(page) == first
    messages = [m for m in published.messages(least=2) if title.encode() in m.data]
    if script:  # it holds the second click back
        assert len(messages) == 2
    assert len({m.event_id for m in messages}) == 1
    assert {m.attributes["issue_id"] for m in messages} == {first}


def test_the_same_words_on_another_page_are_another_issue(opened, url):
    """The key is the page's, so who has two of the same kind files two."""
    ids = set()
    with opened(url) as page:
        for _ in range(2):
            page.get_by_label("Title").fill("Again")
            page.get_by_role("button", name="File the issue").click()
            ids.add(filed_id(page))
            page.get_by_role("link", name="File another issue").click()
    assert len(ids) == 2


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_an_error_keeps_what_was_written(opened, url, published, script):
    """It is announced and has the focus; mended, the same page files the issue."""
    with opened(url, script=script, expected="status of 400") as page:
        page.get_by_label("Title").fill("Kept")
        page.get_by_label("P2").check()
        page.get_by_label("Description").fill("\n one\n\ntwo ")
        page.get_by_label("Labels").fill("a, b")
        page.get_by_text("Further fields").first.click()
        page.get_by_label("Value").first.fill("nameless")
        page.get_by_role("button", name="File the issue").click()
        alert = page.get_by_role("alert")
        expect(alert).to_be_focused()
        expect(alert).to_contain_text("'nameless' and no name")
        expect(page.get_by_label("Title")).to_have_value("Kept")
        expect(page.get_by_label("P2")).to_be_checked()
        expect(page.get_by_label("Description")).to_have_value("\n one\n\ntwo ")
        expect(page.get_by_label("Labels")).to_have_value("a, b")
        expect(page.get_by_label("Value").first).to_have_value("nameless")
        screenshot(page, "error")
        page.get_by_label("Name").first.fill("nickname")
        page.get_by_role("button", name="File the issue").click()
        issue_id = filed_id(page)
    (message,) = (
        m for m in published.messages(least=1) if m.attributes.get("issue_id") == issue_id
    )
    assert b'"nickname":"nameless"' in message.data


def test_a_key_is_asked_for_and_never_shown(opened, closed, published):
    """A wrong one is an error beside what was written, a right one files the issue."""
    with opened(closed, expected="status of 401") as page:
        field = page.get_by_label("API key")
        expect(field).to_have_attribute("type", "password")
        page.get_by_label("Title").fill("With a key")
        field.fill("issues_key_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("valid API key")
        expect(page.get_by_label("Title")).to_have_value("With a key")
        expect(field).to_have_value("")
        assert "issues_key_wrong" not in page.content()
        field.fill(KEY)
        page.keyboard.press("Enter")
        issue_id = filed_id(page)
        assert KEY not in page.content()
    (message,) = (
        m for m in published.messages(least=1) if m.attributes.get("issue_id") == issue_id
    )
    assert message.data == b'{"title":"With a key"}'


# Colours are judged in each scheme, the layout at each width.
LOOKS = {
    "light": {"color_scheme": "light"},
    "narrow-dark": {"viewport": NARROW, "color_scheme": "dark"},
}
STATES = ("empty", "error", "filed")


def bring_about(page, state):
    page.get_by_text("Further fields").first.click()
    if state == "empty":
        return
    page.get_by_label("Title").fill("Unbroken" * 20)
    if state == "error":
        page.get_by_label("Value").first.fill("nameless")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="File the issue").click()
    expect(page.get_by_role({"error": "alert", "filed": "status"}[state])).to_be_visible()


# Everything that is pressed or filled, save links inside of a sentence:
# https://www.w3.org/TR/WCAG22/#target-size-enhanced
SMALL = """() => [...document.querySelectorAll('button, .button, .choice, summary, textarea, '
  + 'input:not([type=hidden], [type=radio])')]
  .filter((target) => target.checkVisibility())
  .filter((target) => {
    const { width, height } = target.getBoundingClientRect();
    return width < 44 || height < 44;
  })
  .map((target) => target.outerHTML)"""


@pytest.mark.parametrize("look", LOOKS)
def test_every_state_is_accessible(opened, closed, look):
    """No violation of any rule of axe, no scrolling sideways, no target below 44 pixels."""
    for state in STATES:
        # The policy keeps axe out, too.
        options = LOOKS[look] | {"bypass_csp": True}
        with opened(closed, expected="status of 400", **options) as page:
            bring_about(page, state)
            found = Axe().run(page)
            assert found.violations_count == 0, (state, found.generate_report())
            assert len(found.response["passes"]) > 15
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= page.viewport_size["width"], state
            assert page.evaluate(SMALL) == [], state
            screenshot(page, f"{look}-{state}")


@pytest.mark.parametrize(("motion", "seconds"), [("reduce", {0.0}), ("no-preference", {0.12})])
def test_motion_is_only_for_those_who_like_it(opened, url, motion, seconds):
    """Nothing moves for who asks for less of it."""
    with opened(url, reduced_motion=motion) as page:
        durations = page.locator(".button").evaluate(
            "(button) => getComputedStyle(button).transitionDuration"
        )
    assert {float(each.strip().removesuffix("s")) for each in durations.split(",")} == seconds


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
