"""The wire: RPCs, pages, errors and files over HTTP."""
