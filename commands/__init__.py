"""The commands beside `serve`: those that ask a devserver, and those that need none."""
