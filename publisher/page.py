"""The page that files an issue: a plain form, what came of it, and the files that it needs.

The form is sent as any browser sends one, and works without the script, which only adds rows and
holds back a second click. A page is never kept: each carries an idempotency key of its own, so
that the same page sent twice, by a double click or by loading the answer again, is one issue.
Nothing stands inside the HTML that the content security policy would have to allow by exception.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

WEB = Path(__file__).parent / "web"

# What is served beside the page, by address.
STATIC = {
    "/web/page.css": "text/css; charset=utf-8",
    "/web/page.js": "text/javascript; charset=utf-8",
    "/web/icon.svg": "image/svg+xml",
}

PRIORITIES = ("P0", "P1", "P2", "P3", "P4")

# Rows for further fields that are ready to be filled: without the script no more can be added.
BLANK_ROWS = 3

# How much is shown again of a form that was not filed, in characters, each of which may become five
# on the page: of more, only the browser has a copy.
MAX_SHOWN = 100_000

# What can be done about an error, by status; anything else is for the sender to mend.
_AGAIN = "Send it again in a moment: it will not be filed twice."
_ADVICE = {401: "Type the API key again.", 429: _AGAIN, 503: _AGAIN}
_MEND = "Mend it and send it again."
_KEPT = "What you wrote is still here."
_NOT_KEPT = "What you wrote is not on this page: your browser's way back leads to it."


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer shows: an empty form, a form with an error, or the id of what was filed.

    Args:
        key_needed: Whether the form asks for an API key.
        idempotency_key: Sent along with the form; the same one again after an error.
        values: The form's fields as they were sent, to be shown again; never the API key.
        issue_id: Of the issue that was filed; '' when none was.
        error: Why none was filed, a problem a line; '' when nothing was sent yet.
        status: Of the answer.
    """

    key_needed: bool
    idempotency_key: str
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    issue_id: str = ""
    error: str = ""
    status: int = 200

    def first(self, name: str) -> str:
        """The first value of a field, '' when it was not sent."""
        return next(iter(self.values.get(name, ())), "")

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Names and values of the further fields, with blank rows to fill."""
        names, values = self.values.get("field_name", ()), self.values.get("field_value", ())
        pairs = zip_longest(names, values, fillvalue="")
        return [pair for pair in pairs if any(pair)] + [("", "")] * BLANK_ROWS

    @property
    def further(self) -> bool:
        """Whether any further field was filled."""
        return len(self.rows) > BLANK_ROWS

    @property
    def advice(self) -> str:
        """What can be done about the error."""
        return f"{_KEPT if self.values else _NOT_KEPT} {_ADVICE.get(self.status, _MEND)}"


def render(page: Page) -> Response:
    """The page as an answer."""
    if sum(len(value) for values in page.values.values() for value in values) > MAX_SHOWN:
        page = replace(page, values={})
    html = _template().render(page=page, priorities=PRIORITIES)
    # Its idempotency key is good for one issue.
    return HTMLResponse(html, page.status, {"Cache-Control": "no-store"})


def routes() -> list[Route]:
    """What is served under /web/; the files are read here, once."""
    return [_static(path, content_type) for path, content_type in STATIC.items()]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(WEB),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _static(path: str, content_type: str) -> Route:
    content = (WEB / path.rpartition("/")[2]).read_bytes()
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    # Asked for each time and mostly answered 304: page and styles are always of one version, also
    # while two versions of the service run side by side.
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def serve(request: Request) -> Response:
        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers | {"Content-Type": content_type})

    return Route(path, serve)


def _matches(given: str, tag: str) -> bool:
    """If-None-Match, by weak comparison: https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2."""
    tags = (one.strip().removeprefix("W/") for one in given.split(","))
    return given.strip() == "*" or tag in tags
