"""The dashboard and the alerts: they ask for what there is, and wake somebody when they should."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dashboard.grafana import dashboard
from tests.promtool import promtool
from tests.servers import PROJECT, DevServer

DOCS = PROJECT / "docs"
ALERTS = DOCS / "alerts.yml"
_OF_PROMETHEUS = {"up"}
_NAME = re.compile(r"\b(?:devserver|process)_[a-z_]+\b|\bup\b")
_LABEL = re.compile(r"(?<=[{,(])\s*([a-z_]+)\s*=~?\"|(?:by|without) \(([a-z_, ]+)\)")


def expressions(page: str) -> list[str]:
    """The queries of the dashboard or of the alerts."""
    if page == "dashboard":
        return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return re.findall(r"expr: (?:\|\n)?((?:.|\n)*?)\n +(?:for|labels):", ALERTS.read_text())


@pytest.mark.parametrize("page", ["dashboard", "alerts"])
def test_every_name_that_is_asked_for_is_on_the_page(server: DevServer, page: str) -> None:
    server.get("/index")
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    there = {sample.name for sample in samples} | _OF_PROMETHEUS
    asked = {name for expression in expressions(page) for name in _NAME.findall(expression)}
    assert len(asked) > 5
    assert asked <= there
    labels = {label for sample in samples for label in sample.labels} | {"instance", "job"}
    named = {
        name
        for line in expressions(page)
        for match in _LABEL.findall(line)
        for name in re.findall(r"\w+", " ".join(match))
    }
    assert named
    assert named <= labels


def test_the_dashboard_is_what_its_script_writes() -> None:
    assert json.loads((DOCS / "grafana-dashboard.json").read_text()) == dashboard(), "run `make dashboard`"


def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    for_grafana = {"$__rate_interval": "5m", "$instance": ".*"}
    rules = []
    for number, expression in enumerate(expressions("dashboard")):
        for name, value in for_grafana.items():
            expression = expression.replace(name, value)
        rules.append({"record": f"query:{number}", "expr": expression})
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # is YAML too
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "rules.json"))


def test_prometheus_takes_the_alerts() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(ALERTS))


def test_the_alerts_wake_somebody_when_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml", cwd=PROJECT / "tests")


def test_every_alert_says_what_to_do() -> None:
    alerts = re.split(r"\n *- alert: ", ALERTS.read_text())[1:]
    page = (DOCS / "operator.md").read_text()
    for alert in alerts:
        name = alert.partition("\n")[0]
        assert "severity: " in alert
        assert "summary: " in alert
        assert "description: " in alert
        assert f"`{name}`" in page, f"the operator's page does not speak of {name}"
