"""Inputs that nobody should send, found by what code they reach: ``python -m campaigns.fuzz``."""
