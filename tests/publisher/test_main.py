"""What `python -m publisher` says and does, but for serving."""

import pytest

from publisher.__main__ import main
from publisher.keys import KeyRing, parse_keys


def test_key(capsys):
    """A new key and its entry are printed; the entry lets the key in, as that client."""
    assert main(["key", "helpdesk"]) == 0
    key, _, entry, _ = capsys.readouterr().out.splitlines()
    assert KeyRing(parse_keys(entry)).client(key) == "helpdesk"
    assert key not in entry


def test_no_name(capsys):
    """A name that no client can have is refused with a sentence."""
    assert main(["key", "help desk"]) == 2
    assert "'help desk'" in capsys.readouterr().err


def test_wrong_settings(monkeypatch, capsys):
    """Wrong settings are told in sentences, all of them, before anything is opened."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo-project")
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("ISSUES_TOPIC", "google")
    assert main([]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ISSUES_TOPIC", "PORT"]


def test_help(capsys):
    """The help names what there is to do."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "python -m publisher key CLIENT" in told
    assert "SIGTERM ends it" in told
