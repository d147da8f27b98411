"""The page as HTML, and the files beside it; what a browser makes of it is under integration."""

from collections import Counter
from html.parser import HTMLParser

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from publisher.browsers import CONTENT_SECURITY_POLICY
from publisher.page import BLANK_ROWS, MAX_SHOWN, PRIORITIES, STATIC, Page, render, routes

KEY = "3f0b7c1e-0000-4000-8000-000000000001"
# https://html.spec.whatwg.org/multipage/syntax.html#void-elements
VOID = {"input", "link", "meta", "img", "br"}


class Html(HTMLParser):
    """The elements of a page, each with its attributes and text; every end tag must fit."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            element
            for element in self.elements
            if element["tag"] == tag and attributes.items() <= element.items()
        ]

    def one(self, tag, **attributes):
        (element,) = self.all(tag, **attributes)
        return element

    def values(self, name):
        return [element["value"] for element in self.all("input", name=name)]


def html(page):
    return Html(render(page).body.decode())


def shown(**more):
    return html(Page(key_needed=False, idempotency_key=KEY, **more))


PAGES = {
    "empty": Page(key_needed=True, idempotency_key=KEY),
    "error": Page(True, KEY, {"title": ["x"], "field_name": ["a"]}, error="a: is bad", status=400),
    "filed": Page(True, KEY, issue_id="INC-0123ABCD"),
}


def test_the_form_posts_what_an_issue_has():
    """All fields of an issue, an idempotency key, and rows to fill without a script."""
    page = shown()
    form = page.one("form")
    assert (form["method"], form["action"]) == ("post", "/")
    assert page.values("idempotency_key") == [KEY]
    assert page.values("title") == page.values("labels") == [""]
    assert page.values("priority") == ["", *PRIORITIES]
    assert page.one("textarea", name="description")["text"].strip() == ""
    assert page.values("field_name") == page.values("field_value") == [""] * BLANK_ROWS
    assert not page.all("input", name="api_key")
    assert not [element for element in page.elements if element.get("role") in ("alert", "status")]


def test_the_key_is_asked_for_only_where_one_is_needed():
    """A password field that browsers are told not to keep."""
    field = html(PAGES["empty"]).one("input", name="api_key")
    assert (field["type"], field["autocomplete"]) == ("password", "off")
    assert "value" not in field


def test_an_error_keeps_the_values_and_never_shows_the_key():
    """Every field comes back as it was sent, with the same idempotency key; the error has focus."""
    values = {
        "title": ["Login <b>fails</b> & \"more\" 'so'"],
        "priority": ["P1"],
        "description": ["\nfirst\n</textarea><script>alert(1)</script>"],
        "labels": ["login, größer"],
        "field_name": ["assignee", "", ""],
        "field_value": ["Ada", "alone", ""],
        "api_key": ["very-secret"],
    }
    page = Page(True, KEY, values, error="title: is bad\nlabels: <too> many", status=400)
    response = render(page)
    assert (response.status_code, response.headers["content-type"]) == (
        400,
        "text/html; charset=utf-8",
    )
    assert b"very-secret" not in response.body
    found = Html(response.body.decode())
    assert found.values("title") == values["title"]
    assert [e["value"] for e in found.all("input", name="priority") if "checked" in e] == ["P1"]
    # A parser drops the first line break: https://html.spec.whatwg.org/#the-textarea-element
    assert found.one("textarea")["text"] == "\n" + values["description"][0]
    assert found.values("labels") == values["labels"]
    assert found.values("field_name") == ["assignee", ""] + [""] * BLANK_ROWS
    assert found.values("field_value") == ["Ada", "alone"] + [""] * BLANK_ROWS
    assert "open" in found.one("details")
    assert found.values("idempotency_key") == [KEY]
    alert = found.one("div", role="alert")
    assert "autofocus" in alert
    assert alert["tabindex"] == "-1"
    assert [e["text"] for e in found.all("li")] == ["title: is bad", "labels: <too> many"]
    assert "still here" in alert["text"]


@pytest.mark.parametrize(
    ("status", "advice"),
    [(400, "Mend it"), (401, "API key again"), (429, "in a moment"), (503, "not be filed twice")],
)
def test_an_error_says_what_to_do(status, advice):
    """By its status."""
    page = shown(error="no", status=status, values={"title": ["x"]})
    assert advice in page.one("div", role="alert")["text"]


def test_what_was_filed_is_shown_with_its_id():
    """The id, announced and focused, and a way to the next one; no form to send again."""
    page = shown(issue_id="INC-0123ABCD")
    status = page.one("div", role="status")
    assert "autofocus" in status
    assert page.one("p", id="issue-id")["text"] == "INC-0123ABCD"
    assert page.one("a", href="/")["text"] == "File another issue"
    assert page.one("title")["text"] == "INC-0123ABCD is filed"
    assert not page.all("form")


def test_a_page_is_never_stored():
    """Its idempotency key is good for one issue."""
    assert render(PAGES["empty"]).headers["cache-control"] == "no-store"


def test_a_long_form_is_not_shown_again():
    """Else nine megabytes would become fifty; the page says where they are."""
    text = '"' * MAX_SHOWN
    assert shown(error="no", status=400, values={"description": [text]}).one("textarea")["text"]
    page = shown(error="no", status=400, values={"description": [text], "title": ["x"]})
    assert page.values("title") == [""]
    assert "way back" in page.one("div", role="alert")["text"]


@given(title=st.text(), description=st.text(), name=st.text(min_size=1), value=st.text(min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back_as_text(title, description, name, value):
    """Whatever stands in a field, the page is the same elements and the field has it again."""
    sent = {
        "title": [title],
        "description": [description],
        "field_name": [name],
        "field_value": [value],
    }
    page = shown(error="no", status=400, values=sent)
    plain = shown(error="no", status=400, values={field: ["x"] for field in sent})
    assert [e["tag"] for e in page.elements] == [e["tag"] for e in plain.elements]
    assert page.values("title") == [title]
    assert page.one("textarea")["text"] == "\n" + description
    assert (page.values("field_name")[0], page.values("field_value")[0]) == (name, value)


@pytest.mark.parametrize("name", PAGES)
def test_every_reference_has_its_target(name):
    """Ids are unique; labels and descriptions name what is there; every control has a label."""
    page = html(PAGES[name])
    ids = Counter(element["id"] for element in page.elements if "id" in element)
    assert max(ids.values()) == 1
    for element in page.elements:
        for attribute in ("for", "aria-describedby"):
            assert element.get(attribute, next(iter(ids))) in ids
    labelled = {label.get("for") for label in page.all("label")}
    for control in page.all("input") + page.all("textarea"):
        assert control.get("type") in ("hidden", "radio") or control["id"] in labelled
    assert page.one("html")["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1


@pytest.mark.parametrize("name", PAGES)
def test_nothing_stands_inside_that_the_policy_forbids(name):
    """No inline style, script or handler; all that is loaded is served here."""
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    page = html(PAGES[name])
    assert not page.all("style")
    for element in page.elements:
        assert "style" not in element
        assert not [attribute for attribute in element if attribute.startswith("on")]
    scripts = [script["src"] for script in page.all("script")]
    assert all(not script["text"] for script in page.all("script"))
    loaded = scripts + [e["href"] for e in page.all("link")] + [e["src"] for e in page.all("img")]
    assert set(loaded) == set(STATIC)


@pytest.fixture
def client():
    transport = httpx.ASGITransport(app=Starlette(routes=routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://publisher")


@pytest.mark.parametrize(("path", "content_type"), STATIC.items())
async def test_a_file_is_sent_once(client, path, content_type):
    """With its type and a tag; who has that tag is told so, who has another gets the file."""
    first = await client.get(path)
    assert (first.status_code, first.headers["content-type"]) == (200, content_type)
    assert first.headers["cache-control"] == "no-cache"
    assert first.content
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await client.get(path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert (await client.head(path)).headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize("path", ["/web/page.html", "/web/", "/web/../page.py", "/web/other.css"])
async def test_nothing_else_is_served(client, path):
    """The template neither."""
    assert (await client.get(path)).status_code == 404
