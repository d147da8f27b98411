"""Images without a container engine: a Dockerfile's own instructions, carried out in folders.

The Dockerfile itself is read, so that a test can't drift from it; an instruction that is not known
here fails.
"""

import json
import os
import re
import shlex
import shutil
import string
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a Dockerfile.

    Args:
        name: Of `AS`, or its number.
        base: Of FROM.
        instructions: Each as its word and the rest.
    """

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Image:
    """What a stage makes, in a folder.

    Args:
        root: Stands for the container's /.
        workdir: Where the command runs.
        args: Of ARG.
        env: Of ENV.
        command: Of CMD.
        user: Of USER.
    """

    root: Path
    workdir: Path
    args: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    user: str = ""

    def inside(self, path):
        """A path of the container, in the folder."""
        return self.root / path.lstrip("/") if path.startswith("/") else self.workdir / path


def stages(path):
    """The stages of a Dockerfile, in order; a base's ARG is filled in."""
    found, args = [], {}
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        if not word or word.startswith("#"):
            continue
        if word == "FROM":
            base, _, name = string.Template(rest).substitute(args).partition(" AS ")
            found.append((name or str(len(found)), base, []))
        elif found:
            found[-1][2].append((word, rest))
        else:
            assert word == "ARG", f"{word} {rest}: before the first stage"
            args |= [rest.split("=", 1)]
    return [Stage(name, base, tuple(instructions)) for name, base, instructions in found]


def copied(path):
    """What a Dockerfile copies of the checkout."""
    instructions = [one for stage in stages(path) for one in stage.instructions]
    return {
        source
        for word, rest in instructions
        if word == "COPY" and not rest.startswith("--from=")
        for source in shlex.split(rest)[:-1]
    }


def built(path, folder, run, args=(), brought=()):
    """Carries a Dockerfile out; gives each stage's image by name, the last one also as `''`.

    Args:
        path: Of the Dockerfile; its context is the checkout.
        folder: For a folder of each stage.
        run: Does what RUN says: of the image and the words of the command.
        args: Values of ARG, by name.
        brought: Files that a stage's base brings: pairs of the stage's name and a path.
    """
    images = {}
    for stage in stages(path):
        root = folder / stage.name
        root.mkdir()
        root.chmod(0o755)
        image = images[stage.name] = images[""] = Image(root, root)
        for place in (image.inside(place) for name, place in brought if name == stage.name):
            place.parent.mkdir(parents=True)
            place.touch()
        for word, rest in stage.instructions:
            if word == "COPY":
                copy(image, shlex.split(rest), images)
            elif word == "RUN":
                run(image, shlex.split(rest))
            elif word == "ARG":
                name, _, default = rest.partition("=")
                image.args[name] = dict(args).get(name, default)
            else:
                settle(image, word, rest)
    return images


def settle(image, word, rest):
    """An instruction that changes no file."""
    match word:
        case "WORKDIR":
            image.workdir = image.inside(rest)
            image.workdir.mkdir(parents=True, exist_ok=True)
        case "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                text = string.Template(value).substitute(image.args)
                image.env[name] = str(image.inside(text)) if text.startswith("/") else text
        case "USER":
            image.user = rest
        case "CMD":
            image.command = json.loads(rest)
        case _:
            assert word == "EXPOSE", f"{word} {rest}: is not carried out here"


def copy(image, words, images):
    """COPY: from the checkout, or from another stage."""
    *sources, target = words
    origin = None
    if sources[0].startswith("--from="):
        origin = images[sources.pop(0).removeprefix("--from=")]
    for source in sources:
        path = origin.inside(source) if origin else ROOT / source
        _copy(path, image.inside(target), link=origin is not None)


def _copy(source, target, *, link):
    """As COPY does: the content of a folder, a file into a folder."""
    how = os.link if link else shutil.copy2  # what another stage made is there only to be copied
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")  # as .dockerignore says
        ignored = None if link else ignored
        shutil.copytree(source, target, ignore=ignored, copy_function=how, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        how(source, target / source.name)


def kept(rules):
    """The rules of an ignore file: what it leaves out, and what it keeps all the same."""
    lines = [line for line in rules.read_text("utf-8").splitlines() if re.match("[^#]", line)]
    return [line for line in lines if line[0] != "!"], {
        line[1:] for line in lines if line[0] == "!"
    }
