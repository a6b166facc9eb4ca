"""Records on the disk: what the devserver has to know after a restart, and what it may believe of what it finds.

A *record* is a small JSON file with a type. ``files.py`` opens it, ``text.py`` reads its JSON, ``decoding.py`` makes a
typed object of that, ``names.py`` spells names in it. docs/records.md describes each one.
"""
