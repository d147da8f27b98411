# The publisher's image: `docker build .`, or `gcloud run deploy --source .`, which looks here.
# tests/deploy/test_image.py carries out these COPY and RUN lines in a folder and runs the result.
#
# The tag names one version; what it points at can still be rebuilt by its makers. To pin the bytes,
# put the digest behind it (python:...@sha256:...), in both stages.
FROM python:3.11.15-slim-trixie AS builder
WORKDIR /app
COPY publisher/requirements.txt constraints.txt /tmp/
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --only-binary=:all: --no-compile --target lib -r /tmp/requirements.txt -c /tmp/constraints.txt
COPY schemas schemas
COPY publisher publisher
# Compiled here, since nothing is written at run time; unchecked: sources don't change beside it,
# and layers change their times.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM python:3.11.15-slim-trixie
# No package manager of Python's own where the service runs.
RUN python -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel
WORKDIR /app
COPY --from=builder /app /app
ENV PYTHONPATH=/app/lib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Numeric, so that a platform can tell that it is not root; it owns nothing and writes nothing.
USER 65532:65532
EXPOSE 8080
# Exec form: the service itself is process 1 and hears SIGTERM.
CMD ["python", "-m", "publisher"]
