"""Serving, beside what else serves."""
