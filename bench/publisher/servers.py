"""The services that are compared, each as a command that is pinned to one core."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.publisher.pinned import SERVER_CORE, pinned
from local.emulators import PUBSUB_EMULATOR_HOST
from local.layout import PROJECT
from local.ports import HOST, Ports
from local.processes import ROOT, Child, Command, Processes
from local.web import serving

_READY_SECONDS = 60.0
# Measured for the way that does not wait, 64 connections: 8 threads are the fastest of 8, 16, 32
# and 64; a service that waits answers at most one request a thread and ack.
_THREADS_NOT_WAITING = 8
_THREADS_WAITING = 64


@dataclass(frozen=True, slots=True)
class Server:
    """One way to build the service.

    Args:
        name: What tables call it.
        argv: Starts it on a port.
        waits: Whether a 2xx means that Pub/Sub has the message.
    """

    name: str
    argv: Callable[[int], tuple[str, ...]]
    waits: bool = True


def _gunicorn(name: str, threads: int) -> Callable[[int], tuple[str, ...]]:
    return lambda port: (
        *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}"),
        *("--workers", "1", "--worker-class", "gthread", "--threads", str(threads)),
        *("--timeout", "0", "--log-level", "error", f"bench.publisher.earlier:{name}"),
    )


def _functions_framework(port: int) -> tuple[str, ...]:
    source = str(ROOT / "bench" / "publisher" / "earlier.py")
    return (
        *(sys.executable, "-m", "functions_framework", "--host", HOST, "--port", str(port)),
        *("--target", "function", "--source", source),
    )


EARLIER = Server("earlier, not waiting", _gunicorn("not_waiting", _THREADS_NOT_WAITING), False)
EARLIER_WAITING = Server("earlier, waiting", _gunicorn("waiting", _THREADS_WAITING))
FUNCTIONS_FRAMEWORK = Server("functions-framework", _functions_framework)
PUBLISHER = Server("this publisher", lambda _: (sys.executable, "-m", "publisher"))

SERVERS = (EARLIER, EARLIER_WAITING, FUNCTIONS_FRAMEWORK, PUBLISHER)


class Service:
    """A server that runs.

    Args:
        processes: What starts it, and ends it if the bench breaks off.
        server: Which one.
        pubsub: `host:port` where it finds Pub/Sub.
        topic: The topic's name.
        core: The core that it runs on; None for any.
        **environ: More variables of its environment.
    """

    def __init__(
        self,
        processes: Processes,
        server: Server,
        pubsub: str,
        topic: str,
        core: int | None = SERVER_CORE,
        **environ: str,
    ) -> None:
        self._processes = processes
        port = Ports().take(0)
        self.address = f"{HOST}:{port}"
        self._command = Command(
            server.name,
            pinned(server.argv(port), core),
            env={
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "ISSUES_TOPIC": topic,
                PUBSUB_EMULATOR_HOST: pubsub,
                "HOST": HOST,
                "PORT": str(port),
                "THREADS": str(_THREADS_WAITING),  # functions-framework's own
                "PYTHONPATH": str(ROOT),  # and it looks for modules beside its source
                **environ,
            },
            without=("K_SERVICE",),
        )
        self._child: Child | None = None
        self.start()

    @property
    def pid(self) -> int:
        """Its process id, which leads its group."""
        return self.child.pid

    @property
    def child(self) -> Child:
        """Its process.

        Raises:
            RuntimeError: It does not run.
        """
        if self._child is None:
            raise RuntimeError("the service does not run")
        return self._child

    def start(self) -> float:
        """Starts it, always on the same port.

        Returns:
            The seconds until it served.
        """
        self._child = self._processes.start(self._command)
        return self._child.wait_ready(_serves(self.address), _READY_SECONDS)

    def stop(self) -> str:
        """SIGTERM, and SIGKILL if it takes more than ten seconds; how it ended."""
        child, self._child = self.child, None
        return self._processes.stop(child)

    def kill(self) -> None:
        """SIGKILL to it and its children."""
        child, self._child = self.child, None
        self._processes.kill(child)


def _serves(address: str) -> Callable[[Child], bool]:
    # Not /ready: of these servers only the publisher has one.
    return serving(address, "live")
