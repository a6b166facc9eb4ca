"""How the devserver is installed; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

RUNTIME = [
    "cherrypy>=18.10",
    "google-cloud-storage>=3.1",
    "google-crc32c>=1.6",
    "requests>=2.32",
    "urllib3>=2.3",
    "isal>=1.7",
    "zstandard>=0.23",
    "psutil>=6",
    "prometheus-client>=0.22",
    "click>=8.1",
    "jinja2>=3.1",
    "rich>=13",
    "tomli>=2; python_version < '3.11'",
]
DEMO = ["gcp-storage-emulator>=2024.8"]
CLUSTER = ["celery>=5.5", "redis>=6"]
BENCH = ["simpy>=4.1", "matplotlib>=3.9"]
TEST = [
    *DEMO,
    *BENCH,
    *CLUSTER,
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "pexpect>=4.9",
    "schemathesis>=4",
    "hypothesis>=6",
    "playwright>=1.50",
    "axe-playwright-python>=0.1",
]
DEV = ["ruff>=0.8", "mypy>=1.13", "pre-commit>=4", "pip-audit>=2.7", "types-requests", "types-psutil"]

setup(
    name="devserver",
    version="0.1.0",
    description="Stages Chromium OS builds from an archive, and serves them to the devices of a lab",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    py_modules=["comeback", "devserver", "devserver_settings", "devserver_util", "download", "downloader", "downloads"],
    packages=find_packages(
        include=["artifacts", "artifacts.*", "commands", "demo", "staging", "staging.*", "web", "web.*", "wiring"]
    ),
    package_data={"artifacts": ["*.toml"], "web": ["assets/*", "templates/*"]},
    install_requires=RUNTIME,
    extras_require={"demo": DEMO, "bench": BENCH, "cluster": CLUSTER, "test": TEST, "dev": [*TEST, *DEV]},
    entry_points={"console_scripts": ["devserver = devserver:main"]},
)
