"""The layers: every file imports only from lines below its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# From the ground up. A package is one line where its modules may import each other, and a line for each where not.
LAYERS = (
    ("staging.errors", "staging.request_ids"),
    ("staging.log_lines", "staging.paths", "staging.presence", "staging.threads"),
    (
        "staging.build_names",
        "staging.records.files",
        "staging.records.names",
        "staging.records.text",
        "staging.removal",
    ),
    ("staging.records.decoding",),
    ("staging.records",),
    ("staging.clock", "staging.layout", "staging.retry", "staging.units", "staging.writing", "staging.versions"),
    ("staging.suite_map", "staging.programs", "staging.sparse", "staging.left_out", "staging.member_names"),
    ("staging.pax", "staging.tar_headers", "staging.sparse_files"),
    ("staging.tar_stream",),
    ("staging.checksums", "staging.in_mind"),
    ("staging.eviction",),
    ("staging.archives.patient",),
    ("staging.archives.url", "staging.archives.base"),
    ("staging.archives.http_ranges", "staging.archives.refusals", "staging.archives.watch"),
    ("staging.archives.gcs_client",),
    ("staging.archives.gcs_errors",),
    ("staging.archives.gcs", "staging.archives.directory"),
    ("staging.archives.peers",),
    ("staging.archives.peer_reads",),
    ("staging.archives.allowed",),
    ("staging.archives",),
    ("staging.locks", "staging.status"),
    ("staging.board", "staging.messages"),
    ("staging.priority", "staging.slots", "staging.tally", "staging.admission"),
    ("staging.build_locks", "staging.control_files"),
    ("staging.manifest", "staging.fetching", "staging.tree"),
    ("staging.holds", "staging.promises", "staging.usage"),
    ("staging.reading", "staging.file_lists", "staging.orders"),
    ("staging.inspection", "staging.shared_files", "staging.encodings"),
    ("staging.transfer", "staging.formats", "staging.stream_ends", "staging.zip_directory", "staging.zstd_frames"),
    ("staging.codecs",),
    ("staging.piping",),
    ("staging.decompression",),
    ("staging.selection",),
    ("staging.extraction", "staging.zip_files"),
    ("staging.areas", "staging.merging"),
    ("staging.publishing_lock",),
    ("staging.build_removal",),
    ("staging.publishing",),
    ("staging.recovery",),
    (
        "staging.executors",
        "staging.executors.base",
        "staging.executors.orphans",
        "staging.executors.landlock",
    ),
    ("staging.executors.system_calls",),
    ("staging.executors.confinement", "staging.executors.status_queue", "staging.executors.reach"),
    ("staging.executors.worker", "staging.executors.worker_log", "staging.executors.confined"),
    ("staging.stackwalker",),
    ("staging.executors.fork_server", "staging.executors.forked"),
    ("staging.executors.process",),
    ("staging.cluster.messages",),
    ("staging.cluster.broker", "staging.cluster.transport"),
    ("staging.cluster.runs", "staging.cluster.news"),
    ("staging.cluster.announcer", "staging.cluster.follower"),
    ("staging.cluster.neighbours",),
    ("staging.cluster.outbox", "staging.cluster.errand"),
    ("staging.cluster.worker", "staging.cluster.executor"),
    ("staging.cluster",),
    ("staging.newer",),
    ("staging.overview", "staging.healing"),
    ("staging.soundness", "staging.pace", "staging.build_list", "staging.placing"),
    ("staging.verification",),
    ("staging.inventory",),
    ("staging.room",),
    ("staging",),
    ("artifacts.patterns",),
    ("artifacts.catalogue",),
    ("artifacts.artifact",),
    ("artifacts.job",),
    ("artifacts.bounds",),
    ("artifacts.sizes",),
    ("artifacts",),
    ("devserver_util", "comeback"),
    ("download",),
    ("looking_again",),
    ("downloads",),
    ("downloader",),
    ("web.rendering", "web.visitors", "web.parameters", "web.answers", "web.callers", "web.cookies"),
    ("web.reloaded", "web.memory"),
    ("web.logs", "web.redirects", "web.requests"),
    ("web.event_log", "web.bus_log"),
    ("web.error_pages",),
    ("web.methods",),
    ("web.access.tokens", "web.access.grants"),
    ("web.access.refused_names",),
    ("web.access.gate", "web.access.hosts"),
    ("web.access",),
    ("web.http.request_line",),
    (
        "web.http.clients",
        "web.http.forwarded",
        "web.http.request",
        "web.http.tls",
        "web.http.thread_pool",
        "web.http.accepting",
        "web.http.unfinished",
    ),
    ("web.http.connection", "web.http.gateway"),
    ("web.errors",),
    ("web.incoming",),
    ("web.http.server",),
    ("web.http",),
    (
        "web.files.ranges",
        "web.files.validators",
        "web.files.paths",
        "web.files.decoded",
    ),
    ("web.files.buckets",),
    ("web.files.listing", "web.files.objects"),
    ("web.files.readers",),
    ("web.files.application",),
    ("web.files.kept_objects",),
    ("web.files",),
    ("web.front.passing_on", "web.front.refusals", "web.front.followed", "web.front.values"),
    ("web.front.use_log",),
    ("web.front.nginx",),
    ("web.front.spread",),
    ("web.front",),
    ("web.ledger.records",),
    ("web.ledger.writer",),
    ("web.ledger",),
    ("web.metrics.counters", "web.metrics.gauges"),
    ("web.metrics.page",),
    ("web.metrics",),
    ("web.health", "web.plugins"),
    ("web.health", "web.plugins", "web.verification", "web.watchdog"),
    ("web.site.forms", "web.site.assets", "web.site.build_pages"),
    ("web.site.pages",),
    ("web.site.handlers", "web.site.login"),
    ("web.site",),
    ("web.rpcs.staging",),
    ("web.dumps",),
    ("web.rpcs.builds", "web.rpcs.server", "web.rpcs.symbols"),
    ("web.rpcs",),
    ("web.api.schemas",),
    ("web.api.event_logs",),
    ("web.api.events", "web.api.operations"),
    ("web.api.openapi",),
    ("web.api.application",),
    ("web.api",),
    ("web.client.addresses", "web.client.errors", "web.client.ring", "web.client.shapes"),
    ("web.client.proxies", "web.client.retry"),
    ("web.client.routes",),
    ("web.client.answers", "web.client.connection"),
    ("web.client.events", "web.client.devservers"),
    ("web.client.asking",),
    ("web.client.listing",),
    ("web.client.client",),
    ("web.client",),
    ("web.application",),
    ("web",),
    (
        "commands.encoding",
        "commands.printing",
        "commands.failures",
        "commands.naming",
        "commands.deadline",
        "commands.environment",
        "commands.help",
        "commands.old_options",
        "commands.terminal",
    ),
    ("commands.options", "commands.display", "commands.streams"),
    ("commands.bars", "commands.completion", "commands.following"),
    ("commands.progress",),
    (
        "commands.staging",
        "commands.listing",
        "commands.catalog",
        "commands.disk",
        "commands.ledger",
        "commands.token",
        "commands.verify",
    ),
    ("commands.remote", "commands.local"),
    ("commands",),
    ("devserver_settings",),
    ("wiring.checks", "wiring.files", "wiring.reloading", "wiring.signals"),
    ("wiring.executors",),
    ("wiring.staging",),
    ("wiring.web",),
    ("wiring.serving",),
    ("wiring",),
    ("devserver",),
)
LEVELS = {module: level for level, modules in enumerate(LAYERS) for module in modules}
OWN_PACKAGES = {module.partition(".")[0] for module in LEVELS}


def own_modules() -> Iterator[tuple[str, Path]]:
    for package in sorted(OWN_PACKAGES):
        for path in [PROJECT / f"{package}.py", *sorted((PROJECT / package).rglob("*.py"))]:
            if path.exists():
                yield ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"), path


def imports_of(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its top or within."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, [_package_of(path) if node.level else "", node.module]))
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield submodule if submodule in LEVELS else module


def _package_of(path: Path) -> str:
    """The package that a file's relative imports begin at: its own, for each has one dot."""
    return ".".join(path.parent.relative_to(PROJECT).parts)


MODULES = list(own_modules())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_from_below(module: str, path: Path) -> None:
    assert module in LEVELS, f"{module} has no place among the layers yet"
    for imported in imports_of(path):
        if imported.partition(".")[0] in OWN_PACKAGES:
            assert LEVELS[imported] < LEVELS[module], f"{module} imports {imported}, which is not below it"


def test_every_layer_exists() -> None:
    assert set(LEVELS) == {module for module, _ in MODULES}


@pytest.mark.parametrize(("module", "path"), MODULES, ids=lambda value: value if isinstance(value, str) else "")
def test_only_the_edge_knows_google(module: str, path: Path) -> None:
    if module not in ("staging.archives.gcs_client", "staging.archives.gcs_errors"):
        assert not [name for name in imports_of(path) if name.startswith("google.")]


@pytest.mark.parametrize(("module", "path"), MODULES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_module_is_installed(module: str, path: Path) -> None:
    # setup.py finds packages, and a directory is one only by its __init__.py.
    assert path.parent == PROJECT or (path.parent / "__init__.py").exists(), f"{module} would not be installed"
