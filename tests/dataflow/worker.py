"""What a worker does with a staged launch: installs the package, and unpickles every DoFn."""

import base64
import json
import subprocess
import sys
from pathlib import Path

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.utils import proto_utils

ROOT = Path(__file__).parents[2]
PICKLED = "beam:dofn:pickled_python_info:v1"
SECONDS = 120

_UNPICKLE = """
import base64, json, sys
folder, checkout = sys.argv[1:]
sys.path[:] = [folder, *(p for p in sys.path if p and not p.startswith(checkout) or "/lib/" in p)]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
from apache_beam.internal import pickler
for name, payload in json.load(sys.stdin).items():
    try:
        do_fn = pickler.loads(base64.b64decode(payload))[0]
    except Exception as error:
        print(name, "FAILED", repr(error))
    else:
        print(name, type(do_fn).__module__)
import pipeline.append
print("shipped", pipeline.append.__file__.startswith(folder))
"""


def payload(transform, kind):
    """A transform's payload as what it is."""
    return proto_utils.parse_Bytes(transform.spec.payload, kind)


def installed(package, folder):
    """Installs a staged package alone in an empty folder, without a network; returns its files."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check"),
            *("--target", str(folder), str(package)),
        ],
        cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def do_fns(graph):
    """The pickled DoFns of a graph, by their steps' names."""
    found = {}
    for each in graph.components.transforms.values():
        if each.spec.urn == common_urns.primitives.PAR_DO.urn:
            par_do = payload(each, beam_runner_api_pb2.ParDoPayload)
            if par_do.do_fn.urn == PICKLED:
                found[each.unique_name] = base64.b64encode(par_do.do_fn.payload).decode()
    return found


def unpickled(graph, folder):
    """Unpickles every DoFn with nothing of this project but what is in a folder.

    Returns:
        The module of each DoFn by the step's name.
    """
    pickled = do_fns(graph)
    ended = subprocess.run(
        [sys.executable, "-P", "-c", _UNPICKLE, str(folder), str(ROOT)],
        cwd=folder, input=json.dumps(pickled), capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *lines, shipped = ended.stdout.splitlines()
    assert shipped == "shipped True"
    assert [line for line in lines if "FAILED" in line] == []
    assert len(lines) == len(pickled)
    return dict(line.rsplit(" ", 1) for line in lines)
