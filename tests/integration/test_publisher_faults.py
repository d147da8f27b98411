"""The publisher under load and faults, in short: `make chaos-publisher` is the long form."""

import pytest

from bench.publisher import chaos
from bench.publisher.accounts import account, fresh
from bench.publisher.client import opened, run
from bench.publisher.servers import PUBLISHER, Service
from bench.publisher.tally import NO_ANSWER
from bench.publisher.topic import Topic
from local.fault_proxy import Faults
from local.processes import Processes

pytestmark = pytest.mark.emulators

ALL = (
    chaos.Phase("10% late", chaos.grpc_faults(Faults(share=0.1, seconds=0.3)), 1.0),
    chaos.Phase("10% UNAVAILABLE before", chaos.grpc_faults(Faults(share=0.1, before=True)), 1.0),
    chaos.Phase("10% UNAVAILABLE after", chaos.grpc_faults(Faults(share=0.1, after=True)), 1.0),
    chaos.Phase("resets", chaos.resets(0.2), 1.0),
    chaos.Phase("outage", chaos.outage, 3.0, connections=800),
    chaos.Phase("SIGKILL", chaos.killed, 0.5),
    chaos.Phase("SIGTERM", chaos.terminated, 0.5),
)


def test_faults(tmp_path):
    """Whatever happens, a 2xx is on the topic, and what has none is at most a repeat."""
    accounts = {each.phase: each for each in chaos.phases(ALL, tmp_path)}
    assert [each for each in accounts.values() if not each.holds] == []
    assert list(accounts) == [phase.name for phase in ALL]
    assert all(each.taken for each in accounts.values())
    # The faults were real: each left its trace.
    assert accounts["10% late"].notes["calls hit"] > 0
    assert accounts["10% UNAVAILABLE before"].notes["calls hit"] > 0
    assert accounts["10% UNAVAILABLE after"].repeats > 0
    assert accounts["outage"].statuses[429] > 0
    assert accounts["SIGKILL"].statuses[NO_ANSWER] > 0


def test_overload(tmp_path):
    """Far more than it takes: all is answered, refused with Retry-After or taken, none lost."""
    with Processes(tmp_path) as processes, Topic(processes) as topic:
        service = Service(processes, PUBLISHER, topic.address, topic.name, core=None)
        stream, found = fresh()
        tally = run(opened(service.address, stream, 20_000.0, 900, 3.0))
        topic.settle(stream, found, tally.taken(), 4.0)
        assert account("overload", tally, found).holds
        assert set(tally.statuses()) <= {200, 204, 429}
        assert tally.statuses()[429] > 0
        assert tally.taken()
        assert (tally.without_retry_after, tally.refused_connections) == (0, 0)
        stream, found = fresh()
        after = run(opened(service.address, stream, 50.0, 50, 1.0))
        assert set(after.statuses()) == {200, 204}
        assert service.stop().startswith("ended")
