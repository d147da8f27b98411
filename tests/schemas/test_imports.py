"""Which package may import which, and what importing the contracts loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("schemas", "transforms", "pipeline", "publisher", "local", "bench", "tests", "run_dataflow")
ALLOWED = {
    "schemas": {"schemas"},
    "transforms": {"schemas", "transforms"},
    "pipeline": {"schemas", "transforms", "pipeline"},
    "publisher": {"schemas", "publisher"},
    "local": {"schemas", "transforms", "pipeline", "publisher", "local", "run_dataflow"},
}
WITHOUT_BEAM = ("schemas", "publisher")
OPENS_CLIENTS = {"schemas.live", "schemas.apply"}


def imports(source):
    """The modules and names that a module imports, wherever in it, as dotted names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ("." * node.level) + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def modules(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no module of {package} was found"
    return files


def faults(package, source):
    """The imports of a module that its package may not have."""
    found = []
    for name in imports(source):
        top = name.split(".")[0]
        if top in OURS and top not in ALLOWED[package]:
            found.append(name)
        if name.startswith("."):
            found.append(f"relative: {name}")
        if top == "apache_beam" and package in WITHOUT_BEAM:
            found.append(name)
        if top in OURS and top != package and any(p.startswith("_") for p in name.split(".")[1:]):
            found.append(f"private: {name}")
    return found


@pytest.mark.parametrize("package", list(ALLOWED))
def test_imports_flow_one_way(package):
    """Schemas <- transforms <- pipeline; publisher imports schemas only; local public names.

    Neither schemas nor publisher imports Beam, and no package another's private names.
    """
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in modules(package)
        if (wrong := faults(package, path.read_text("utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("schemas", "import apache_beam as beam"),
        ("schemas", "from transforms.decode import DecodeEvents"),
        ("schemas", "def f():\n    import pipeline.build"),
        ("transforms", "from pipeline import metrics"),
        ("publisher", "from apache_beam.metrics import Metrics"),
        ("publisher", "from transforms import decode"),
        ("pipeline", "from publisher.app import app"),
        ("local", "from pipeline.pull import _Pull"),
        ("transforms", "from . import decode"),
    ],
)
def test_the_rule_sees_a_breach(package, source):
    """The check itself: each kind of breach is found, also inside a function."""
    assert len(faults(package, source)) == 1


def loaded(code, *prefixes):
    """Which modules under the prefixes are loaded after code ran in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [
        name
        for name in done.stdout.split()
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    ]


CLIENTS = (
    "google.cloud.bigquery", "google.cloud.bigquery_storage_v1", "google.cloud.pubsub_v1",
    "google.pubsub_v1", "google.cloud.firestore", "google.auth", "google.api_core", "grpc",
    "apache_beam",
)  # fmt: skip


def test_importing_schemas_loads_no_cloud_client():
    """All of schemas but live and apply: no client, no gRPC, no Beam, in a fresh interpreter."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules("schemas")
    }
    assert names > OPENS_CLIENTS
    code = "\n".join(f"import {name}" for name in sorted(names - OPENS_CLIENTS))
    assert loaded(code, *CLIENTS) == []
    assert loaded(f"{code}\nimport schemas.live", "google.cloud.bigquery")  # the check can fail


def test_importing_the_publisher_loads_no_beam():
    """The publisher's image is installed without Beam."""
    assert loaded("import publisher.main", "apache_beam", "transforms", "pipeline") == []
