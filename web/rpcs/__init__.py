"""The RPCs: what test harnesses call, and have called since 2012. Each parses, asks one thing, and answers."""
