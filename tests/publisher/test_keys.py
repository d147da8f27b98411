"""API keys: how they are made, listed and found."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.keys import KEY_PREFIX, ApiKey, KeyRing, new_key, parse_keys
from schemas.problem import ProblemsFound


def problems_of(text):
    with pytest.raises(ProblemsFound) as caught:
        parse_keys(text)
    return caught.value.problems


def test_a_new_key_opens_with_its_entry_and_its_entry_alone_is_kept():
    """The key is 256 random bits behind its prefix; the entry is its client and SHA-256."""
    key, kept = new_key("helpdesk")
    other, _ = new_key("helpdesk")
    assert re.fullmatch(r"issues_key_[0-9a-f]{64}", key)
    assert key != other
    assert kept.entry() == f"helpdesk:{hashlib.sha256(key.encode()).hexdigest()}"
    ring = KeyRing(parse_keys(kept.entry()))
    assert ring.client(key) == "helpdesk"
    assert ring.client(other) is None


@pytest.mark.parametrize("between", [",", " ", "\n", ",\n  ", "\r\n", "\t,"])
def test_entries_are_parted_by_commas_or_white_space(between):
    """As a variable, a YAML block or a secret with a line break at its end has them."""
    (one, a), (two, b), (three, c) = (new_key(name) for name in ("helpdesk", "ops", "ops"))
    keys = parse_keys(between.join(kept.entry() for kept in (a, b, c)) + "\n")
    assert keys == (a, b, c)
    ring = KeyRing(keys)
    assert [ring.client(key) for key in (one, two, three)] == ["helpdesk", "ops", "ops"]


@pytest.mark.parametrize("text", ["", " ", "\n", ","])
def test_no_entry_is_no_key(text):
    """An empty list is one; whether that is enough is judged elsewhere."""
    assert parse_keys(text) == ()
    assert KeyRing(()).client(new_key("helpdesk")[0]) is None


def test_a_digest_may_have_capital_letters():
    """Some tools print it so."""
    key, kept = new_key("helpdesk")
    digest = kept.digest.hex().upper()
    assert KeyRing(parse_keys(f"helpdesk:{digest}")).client(key) == "helpdesk"


@pytest.mark.parametrize(
    "client", ["a", "0", "Help.Desk_2-x", "a" * 64], ids=["letter", "digit", "all", "longest"]
)
def test_names_of_clients(client):
    """1 to 64 letters, digits, `.`, `_`, `-`, the first a letter or digit."""
    key, kept = new_key(client)
    assert KeyRing(parse_keys(kept.entry())).client(key) == client


@pytest.mark.parametrize("client", ["", "-a", ".a", "a" * 65, "a b", "ä", "a:b", "a,b", "a\n"])
def test_what_is_no_name_gets_no_key(client):
    """A name that could not stand in the list is refused when the key is made."""
    with pytest.raises(ProblemsFound) as caught:
        new_key(client)
    assert [problem.where for problem in caught.value.problems] == ["CLIENT"]


def test_every_wrong_entry_is_named_by_its_number():
    """All at once; the right ones between them are not."""
    good = new_key("helpdesk")[1].entry()
    digest = "a" * 64
    text = ",".join(["nocolon", good, f"-x:{digest}", "x:abc", f"x:{'g' * 64}", f":{digest}"])
    found = problems_of(text)
    assert {problem.where for problem in found} == {"API_KEYS"}
    assert [problem.what for problem in found] == [
        "entry 1 of 6 has no colon",
        "entry 3 of 6 does not start with a client's name",
        "entry 4 of 6 has a digest of 3 characters that are not 64 hexadecimal digits",
        "entry 5 of 6 has a digest of 64 characters that are not 64 hexadecimal digits",
        "entry 6 of 6 does not start with a client's name",
    ]


@pytest.mark.parametrize("entry", ["{}", "helpdesk:{}", "helpdesk:{}x", "{}:{}"])
def test_a_key_pasted_in_place_of_its_digest_is_told_without_being_shown(entry):
    """The sentence goes into a log, where a key must not be."""
    key, _ = new_key("helpdesk")
    (problem,) = problems_of(entry.format(key, key))
    assert problem.what == "entry 1 of 1 is a key itself"
    assert "make a new one" in problem.remedy
    assert key[len(KEY_PREFIX) :] not in str(problem)


@given(st.text(alphabet="ab:AZ09._-é !\n,", max_size=80))
def test_no_problem_shows_any_of_the_text(text):
    """Whatever somebody pastes, only numbers of it are told."""
    secret = "hunter2-" + text.replace(",", "").replace("\n", "").replace(" ", "")
    assert all("hunter2" not in str(problem) for problem in problems_of(secret))


@pytest.mark.parametrize("nothing", [b"", b"\n"])
def test_the_digest_of_nothing_is_no_entry(nothing):
    """A pipe that broke hands sha256sum an empty text: a key that everybody has."""
    (problem,) = problems_of(f"helpdesk:{hashlib.sha256(nothing).hexdigest()}")
    assert problem.what == "entry 1 of 1 is the digest of nothing"


def test_one_key_is_one_clients():
    """The same digest twice could be two clients': whose issue would it be?"""
    entry = new_key("helpdesk")[1].entry()
    digest = entry.partition(":")[2]
    assert [str(problem) for problem in problems_of(f"{entry} ops:{digest} {entry}")] == [
        "API_KEYS: entry 2 of 3 has the key of entry 1 (a key stands once, with one client)",
        "API_KEYS: entry 3 of 3 has the key of entry 1 (a key stands once, with one client)",
    ]


def test_no_text_but_a_key_finds_a_client():
    """Not a digest, not a part of a key, not one with more around it, nor what is no UTF-8."""
    key, kept = new_key("helpdesk")
    ring = KeyRing([kept])
    near = [key[:-1], key + "0", key.upper(), f" {key}", f"{key}\n", key.removeprefix(KEY_PREFIX)]
    for shown in (*near, kept.entry(), kept.digest.hex(), "", "\ud800", "é" * 75, "x" * 1_000_000):
        assert ring.client(shown) is None
    assert ring.client(key) == "helpdesk"


def test_a_digest_is_not_shown_by_repr():
    """Settings may be printed."""
    assert repr(ApiKey("helpdesk", b"\x12" * 32)) == "ApiKey(client='helpdesk')"
