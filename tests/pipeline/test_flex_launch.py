"""The Flex Template's entry: the launcher's flags as the job takes them, and the pointing jar."""

import zipfile

import pytest

from pipeline.flex_launch import Image, launch_args, write_pointer
from pipeline.options import parse
from schemas.problem import ProblemsFound

IMAGE = Image("r/python:1", "r/java:1", "/opt/issues/expansion.jar")
BROUGHT = [
    "--runner=DataflowRunner",
    "--sdk_container_image=r/python:1",
    "--sdk_harness_container_image_overrides=.*beam_java.*,r/java:1",
]


def test_what_the_image_brings():
    """A template never runs the job in its launcher, and its workers have its own images."""
    assert launch_args([], IMAGE) == BROUGHT


def test_what_the_launch_names_comes_first():
    """A parameter takes the place of the image's own."""
    given = [
        "--runner=DataflowRunner",
        "--sdk_container_image=r/other:2",
        "--sdk_harness_container_image_overrides=.*java.*,r/other-java:2",
    ]
    assert launch_args(given, IMAGE) == given


def test_an_image_without_its_name():
    """Built by hand, it does not know what it is called: the parameters must say it."""
    assert launch_args([], Image("", "", IMAGE.jar)) == ["--runner=DataflowRunner"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("--update=true", ["--update"]),
        ("--update=True", ["--update"]),
        ("--update=false", []),
        ("--update", ["--update"]),
        ("--update=maybe", ["--update=maybe"]),  # for the job's own parser to refuse
        ("--labels=true", ["--labels=true"]),
        ("--output_dataset=false", ["--output_dataset=false"]),
        ("--experiments=a,b=c=d", ["--experiments=a,b=c=d"]),
    ],
)
def test_switches(given, taken):
    """Beam's switches take no value, and a template's parameters always have one."""
    assert launch_args([given], IMAGE) == [*taken, *BROUGHT]


def test_fields_of_the_launch_s_own(caplog):
    """What is about the launcher's machine, or Java's, is named and left out."""
    given = ["--launcher_machine_type=n1-highcpu-2", "--dump_heap_on_oom=true"]
    assert launch_args(given, IMAGE) == BROUGHT
    assert [record.getMessage() for record in caplog.records] == [
        f"not taken, since it is about the launch and not about the job: {each}" for each in given
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--zzz_of_nobody=1", "--help lists the job's own"),
        ("--outpt_dataset=d", "did you mean --output_dataset?"),
        ("--streaming_mode=at_least_once", ""),
    ],
)
def test_a_parameter_that_nobody_knows(given, said):
    """It is refused, as on the command line, and not lost."""
    name = given.partition("=")[0]
    args = launch_args(["--project=demo-project", given], IMAGE)
    with pytest.raises(ProblemsFound) as refused:
        parse(args, lambda: "")
    [problem] = [each for each in refused.value.problems if each.where == name]
    assert str(problem).startswith(f"{name}: is neither the job's flag nor Beam's (")
    assert said in str(problem)


@pytest.mark.parametrize("length", [1, 40, 41, 42, 110, 111, 300])
def test_a_manifest_s_lines(tmp_path, length):
    """Lines have 72 bytes at most, as the JAR File Specification wants, and say the same."""
    jar = "/" + "j" * length
    write_pointer(tmp_path / "p.jar", jar)
    with zipfile.ZipFile(tmp_path / "p.jar") as archive:
        assert archive.namelist() == ["META-INF/MANIFEST.MF"]
        manifest = archive.read("META-INF/MANIFEST.MF").decode()
    assert all(len(line.encode()) <= 70 for line in manifest.split("\r\n"))
    assert manifest.replace("\r\n ", "") == (
        f"Manifest-Version: 1.0\r\nClass-Path: file://{jar}\r\n\r\n"
    )


def test_the_pointer_is_the_same_each_time(tmp_path):
    """Beam stages a file under the hash of its bytes."""
    for name in "ab":
        write_pointer(tmp_path / name, IMAGE.jar)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_outside_of_the_image():
    """Where the Dockerfile's variables are missing, the first of them is named."""
    with pytest.raises(KeyError, match="PYTHON_IMAGE"):
        Image.of({})
