"""What Prometheus is told: counters that move with what happens, and gauges that are looked at when it asks."""
