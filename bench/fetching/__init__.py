"""Fetching and staging, beside what else fetches."""
