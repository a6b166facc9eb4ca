"""The HTTP server: CherryPy's own, with threads that come and go, and files that the kernel sends."""
