"""The bench of the Java sink's streams: its arithmetic, and what it says without Flink."""

import pytest

from bench import streams
from bench.streams import AUTO, FLOOD, Setting, flink, lag
from local.processes import NotReadyError


def made(rate, seconds):
    """When rows are made, at a rate."""
    return [n / rate for n in range(rate * seconds)]


def polls(rate, behind, seconds):
    """What a query sees four times a second where every row is seen so many seconds late."""
    times = [40 + n / 4 for n in range(4 * seconds)]
    return [(at, round(rate * (at - behind(at)))) for at in times]


def test_lag_of_a_steady_delay():
    """Rows that are all seen four seconds late lag by four seconds."""
    assert lag(polls(100, lambda _: 4.0, 20), made(100, 80)) == {
        "mean lag, s": 4.0,
        "most behind, s": 4.0,
    }


def test_lag_of_batches():
    """Rows that come all at once every ten seconds lag by five in the mean, by ten at the most."""
    found = lag(polls(100, lambda at: at % 10, 40), made(100, 100))
    assert found["mean lag, s"] == pytest.approx(5.0, abs=0.2)
    assert found["most behind, s"] == pytest.approx(10.0, abs=0.3)


def test_settings_are_told_apart():
    """No two settings have one name, under which the figures are kept."""
    names = [str(setting) for setting in streams.SETTINGS]
    assert len(set(names)) == len(names)
    assert str(Setting(5, AUTO, FLOOD)) == "auto-sharding, 5 s, flood"


def test_flink_is_missing(monkeypatch, tmp_path):
    """The message says what to build."""
    monkeypatch.setattr(flink, "JAR", tmp_path / "flink.jar")
    with pytest.raises(NotReadyError, match=r"flink\.jar is missing: make flink"):
        streams.measure([], 1.0)
