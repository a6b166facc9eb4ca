"""The devserver beside what a lab would use instead, measured: ``make bench``."""
