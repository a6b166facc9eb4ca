"""The dashboard for Grafana: ``make dashboard`` writes docs/grafana-dashboard.json."""
