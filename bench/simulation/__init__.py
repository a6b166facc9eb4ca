"""A model of a whole lab, made of what the benchmarks measured, and held to a small real one."""
