"""Flink on this machine, for one job at a time, with Beam's job server and Python workers.

The one engine here that runs Beam's Java sink on an unbounded input. It is a bench's: Beam's sink
asks for no stable input, so on Flink a kill can double rows.
"""

import json
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.ports import HOST, Ports, listens
from local.processes import ROOT, Child, Command, Processes
from local.web import answers

JAR = ROOT / "build" / "flink" / "flink.jar"
"""What `make flink` builds."""

_READY_SECONDS = 120.0
_REST_SECONDS = 20.0
_CORES = 2
_ENDED = ("CANCELED", "FAILED", "FINISHED")
_OPENED = (
    *("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "sun.nio.ch"),
    *("java.text", "java.time", "java.util", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "java.util.concurrent.locks"),
)
_OPENS = (
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED),
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
)
# Of a TaskManager that is started without Flink's own script, which works them out.
_MEMORY = {
    "taskmanager.cpu.cores": str(_CORES),
    "taskmanager.memory.network.min": "128mb",
    "taskmanager.memory.network.max": "128mb",
    "taskmanager.memory.framework.off-heap.size": "128mb",
    "taskmanager.memory.framework.heap.size": "128mb",
    "taskmanager.memory.task.heap.size": "1024mb",
    "taskmanager.memory.task.off-heap.size": "128mb",
    "taskmanager.memory.managed.size": "256mb",
    "taskmanager.memory.jvm-metaspace.size": "256mb",
    "taskmanager.memory.jvm-overhead.min": "192mb",
    "taskmanager.memory.jvm-overhead.max": "192mb",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs.

    Args:
        rest: `host:port` of Flink's REST.
        flags: Beam's, by which a job runs there.
        task_manager: It runs the job.
        python: It runs the job's Python steps.
    """

    rest: str
    flags: tuple[str, ...]
    task_manager: Child
    python: Child

    def cancel(self) -> None:
        """Cancels every job; what it held is thrown away."""
        for job in self._ask("GET", "/jobs")["jobs"]:
            if job["status"] not in _ENDED:
                self._ask("PATCH", f"/jobs/{job['id']}?mode=cancel")

    def slots(self) -> int:
        """How many tasks it takes; none before its TaskManager is there."""
        return int(self._ask("GET", "/overview")["slots-total"])

    def idle(self) -> bool:
        """Whether no job runs."""
        return all(job["status"] in _ENDED for job in self._ask("GET", "/jobs")["jobs"])

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"http://{self.rest}{path}", method=method)
        with urllib.request.urlopen(request, timeout=_REST_SECONDS) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")


def start(processes: Processes, java: str, folder: Path) -> Cluster:
    """Starts it, on free ports; the processes end with `processes`.

    Raises:
        NotReadyError: Something did not start.
    """
    ports = Ports()
    rpc, blob, rest, job, artifact, pool = (str(ports.take(0)) for _ in range(6))
    conf = folder / "conf"
    conf.mkdir(parents=True)
    (conf / "flink-conf.yaml").write_text(_conf(folder, rpc, blob, rest))
    entry = "org.apache.flink.runtime"
    jobs = processes.start(
        Command(
            "Flink JobManager",
            (java, "-Xmx1g", *_OPENS, "-cp", str(JAR),
             f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", str(conf)),
        )
    )  # fmt: skip
    memory = [part for name, value in _MEMORY.items() for part in ("-D", f"{name}={value}")]
    tasks = processes.start(
        Command(
            "Flink TaskManager",
            (java, "-Xmx1500m", "-XX:MaxDirectMemorySize=700m", *_OPENS, "-cp", str(JAR),
             f"{entry}.taskexecutor.TaskManagerRunner", "--configDir", str(conf), *memory),
        )
    )  # fmt: skip
    server = processes.start(
        Command(
            "Beam's job server",
            (java, "-Xmx2g", *_OPENS, "-jar", str(JAR), f"--flink-master={HOST}:{rest}",
             "--job-host=localhost", f"--job-port={job}", f"--artifact-port={artifact}",
             "--expansion-port=-1", f"--artifacts-dir={folder / 'artifacts'}"),
        )
    )  # fmt: skip
    python = processes.start(
        Command(
            "Python workers",
            (sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main",
             f"--service_port={pool}"),
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                 "PYTHONPATH": str(ROOT)},
        )
    )  # fmt: skip
    jobs.wait_ready(lambda _: answers(f"{HOST}:{rest}/overview"), _READY_SECONDS)
    server.wait_ready(lambda _: listens("localhost", int(job)), _READY_SECONDS)
    python.wait_ready(lambda _: listens("localhost", int(pool)), _READY_SECONDS)
    flags = (
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{job}",
        f"--artifact_endpoint=localhost:{artifact}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{pool}",
        "--streaming",
        "--checkpointing_interval=10000",
        "--min_pause_between_checkpoints=1000",
        f"--parallelism={_CORES}",
    )
    cluster = Cluster(f"{HOST}:{rest}", flags, tasks, python)
    tasks.wait_ready(lambda _: cluster.slots() > 0, _READY_SECONDS)
    return cluster


def _conf(folder: Path, rpc: str, blob: str, rest: str) -> str:
    return "\n".join(
        (
            f"jobmanager.rpc.address: {HOST}",
            f"jobmanager.rpc.port: {rpc}",
            f"jobmanager.bind-host: {HOST}",
            f"rest.address: {HOST}",
            f"rest.bind-address: {HOST}",
            f"rest.port: {rest}",
            f"taskmanager.host: {HOST}",
            f"taskmanager.bind-host: {HOST}",
            f"blob.server.port: {blob}",
            f"taskmanager.numberOfTaskSlots: {_CORES}",
            "jobmanager.memory.process.size: 1600m",
            "taskmanager.memory.process.size: 3072m",
            "state.backend.type: hashmap",
            f"state.checkpoints.dir: {(folder / 'checkpoints').as_uri()}",
            "classloader.resolve-order: parent-first",
            f"io.tmp.dirs: {folder / 'tmp'}",
            "",
        )
    )
