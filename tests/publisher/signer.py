"""A stand-in for Google: signs ID tokens, and serves its public keys over HTTP."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "https://firestore-to-pubsub-abcdefghij-ue.a.run.app"
ACCOUNT = "trigger@demo-project.iam.gserviceaccount.com"
ISSUER = "https://accounts.google.com"


class Signer:
    """Keys by their ids, and what they sign."""

    def __init__(self):
        self.keys = {}
        self.rotate("first")

    def rotate(self, kid):
        """Adds a key and signs with it from now on."""
        self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = kid

    def claims(self, **changed):
        """What Eventarc's token says; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            "aud": AUDIENCE,
            "azp": "123456789012345678901",
            "email": ACCOUNT,
            "email_verified": True,
            "exp": now + 3_600,
            "iat": now,
            "iss": ISSUER,
            "sub": "123456789012345678901",
        } | changed
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, kid=None, key=None, algorithm="RS256", headers=None, **claims):
        """A token, by default right in everything.

        Args:
            kid: The key it names; the newest by default.
            key: What signs it, where that is not the key it names.
            algorithm: Of the signature.
            headers: Further ones.
            claims: Those that differ; None leaves one out.
        """
        kid = kid or self.kid
        key = self.keys[kid] if key is None else key
        return jwt.encode(self.claims(**claims), key, algorithm, {"kid": kid} | (headers or {}))

    def jwks(self):
        """The public keys, as Google serves them."""
        keys = [
            json.loads(RSAAlgorithm.to_jwk(key.public_key()))
            | {"kid": kid, "use": "sig", "alg": "RS256"}
            for kid, key in self.keys.items()
        ]
        for key in keys:
            key.pop("key_ops")
        return json.dumps({"keys": keys}).encode()


class KeyServer:
    """Serves a signer's keys on 127.0.0.1.

    Args:
        signer: Whose.
    """

    def __init__(self, signer):
        self.signer = signer
        self.status = 200
        self.headers = {"Cache-Control": "public, max-age=21000, must-revalidate"}
        self.requests = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __enter__(self):
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                served.requests += 1
                served.may_answer.wait(30)
                body = served.signer.jwks()
                self.send_response(served.status)
                for name, value in served.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                """Nothing: the tests read the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/oauth2/v3/certs"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)
