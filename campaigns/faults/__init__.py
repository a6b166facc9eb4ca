"""The fault campaign: the Nth system call fails, for N = 1, 2, 3, ... until none does any more.

``python -m campaigns.faults`` has every call of staging, removing, evicting, healing and recovering fail once, fail
from then on, and be the last one before a crash; after each run it looks at what is left on the disk.
"""
