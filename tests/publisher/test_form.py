"""What a form becomes, and which forms are none."""

import json
import tracemalloc
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.form import MAX_CONTROLS, Form, read_form
from publisher.intake import Refused

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


def urlencoded(body):
    return read_form(URLENCODED, body)


def part(name, value=b"", **more):
    """One part of a multipart body; further headers by keyword."""
    disposition = more.pop("disposition", f'form-data; name="{name}"')
    headers = {"Content-Disposition": disposition} | more
    lines = "".join(f"{key.replace('_', '-')}: {text}\r\n" for key, text in headers.items())
    return b"--XX\r\n" + lines.encode() + b"\r\n" + value + b"\r\n"


def multipart(*parts, content_type=MULTIPART):
    return read_form(content_type, b"".join(parts) + b"--XX--\r\n")


def refusal(call, *args, **kwargs):
    with pytest.raises(Refused) as error:
        call(*args, **kwargs)
    return error.value.status, error.value.reason


def body_of(controls):
    """The JSON object of controls, and the same by either encoding."""
    one = urlencoded(urlencode(controls).encode()).body
    other = multipart(*(part(name, value.encode()) for name, value in controls)).body
    assert one == other
    return one.decode()


class TestMembers:
    @pytest.mark.parametrize(
        ("controls", "body"),
        [
            ([("title", "Test")], '{"title":"Test"}'),
            ([("title", " Ünï \U0001f600 "), ("n", "1")], '{"title":" Ünï \U0001f600 ","n":"1"}'),
            ([("a", "1"), ("b", "x"), ("a", "2")], '{"a":["1","2"],"b":"x"}'),
            ([("a", ""), ("b", " \r\n"), ("a", "2")], '{"a":"2"}'),
            ([("a", "1\r\n2")], r'{"a":"1\r\n2"}'),
            ([("labels", "a")], '{"labels":["a"]}'),
            ([("labels", " a , ,b,")], '{"labels":["a","b"]}'),
            ([("labels", "a,b"), ("labels", "c"), ("labels", "")], '{"labels":["a","b","c"]}'),
            ([("labels", " , "), ("a", "1")], '{"a":"1"}'),
            ([("b", "1"), ("a", "2")], '{"b":"1","a":"2"}'),
            ([("a.b", "1"), ("a[0]", "2")], '{"a.b":"1","a[0]":"2"}'),
        ],
    )
    def test_controls(self, controls, body):
        """One value is a string, several an array; labels are split; empties are left out."""
        assert body_of(controls) == body

    def test_further_fields(self):
        """Pairs of controls become members, in order, their names trimmed."""
        controls = [
            ("title", "Test"), ("field_name", " room "), ("field_value", " 12 "),
            ("field_name", ""), ("field_value", " "), ("field_name", "floor"), ("field_value", ""),
            ("field_name", "labels"), ("field_value", "a,b"),
        ]  # fmt: skip
        assert body_of(controls) == '{"title":"Test","room":" 12 ","labels":["a","b"]}'

    @pytest.mark.parametrize(
        ("controls", "reason"),
        [
            (
                [("title", "Test"), ("field_name", "title"), ("field_value", "x")],
                "further field 1: 'title' is taken (choose another name)",
            ),
            (
                [("a", "x"), ("field_name", " a "), ("field_value", "y")],
                "further field 1: 'a' is taken (choose another name)",
            ),
            (
                [("field_name", "api_key"), ("field_value", "x")],
                "further field 1: 'api_key' is taken (choose another name)",
            ),
            (
                [("field_name", " "), ("field_value", "x")],
                "further field 1: has the value 'x' and no name (give it a name)",
            ),
            (
                [("field_value", "x")],
                "further field 1: has the value 'x' and no name (give it a name)",
            ),
            ([("", "x")], "form: a control without a name has the value 'x' (give it a name)"),
        ],
    )
    def test_wrong_names(self, controls, reason):
        """A further field whose name is taken or missing is told by its place."""
        form = urlencoded(urlencode([*controls, ("a0", "1")]).encode())
        assert refusal(lambda: form.body) == (400, reason)

    def test_every_problem_at_once(self):
        """All wrong pairs are told in one answer."""
        pairs = [("field_name", "a"), ("field_value", "x")] * 3
        status, reason = refusal(lambda: urlencoded(urlencode(pairs).encode()).body)
        assert status == 400
        assert reason == "\n".join(
            f"further field {n}: 'a' is taken (choose another name)" for n in (2, 3)
        )

    def test_nothing(self):
        """A form of only empties, or of reserved controls alone, is an empty request."""
        for body in (b"", b"\r\n", b"&", b"a=&b", b"labels=,", b"api_key=k&idempotency_key=i"):
            assert refusal(lambda form: form.body, urlencoded(body)) == (400, "Empty request")
        assert refusal(lambda: multipart().body) == (400, "Empty request")

    @given(
        st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
                    lambda name: (
                        name not in {"labels", "field_name", "field_value"}
                        and name not in {"api_key", "idempotency_key"}
                    )
                ),
                st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_any_text_arrives(self, controls):
        """Names and values arrive as they were, any character of them."""
        expected = {}
        for name, value in controls:
            expected.setdefault(name, []).append(value)
        form = urlencoded(urlencode(controls).encode())
        assert json.loads(form.body) == {
            name: values[0] if len(values) == 1 else values for name, values in expected.items()
        }
        assert form.values == {name: tuple(values) for name, values in expected.items()}


class TestReserved:
    def test_apart(self):
        """The key of the sender and of the call are never in the body, nor shown again."""
        form = urlencoded(b"title=Test&api_key=+secret+&idempotency_key=+once+")
        assert form.api_key == "secret"
        assert form.idempotency_key == " once "
        assert form.body == b'{"title":"Test"}'
        assert form.values == {"title": ("Test",)}
        assert "secret" not in repr(form)

    def test_values_to_show_again(self):
        """What was typed is at hand as it was typed, row by row, wrong or not."""
        form = urlencoded(b"title=+&field_name=a&field_value=&field_name=&field_value=b")
        assert form == Form({"title": (" ",), "field_name": ("a", ""), "field_value": ("", "b")})

    @pytest.mark.parametrize("name", ["api_key", "idempotency_key"])
    def test_twice(self, name):
        """The same key twice is one; two that differ are refused, without being told."""
        body = f"{name}=one&{name}=&{name}=one".encode()
        assert getattr(urlencoded(body), name) == "one"
        told = (400, f"{name}: came more than once, with different values")
        assert refusal(urlencoded, f"{name}=one&{name}=two".encode()) == told


class TestUrlencoded:
    @pytest.mark.parametrize(
        ("body", "values"),
        [
            (b"a=1+2%2B3", {"a": ("1 2+3",)}),
            (b"a=1=2", {"a": ("1=2",)}),
            (b"a", {"a": ("",)}),
            (b"&&a=1&", {"a": ("1",)}),
            (b"a=%C3%BC&%c3%bc=1", {"a": ("ü",), "ü": ("1",)}),
            ("a=ü".encode(), {"a": ("ü",)}),
            (b"a=100%", {"a": ("100%",)}),
            (b"a=%zz%4", {"a": ("%zz%4",)}),
            (b"a=%2541", {"a": ("%41",)}),
            (b"a=1\r\n", {"a": ("1",)}),
            (b"a=%7B%22b%22%3A1%7D", {"a": ('{"b":1}',)}),
            (b"a;b=1", {"a;b": ("1",)}),
        ],
    )
    def test_values(self, body, values):
        """Percent-encoding and raw UTF-8 are read; a percent sign that encodes nothing stays."""
        assert urlencoded(body).values == values

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"title=%FF", "'title': its value is not UTF-8 at byte 0"),
            (b"title=ab%C0%A0", "'title': its value is not UTF-8 at byte 2"),
            (b"title=\xfc", "'title': its value is not UTF-8 at byte 0"),
            (b"%ED%A0%80=1", "'form': a name is not UTF-8 at byte 0"),
        ],
    )
    def test_not_utf8(self, body, reason):
        """Bytes that are no UTF-8 are refused: to replace them would lose what was meant."""
        assert refusal(urlencoded, body) == (400, reason)

    @pytest.mark.parametrize("body", [b'{"a":1}', b' \r\n{"a": 1}', b'{"a"', b"[1]"])
    def test_json_of_curl(self, body):
        """What starts as JSON does is JSON, which curl calls a form; also where it is broken."""
        assert urlencoded(body) is None
        assert read_form(URLENCODED + "; charset=utf-8", body) is None

    def test_bounds(self):
        """A thousand controls are taken, one more is too much."""
        controls = b"&".join(b"a%d=1" % n for n in range(MAX_CONTROLS))
        assert len(json.loads(urlencoded(controls).body)) == 1_000
        told = (413, "form: more than 1000 controls")
        assert refusal(urlencoded, controls + b"&b=1") == told
        assert refusal(urlencoded, b"&" * 9_000_000) == told
        labels = urlencoded(b"labels=" + b"a," * 999 + b"b")
        assert len(json.loads(labels.body)["labels"]) == 1_000
        more = urlencoded(b"labels=a&labels=" + b"a," * 999 + b"b")
        assert refusal(lambda: more.body) == (413, "labels: more than 1000")

    @pytest.mark.parametrize("value", [b"%41" * 3, b"%41a" * 2, b"%" * 9, b"%%41" * 2, b"+" * 9])
    def test_size(self, value):
        """A large form is decoded exactly, in a bounded multiple of its size."""
        body = b"a=" + value * 40_000
        tracemalloc.start()
        try:
            form = urlencoded(body)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        (text,) = form.values["a"]
        assert text == urlencoded(b"a=" + value).values["a"][0] * 40_000
        assert peak < 16 * len(body)


class TestMultipart:
    def test_of_a_client(self):
        """What a client makes of a form is read; `Content-Type` of a part does not matter."""
        request = httpx.Request(
            "POST", "http://x", files={"title": (None, "Tüst"), "labels": (None, b"a, b")}
        )
        form = read_form(request.headers["content-type"], request.read())
        assert form.body == '{"title":"Tüst","labels":["a","b"]}'.encode()

    @pytest.mark.parametrize(
        ("sent", "values"),
        [
            (part("a", b"1"), {"a": ("1",)}),
            (part("a", b"x\r\n--XY\r\ny"), {"a": ("x\r\n--XY\r\ny",)}),
            (part("ü", "ü".encode()), {"ü": ("ü",)}),
            (part("a", b"%41+"), {"a": ("%41+",)}),
            (part('x"; name="a', b"1"), {"a": ("1",)}),
            (part("", disposition='form-data; name="a\\"b"'), {'a"b': ("",)}),
            (part("", b"1", disposition="form-data; name=a"), {"a": ("1",)}),
            (part("a", b"1", Content_Type="text/plain; charset=latin-1"), {"a": ("1",)}),
            (part("a", b"1", Content_Transfer_Encoding="8BIT"), {"a": ("1",)}),
            (part("", disposition='form-data; name="f"; filename=""'), {"f": ("",)}),
            (b"\r\n" + part("a", b"1"), {"a": ("1",)}),
            (part("a", b"1") + part("b") + part("a", b"2"), {"a": ("1", "2"), "b": ("",)}),
        ],
    )
    def test_values(self, sent, values):
        """Values are their parts' bytes as UTF-8."""
        assert multipart(sent).values == values

    def test_boundary(self):
        """The boundary may be quoted, and its parameter's name is in any case."""
        form = multipart(part("a", b"1"), content_type='Multipart/Form-Data; BOUNDARY="XX"; x=y')
        assert form.values == {"a": ("1",)}

    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            (
                part("", b"x", disposition='form-data; name="screen"; filename="a.png"'),
                "'screen': is a file, and files are not taken",
            ),
            (
                part("", b"x", disposition='form-data; name="screen"; filename=""'),
                "'screen': is a file, and files are not taken",
            ),
            (
                part("", disposition='form-data; name="screen"; filename="a.png"'),
                "'screen': is a file, and files are not taken",
            ),
            (part("a", b"\xff"), "'a': its value is not UTF-8 at byte 0"),
            (
                part("a", b"eA==", Content_Transfer_Encoding="base64"),
                "'a': the encoding 'base64' is not taken",
            ),
            (part("", b"x", disposition="form-data"), "a part has no name"),
            (part("", b"x", disposition='attachment; name="a"'), "a part has no name"),
            (b"--XX\r\n\r\nx\r\n", "a part has no name"),
            (b"title=Test", "multipart/form-data: Expected boundary character"),
            (b"--XX\r\nbad header: x\r\n\r\nx\r\n", "multipart/form-data: Found invalid character"),
        ],
    )
    def test_refused(self, sent, reason):
        """A file, an encoding and what is no part are refused, each by name."""
        status, told = refusal(multipart, sent)
        assert (status, reason in told) == (400, True), told

    @pytest.mark.parametrize("body", [b"", b"--XX", part("a", b"1"), part("a", b"1") + b"--XX-"])
    def test_cut_short(self, body):
        """A body without its last boundary is not whole, and nothing of it is taken."""
        told = (400, "multipart/form-data: ends before its last boundary")
        assert refusal(read_form, MULTIPART, body) == told

    @pytest.mark.parametrize(
        ("content_type", "reason"),
        [
            ("multipart/form-data", "has no boundary"),
            ("multipart/form-data; boundary=", "has no boundary"),
            (f"multipart/form-data; boundary={'x' * 300}", "Boundary length 300"),
        ],
    )
    def test_bad_boundary(self, content_type, reason):
        """Without a boundary, or with one too long, there are no parts."""
        status, told = refusal(read_form, content_type, b"--\r\n")
        assert (status, reason in told) == (400, True), told

    def test_bounds(self):
        """A thousand parts are taken, one more is too much."""
        parts = [part(f"a{n}", b"1") for n in range(MAX_CONTROLS)]
        assert len(json.loads(multipart(*parts).body)) == 1_000
        assert refusal(multipart, *parts, part("b")) == (413, "form: more than 1000 controls")

    @given(values=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
    def test_any_text_arrives(self, values):
        """Values arrive as they were, any character of them, line breaks too."""
        form = multipart(*(part("a", value.encode()) for value in values))
        assert form.values.get("a", ()) == tuple(values)
