"""How the devserver is installed; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# Upper bounds: beside what a release may change of its interface, CherryPy, Cheroot, Google's client and urllib3 have
# internals that are tuned here, and Celery and Redis speak to other machines. requirements.lock says what is tested.
RUNTIME = [
    "cherrypy>=18.10,<19",
    "cheroot>=10,<12",
    "google-cloud-storage>=3.1,<4",
    "google-crc32c>=1.6,<2",
    "requests>=2.32,<3",
    "urllib3>=2.3,<3",
    "isal>=1.7,<2",
    "msgspec>=0.19,<1",
    "zstandard>=0.23,<1",
    "psutil>=6,<8",
    "certifi>=2024.7",
    "pyseccomp>=0.1.2,<1; sys_platform == 'linux'",
    "prometheus-client>=0.22,<1",
    "click>=8.1,<9",
    "jinja2>=3.1,<4",
    "rich>=13,<16",
    "tomli>=2,<3; python_version < '3.11'",
]
DEMO = ["gcp-storage-emulator>=2024.8"]
# Kombu, by which Celery speaks to Redis, imports packaging there and asks for it only in an extra that bounds redis.
CLUSTER = ["celery>=5.5,<6", "redis>=6,<9", "packaging>=24"]
LZ4 = ["lz4>=4.3,<5"]
BENCH = ["simpy>=4.1", "matplotlib>=3.9"]
# Each release has wheels for some Pythons; building it takes a compiler that comes with libFuzzer.
FUZZ = [
    "atheris>=2.3,<3; python_version == '3.10'",
    "atheris==3.0.*; python_version == '3.11'",
    "atheris>=3.1,<4; python_version >= '3.12' and python_version < '3.14'",
]
TEST = [
    *DEMO,
    *BENCH,
    *CLUSTER,
    *LZ4,
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "pexpect>=4.9",
    "schemathesis>=4",
    "playwright>=1.50",
    "axe-playwright-python>=0.1",
]
DEV = [
    *FUZZ,
    "ruff>=0.8",
    "mypy>=1.13",
    "packaging>=24",
    "pre-commit>=4",
    "pip-audit>=2.7",
    "types-requests",
    "types-psutil",
    "uv>=0.9",
]

setup(
    name="devserver",
    version="0.1.0",
    description="Stages Chromium OS builds from an archive, and serves them to the devices of a lab",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    py_modules=[
        "comeback",
        "devserver",
        "devserver_settings",
        "devserver_util",
        "download",
        "downloader",
        "downloads",
        "looking_again",
    ],
    packages=find_packages(
        include=["artifacts", "artifacts.*", "commands", "demo", "staging", "staging.*", "web", "web.*", "wiring"]
    ),
    package_data={"artifacts": ["*.toml"], "web": ["assets/*", "templates/*"]},
    install_requires=RUNTIME,
    extras_require={
        "demo": DEMO,
        "bench": BENCH,
        "cluster": CLUSTER,
        "lz4": LZ4,
        "fuzz": FUZZ,
        "test": TEST,
        "dev": [*TEST, *DEV],
    },
    entry_points={"console_scripts": ["devserver = devserver:main"]},
)
