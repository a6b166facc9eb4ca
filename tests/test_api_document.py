"""The OpenAPI document is the truth: whatever it allows, and does not, is answered as it says.

``make fuzz`` asks 2,000 questions and more; here are a few.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.builds import Build
from tests.servers import DevServer, check_success

EXAMPLES_OF_AN_OPERATION = os.environ.get("API_EXAMPLES", "5")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
)  # not positive_data_acceptance: no schema can say which artifacts, files and URLs there are


def test_no_answer_is_off_the_document(server: DevServer, build: Build, tmp_path: Path) -> None:
    check_success(server.get("/stage", archive_url=build.url, artifacts="stateful"))
    report = tmp_path / "report.json"
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/api/v1/openapi.json"),
        *("--checks", ",".join(CHECKS), "--max-examples", EXAMPLES_OF_AN_OPERATION, "--continue-on-failure"),
        # The stream of all builds never ends.
        *("--exclude-path", "/events"),
        *("--suppress-health-check", "all", "--request-timeout", "20", "--generation-database", "none", "--no-color"),
        *("--report-json-path", str(report)),
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(report.read_text())["test_cases"]["generated"] > 4 * int(EXAMPLES_OF_AN_OPERATION)
    sys.stdout.write(run.stdout)  # for who runs `make fuzz`
