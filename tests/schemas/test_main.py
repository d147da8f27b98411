"""`python -m schemas`: what it prints, what it returns, and that it starts without a cloud."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.command_line import BROKEN_PIPE, EPILOG, main, parser
from schemas.live import BIGQUERY_EMULATOR_HOST
from schemas.render import markdown, schema_json, terraform
from schemas.table_file import parse_tables, shipped

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "manual_and_poison.jsonl"
BAD = "table: t\ncolumns:\n  - path: a\n    type: int\n"
BAD_LINE = (
    "$.columns[0].type: 'int' is no column type (known: STRING, INT64, FLOAT64, BOOL, BYTES, "
    "TIMESTAMP, JSON)"
)


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs a command line in a folder of its own; the exit code and both outputs."""
    monkeypatch.chdir(tmp_path)

    def go(*argv):
        capsys.readouterr()
        try:
            code = main(argv)
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def write(name, text):
    Path(name).write_text(text, "utf-8")
    return name


def test_check_says_what_is_fine(run):
    """A line for each table; the file that ships where none is named."""
    columns = len(shipped()[0].columns)
    assert run("check") == (0, f"table issues_stream: structured, {columns} columns\n", "")
    file = write("a.yaml", "table: a\nlayout: flat\n---\ntable: b\nlayout: flat\n")
    said = "table a: flat, 4 columns\ntable b: flat, 4 columns\n"
    assert run("check", file) == (0, said, "")


def test_check_says_what_is_wrong(run):
    """Every problem with file, line and path on standard output; exit code 1."""
    files = [write("a.yaml", BAD), write("b.yaml", "table: issues_latest\n")]
    assert run("check", *files) == (1, f"a.yaml:4: {BAD_LINE}\n", "")
    code, out, _ = run("check", "b.yaml")
    taken = "is already taken by table issues_stream (schemas/issues.yaml, the file that ships)"
    remedy = "(`default: true` in a file of your own takes the place of that file)"
    assert (code, out) == (1, f"b.yaml:1: $.table: the name issues_latest {taken} {remedy}\n")


def test_check_reads_standard_input(run, monkeypatch):
    """`-`, such as what `infer` proposes."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    assert run("check", "-") == (1, f"-:4: {BAD_LINE}\n", "")


def test_check_for_scripts(run):
    """One JSON object, with the place in parts."""
    code, out, err = run("check", write("a.yaml", BAD), "--format", "json")
    (problem,) = json.loads(out)["problems"]
    assert (code, err) == (1, "")
    assert problem == {
        "file": "a.yaml",
        "line": 4,
        "path": "$.columns[0].type",
        "where": "a.yaml:4: $.columns[0].type",
        "what": "'int' is no column type",
        "remedy": "known: STRING, INT64, FLOAT64, BOOL, BYTES, TIMESTAMP, JSON",
    }
    code, out, _ = run("check", write("b.yaml", "table: b\nlayout: flat\n"), "--format", "json")
    assert (code, json.loads(out)) == (
        0,
        {"problems": [], "tables": [{"table": "b", "columns": 4}]},
    )


@pytest.mark.parametrize("verb", ["diff", "apply", "render"])
def test_a_wrong_file_is_refused_by_the_other_verbs(run, verb):
    """On standard error, with exit code 2: nothing was asked or done."""
    more = () if verb == "render" else ("--dataset", "project.dataset")
    assert run(verb, write("a.yaml", BAD), *more) == (2, "", f"a.yaml:4: {BAD_LINE}\n")
    code, out, _ = run(verb, "a.yaml", *more, "--format", "json")
    assert (code, json.loads(out)["problems"][0]["line"]) == (2, 4)


@pytest.mark.parametrize("verb", ["check", "diff", "apply", "infer", "render"])
def test_files_that_cannot_be_read_are_refused(run, verb):
    """With the reason."""
    more = ("--dataset", "project.dataset") if verb in ("diff", "apply") else ()
    code, out, err = run(verb, "nowhere", *more)
    assert (code, out) == (2, "")
    assert err.startswith("nowhere: cannot be read: [Errno 2] No such file")
    Path("bytes").write_bytes(b"\xff")
    code, out, err = run(verb, "bytes", *more)
    assert (code, out) == (2, "")
    assert err.startswith("bytes: cannot be read: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: VERB"),
        (["drop"], "invalid choice: 'drop'"),
        (["diff"], "the following arguments are required: --dataset"),
        (["diff", "--dataset", "d"], "argument --dataset: 'd' is not of the form PROJECT.DATASET"),
        (["diff", "--dataset", "a.b.c"], "'a.b.c' is not of the form PROJECT.DATASET"),
        (["diff", "--dataset", "x..y"], "'x..y' is not of the form PROJECT.DATASET"),
        (["diff", "--dataset=-.d"], "'-.d' is not of the form PROJECT.DATASET"),
        (["diff", "--dataset", "a.b:.d"], "'a.b:.d' is not of the form PROJECT.DATASET"),
        (["apply", "--data", "p.d"], "the following arguments are required: --dataset"),
        (["infer"], "the following arguments are required: FILE"),
        (["infer", "x", "--levels", "0"], "argument --levels: '0' is no number from 1"),
        (["render", "--as", "sql"], "argument --as: invalid choice: 'sql'"),
        (["render", "--table", "nope"],
         "--table: 'nope' is in none of the files (there: issues_stream)"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_refused(run, argv, said):
    """With exit code 2 and what is wrong; flags are not abbreviated."""
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("verb", ["check", "diff", "apply", "infer", "render"])
def test_every_verb_has_help_in_sentences(run, verb):
    """What it does, and each flag with what it is for; the whole has the exit codes."""
    code, out, _ = run(verb, "--help")
    sentences = re.split(r"\n\n", out)
    assert code == 0
    assert sentences[1].endswith(".")
    assert "--format" in out
    assert EPILOG.strip() in run("--help")[1]


def test_infer_writes_a_file_that_check_takes(run):
    """The proposal on standard output, what was not used on standard error."""
    code, out, err = run("infer", str(SAMPLE))
    (table,) = parse_tables([("t.yaml", out)])
    assert (code, table.name, table.default) == (0, "manual_issues", True)
    first = err.splitlines()[0]
    assert first.startswith(f"not used: 4 InvalidJson, the first {SAMPLE}:19: the data are a list")
    assert run("check", write("t.yaml", out))[0] == 0


def test_infer_for_scripts(run):
    """The same as one JSON object."""
    code, out, _ = run("infer", str(SAMPLE), "--format", "json")
    told = json.loads(out)
    assert (code, [table["table"] for table in told["tables"]]) == (0, ["manual_issues"])
    assert told["not_used"][0] == {
        "error": "InvalidJson",
        "count": 4,
        "first": f"{SAMPLE}:19",
        "reason": "the data are a list, where a JSON object is expected",
    }


def test_infer_without_an_event_is_refused(run):
    """There is nothing to propose a table for."""
    code, out, err = run("infer", str(SAMPLE), "--collection", "nope")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"{SAMPLE}: no event of nope to propose a table for"


def test_lines_of_a_recording_end_with_a_line_feed_only(run):
    """A message may hold other characters that end lines, as JSON may."""
    body = json.dumps({"a": "x\u2028y\x85z"}, ensure_ascii=False).encode()
    import base64

    attributes = {"ce-type": "issues.manual.created", "ce-id": "1\u2028", "ce-source": "s"}
    record = {"data": base64.b64encode(body).decode(), "attributes": attributes}
    file = write("r.jsonl", json.dumps(record, ensure_ascii=False) + "\n")
    code, out, err = run("infer", file)
    assert (code, err) == (0, "")
    assert "type: STRING  # string 1: 0% null" in out


def test_render_writes_each_form(run):
    """The schema by default; Terraform and Markdown of several tables one after the other."""
    (table,) = shipped()
    code, out, _ = run("render")
    assert (code, json.loads(out)) == (0, schema_json(table))
    assert run("render", "--as", "terraform") == (0, terraform(table), "")
    two = write("t.yaml", "table: a\nlayout: flat\n---\ntable: b\nlayout: flat\n")
    a, b = (table for table in parse_tables([("", Path(two).read_text())], shipped())[1:])
    assert run("render", two, "--as", "markdown") == (0, f"{markdown(a)}\n{markdown(b)}", "")
    code, out, _ = run("render", two, "--as", "terraform", "--format", "json")
    assert json.loads(out) == {"tables": {"a": terraform(a), "b": terraform(b)}}
    code, out, _ = run("render", two, "--format", "json")
    assert json.loads(out) == {"tables": {"a": schema_json(a), "b": schema_json(b)}}


def test_a_schema_is_of_one_table(run):
    """`bq` takes one list of columns: which table's has to be said."""
    two = write("t.yaml", "table: a\nlayout: flat\n---\ntable: b\nlayout: flat\n")
    said = "2 tables, and a schema is of one (add --table NAME: a, b; or --format json for all)"
    assert run("render", two) == (2, "", f"--as schema: {said}\n")
    code, out, _ = run("render", two, "--table", "b")
    assert (code, len(json.loads(out))) == (0, 4)


@pytest.mark.parametrize("verb", ["diff", "apply"])
def test_a_service_that_does_not_answer_is_told(run, monkeypatch, verb):
    """At once, in one line, with exit code 3."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv(BIGQUERY_EMULATOR_HOST, address)
        code, out, err = run(verb, "--dataset", "project.dataset")
        assert (code, out) == (3, "")
        assert err.startswith("BigQuery: ConnectionError: ")
        assert err.endswith("; changes done before it: 0\n")
        code, out, _ = run(verb, "--dataset", "project.dataset", "--format", "json")
    told = json.loads(out)
    assert (code, told["dataset"], told["differences"]) == (3, "project.dataset", [])
    assert told["error"].startswith("BigQuery: ConnectionError: ")


@pytest.mark.parametrize(
    "argv", [["check"], ["render"], ["infer", "tests/data/manual_and_poison.jsonl"], ["--help"]]
)
def test_verbs_without_a_cloud_load_no_client(argv):
    """They start quickly: neither Google's clients nor gRPC nor Beam are imported."""
    code = (
        "import sys, io, contextlib\n"
        "from schemas.command_line import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({argv!r})\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "schemas.verbs" in loaded
    assert not loaded & {"google.cloud.bigquery", "google.auth", "google.api_core", "grpc",
                         "requests", "apache_beam"}  # fmt: skip


@pytest.mark.parametrize("name", ["p.d", "my-project-1.issues_ds", "example.com:my-project.D_1"])
def test_a_dataset_is_of_a_project(name):
    """An old project's id has a domain."""
    assert parser().parse_args(["diff", "--dataset", name]).dataset == name


def piped(argv, environment=None, **more):
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **(environment or {})}
    return subprocess.run(
        [sys.executable, "-m", "schemas", *argv],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        timeout=60, check=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize("argv", [["check"], ["render"], ["--help"]])
def test_a_reader_that_is_gone_ends_it_quietly(argv):
    """As `| head` does: no traceback, and an exit code that is none of the others."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = piped(argv, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


def test_characters_that_an_output_lacks_are_escaped():
    """On both outputs, rather than a traceback."""
    text = "table: t\nlayout: \u00e9\U0001f600\n"
    ascii_ = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = piped(["check", "-"], ascii_, input=text, stdout=subprocess.PIPE, encoding="utf-8")
    assert (done.returncode, done.stderr) == (1, "")
    assert r"'\xe9\U0001f600' is no layout" in done.stdout
    done = piped(["check", "\u00e9"], ascii_, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(r"\xe9: cannot be read: ")


def test_the_module_runs():
    """`python -m schemas` ends with the exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "schemas", "check", "-"],
        cwd=ROOT, input=BAD, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, f"-:4: {BAD_LINE}\n", "")
