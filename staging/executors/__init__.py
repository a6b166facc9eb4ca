"""Executors: what background work runs on."""
