"""How a devserver is put together from its parts, as its options say. Imported once something is to be served: the
command line alone, and the workers, do without.
"""
