"""Beam's expansion service on this machine, with the Java worker that runs what it expands.

The worker takes its options from this command line, not from the job: where BigQuery is, and what
to trust there.
"""

from dataclasses import dataclass
from pathlib import Path

from local.certificate import Certificate
from local.ports import HOST
from local.processes import ROOT, Command

JAR = ROOT / "build" / "expansion" / "expansion.jar"
"""What `make expansion` builds."""

_HEAP = "2g"
_CREDENTIALS = "org.apache.beam.sdk.extensions.gcp.auth.NoopCredentialFactory"


@dataclass(frozen=True, slots=True)
class ExpansionService:
    """The service and its worker, one process.

    Args:
        java: The program.
        port: Where it listens on 127.0.0.1, for pipelines and for the runner that wants a worker.
        gateway: `host:port` of `local.gateway`.
        certificate: The gateway's.
        project: The project of calls that name none.
        jar: Where its classes are.
    """

    java: str
    port: int
    gateway: str
    certificate: Certificate
    project: str
    jar: Path = JAR

    @property
    def address(self) -> str:
        """What the job's `--expansion_service` takes."""
        return f"{HOST}:{self.port}"

    def command(self) -> Command:
        """Starts it."""
        trust = self.certificate
        return Command(
            "Beam's expansion service",
            (
                self.java,
                f"-Xmx{_HEAP}",
                f"-Djavax.net.ssl.trustStore={trust.trust_store}",
                f"-Djavax.net.ssl.trustStorePassword={trust.password}",
                "-Djavax.net.ssl.trustStoreType=PKCS12",
                *("-jar", str(self.jar), str(self.port)),
                "--javaClassLookupAllowlistFile=*",
                "--alsoStartLoopbackWorker",
                f"--bigQueryEndpoint=http://{self.gateway}",
                f"--project={self.project}",
                # Else the runner would look for a container engine.
                "--defaultEnvironmentType=EXTERNAL",
                f"--defaultEnvironmentConfig={self.address}",
                # Any small file: else each run would be handed the whole jar, which is here.
                f"--filesToStage={trust.trust_store}",
                f"--credentialFactoryClass={_CREDENTIALS}",
                "--defaultSdkHarnessLogLevel=WARN",
            ),
        )
