"""``python -m dashboard``: writes docs/grafana-dashboard.json."""

from __future__ import annotations

import json
from pathlib import Path

from dashboard.grafana import dashboard

FILE = Path(__file__).resolve().parent.parent / "docs" / "grafana-dashboard.json"

if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
