"""``python -m campaigns.hostile``: requests and files that nobody should send, on every way to a devserver.

A *way* is one address: the devserver itself or one of the generated nginx configurations in front of it, with and
without TLS, with and without tokens. ``requests.py`` and ``bodies.py`` have the kinds of requests, ``files.py`` and
``packers.py`` the kinds of tarballs and zip files, ``lab.py`` the servers, and ``verdict.py`` what an answer may be.
"""
