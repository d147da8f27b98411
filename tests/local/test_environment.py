"""Variables that are set for a while."""

import os

from local.environment import Environment


def test_what_was_there_is_put_back(monkeypatch):
    """A variable that was set has its old value again, one that was not is gone."""
    monkeypatch.setenv("ISSUES_TEST_SET", "old")
    monkeypatch.delenv("ISSUES_TEST_UNSET", raising=False)
    environment = Environment()
    environment.set({"ISSUES_TEST_SET": "new", "ISSUES_TEST_UNSET": "new"})
    assert (os.environ["ISSUES_TEST_SET"], os.environ["ISSUES_TEST_UNSET"]) == ("new", "new")
    environment.restore()
    assert os.environ["ISSUES_TEST_SET"] == "old"
    assert "ISSUES_TEST_UNSET" not in os.environ
    os.environ["ISSUES_TEST_SET"] = "changed since"
    environment.restore()
    assert os.environ["ISSUES_TEST_SET"] == "changed since"
