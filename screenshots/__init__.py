"""``make screenshots``: pictures of every page, of a real devserver and a scripted archive."""
