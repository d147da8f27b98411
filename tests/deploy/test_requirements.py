"""The image's list of packages is what the publisher imports, by names that setup.py has."""

import ast
import importlib.util
import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LISTED = ROOT / "publisher/requirements.txt"
OURS = ("publisher", "schemas")
# What is not imported by name, and why it is there.
BY_OTHERS = {"uvloop": "uvicorn's event loop"}


def requirements(lines):
    """Requirements by canonical name; comments and empty lines left out."""
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


def listed():
    return requirements(LISTED.read_text("utf-8").splitlines())


def of_setup():
    """What setup.py needs always, and for the publisher."""
    (call,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    ]
    given = {one.arg: one.value for one in call.keywords}
    always = ast.literal_eval(given["install_requires"])
    return requirements(always + ast.literal_eval(given["extras_require"])["publisher"])


def imports(path):
    """Every module that a file may import, also inside functions and by `import_module`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called == "import_module" and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def file_of(module):
    """A module's file; None where the name is not a module's."""
    if module.split(".")[0] in OURS:
        path = ROOT.joinpath(*module.split("."))
        files = (path.with_suffix(".py"), path / "__init__.py")
        return next((file for file in files if file.is_file()), None)
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def reached():
    """Files of the third-party modules that publisher and what it reaches of schemas import."""
    seen, outside = set(), set()
    waiting = sorted((ROOT / "publisher").glob("*.py"))
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in imports(path):
            file = file_of(module)
            if file and module.split(".")[0] in OURS:
                waiting.append(file)
            elif "site-packages" in str(file):
                outside.add(str(file).rpartition("site-packages/")[2])
    assert ROOT / "schemas/cloudevents.py" in seen
    return outside


def test_names_are_those_of_setup():
    """Each name is in setup.py, with the same extras, and has no version of its own here."""
    declared = of_setup()
    for name, one in listed().items():
        assert name in declared, f"{name} is in {LISTED.name} and not in setup.py"
        assert one.extras == declared[name].extras
        assert not one.specifier, "versions are in constraints.txt"


def test_what_is_imported_is_listed():
    """Each module that is imported comes with a listed package, or with what one itself needs."""
    packages = {name: name for name in listed()}
    for name, one in listed().items():
        for needed in map(Requirement, metadata.requires(name) or ()):
            marks = [{"extra": extra} for extra in one.extras or ("",)]
            if needed.marker is None or any(needed.marker.evaluate(mark) for mark in marks):
                packages.setdefault(canonicalize_name(needed.name), name)
    files = {
        str(file): listing
        for package, listing in packages.items()
        for file in metadata.files(package) or ()
    }
    imported = reached()
    assert sorted(file for file in imported if file not in files) == []
    assert set(listed()) - {files[file] for file in imported} == set(BY_OTHERS)


def test_versions_are_pinned():
    """Each name has one exact version in constraints.txt."""
    pinned = requirements((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    for name in listed():
        assert re.fullmatch(r"==[0-9a-z.]+", str(pinned[name].specifier))
