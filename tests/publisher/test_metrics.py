"""Every metric is declared in one list, counted by name, and served to this machine alone."""

import http.client
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from publisher import metrics
from publisher.metrics import KINDS, METRICS, OUTCOMES, REASONS, Metrics, metrics_table
from schemas.problem import ProblemsFound


def value(counted, name, **labels):
    return counted.registry.get_sample_value(name, labels)


def get(host, port, path="/metrics"):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_declared_is_served():
    """What is served is the list: names, kinds, help and every label value, from the start."""
    counted = Metrics()
    serving = counted.serve(0)
    try:
        status, text = get("127.0.0.1", serving.port)
    finally:
        serving.close()
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        if metric.labels:
            ((label, values),) = metric.labels.items()
            samples = [one for one in family.samples if one.name == metric.name]
            assert [one.labels[label] for one in samples] == list(values)
            assert {one.value for one in samples} == {0.0}
        if metric.buckets:
            bounds = [one.labels["le"] for one in family.samples if "le" in one.labels]
            assert bounds == [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
    assert [name for name in families if not name.endswith("_created")] == []


def test_counted():
    """Each call counts once, under its own label."""
    counted = Metrics()
    counted.accepted("event", 3)
    counted.accepted("issue", 1)
    counted.refused("queue_full")
    counted.called("UNAVAILABLE", 8.0, 1000)
    counted.called("OK", 0.02, 7)
    accepted, refused = metrics.ACCEPTED.name, metrics.REFUSED.name
    assert {kind: value(counted, accepted, kind=kind) for kind in KINDS} == {"event": 3, "issue": 1}
    assert {one: value(counted, refused, reason=one) for one in REASONS} == {
        one: float(one == "queue_full") for one in REASONS
    }
    assert {one: value(counted, metrics.CALLS.name, outcome=one) for one in OUTCOMES} == {
        one: float(one in {"OK", "UNAVAILABLE"}) for one in OUTCOMES
    }
    seconds, messages = metrics.CALL_SECONDS.name, metrics.CALL_MESSAGES.name
    assert value(counted, f"{seconds}_sum") == 8.02
    assert value(counted, f"{seconds}_bucket", le="5.0") == 1
    assert value(counted, f"{seconds}_bucket", le="8.0") == 2
    assert value(counted, f"{messages}_bucket", le="5.0") == 0
    assert value(counted, f"{messages}_bucket", le="10.0") == 1
    assert value(counted, f"{messages}_bucket", le="1000.0") == 2


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("accepted", ("form", 1)), ("refused", ("other",)), ("called", ("other", 1.0, 1))],
)
def test_undeclared(method, arguments):
    """A label's value that is not declared is an error of the program."""
    with pytest.raises(KeyError):
        getattr(Metrics(), method)(*arguments)


def test_held():
    """The gauges show what the room holds at the moment they are asked."""
    counted = Metrics()
    room = SimpleNamespace(messages=0, bytes=0)
    counted.watch(room)
    room.messages, room.bytes = 5, 9_000_000
    assert value(counted, metrics.HELD_MESSAGES.name) == 5
    assert value(counted, metrics.HELD_BYTES.name) == 9_000_000


def test_apart():
    """Two services in one process count apart."""
    first, second = Metrics(), Metrics()
    first.refused("internal")
    assert value(second, metrics.REFUSED.name, reason="internal") == 0


def test_reached_from_this_machine_alone():
    """The port is open on 127.0.0.1; 0.0.0.0, which Google's sidecar asks, is the same to Linux."""
    serving = Metrics().serve(0)
    try:
        assert get("0.0.0.0", serving.port)[0] == 200
        for other in ("127.0.0.2", "::1"):
            with pytest.raises(OSError):
                socket.create_connection((other, serving.port), 5).close()
    finally:
        serving.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", serving.port), 5).close()


def test_taken_port():
    """A taken port is a problem with a name, and what to do."""
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ProblemsFound) as found,
    ):
        Metrics().serve(other.getsockname()[1])
    (problem,) = found.value.problems
    assert problem.where == "METRICS_PORT"
    assert re.search(r"127\.0\.0\.1:\d+ is not to be had: Address already in use", problem.what)
    assert problem.remedy


def test_docs():
    """The page has the table as the list makes it."""
    page = Path(__file__).parents[2] / "docs/publisher.md"
    assert metrics_table() in page.read_text("utf-8")


def test_table():
    """The table of the docs has one row a metric, in order, and each label's values."""
    head, rule, *rows = metrics_table().splitlines()
    assert head.count("|") == rule.count("|") == 5
    assert [row.split("`")[1] for row in rows] == [metric.name for metric in METRICS]
    for row, metric in zip(rows, METRICS, strict=True):
        assert row.count("|") == 5
        assert all(one in row for values in metric.labels.values() for one in values)
