"""What the stateful Deduplicate costs, as it is measured."""

from apache_beam.coders import BytesCoder
from apache_beam.coders.coders import _TimerCoder
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.transforms.window import GlobalWindows

from bench import dedup
from local.load import change
from transforms.first_of_key import keyed


def test_each_cost_is_measured(monkeypatch):
    """Bytes and times of each kind; what is added up is what is shown; Beam's own is put back."""
    monkeypatch.setattr(dedup, "MESSAGES", 200)
    monkeypatch.setattr(dedup, "_FEW", 50)
    monkeypatch.setattr(dedup, "_ROUNDS", 2)
    before = worker_handlers.STATE_CACHE_SIZE_MB
    figures = dedup.run()
    assert before == worker_handlers.STATE_CACHE_SIZE_MB
    sizes = [
        figures[f"{what}, bytes a key"] for what in ("key", "state", "timer, its key among it")
    ]
    assert figures["key, state and timer, bytes a key"] == sum(sizes)
    assert figures["the same for 100 keys/s over a day, MB"] == round(sum(sizes) * 8.64)
    assert figures["data, bytes a message"] < figures["shuffled, bytes a message"]
    assert figures["shuffled, bytes a message"] < figures["shuffled if pickled, bytes a message"]
    assert figures["to bytes and back, us a message"] > 0


def test_a_key_costs_what_the_page_says():
    """16 bytes of key, one of state, and a timer that is set for that key."""
    message = change(1)
    assert dedup.bytes_of_a_key(message) == {"key": 16, "state": 1, "timer, its key among it": 40}
    coder = _TimerCoder(BytesCoder(), GlobalWindows().get_window_coder())
    assert coder.decode(dedup.timer(message)).user_key == keyed(message)[0]
