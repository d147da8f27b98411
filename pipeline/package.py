"""What the workers are to install: a copy of the checkout's packages, built away from it."""

import shutil
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, WorkerOptions

from pipeline.options import Settings
from schemas.problem import Problem, ProblemsFound

CHECKOUT = Path(__file__).resolve().parents[1]
SHIPPED = ("pipeline", "publisher", "schemas", "transforms")
"""The packages of setup.py; a test holds the two together."""

_FILES = ("setup.py", "pyproject.toml", "README.md")


def package_flags(settings: Settings, folder: Path) -> list[str]:
    """Beam's flags for what the workers install: what the user says, else the checkout's packages.

    An image that the user names has the packages: what is shipped on top of it would be built by
    each worker, which then needs a way to a package index.

    Args:
        settings: Of the job.
        folder: For the copy that is shipped.

    Raises:
        ProblemsFound: The job does not run from a checkout.
    """
    options = PipelineOptions(list(settings.beam_args))
    named = options.view_as(SetupOptions)
    if (
        named.setup_file
        or named.extra_packages
        or options.view_as(WorkerOptions).sdk_container_image
    ):
        return []
    return [f"--setup_file={copied(folder)}"]


def copied(folder: Path) -> Path:
    """Copies into a folder what setup.py ships, and returns the copy's setup.py.

    A build leaves its notes beside the source. Here that is not the checkout, which may be
    anywhere, of anybody, and in use by another launch.

    Raises:
        ProblemsFound: The job does not run from a checkout, or that cannot be copied.
    """
    missing = [name for name in _FILES if not (CHECKOUT / name).is_file()]
    if missing:
        what = f"{' and '.join(missing)} are not in {CHECKOUT}: there is no package to ship"
        remedy = (
            "launch from a checkout, give --setup_file, or --sdk_container_image with an image "
            "that has the package"
        )
        raise ProblemsFound([Problem("package", what, remedy)])
    try:
        for name in _FILES:
            shutil.copy(CHECKOUT / name, folder)
        for name in SHIPPED:
            shutil.copytree(
                CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
    except OSError as error:
        what = f"cannot be copied from {CHECKOUT} to {folder}: {error}"
        remedy = "make the checkout readable and room in TMPDIR"
        raise ProblemsFound([Problem("package", what, remedy)]) from error
    return folder / "setup.py"
