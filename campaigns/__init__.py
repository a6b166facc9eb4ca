"""Campaigns against a devserver: long runs that look for what short tests do not meet.

``python -m campaigns.chaos`` kills, breaks and fills whatever it can while clients check every byte that they read;
``python -m campaigns.soak`` lets a lab's day go by, and looks at what grows.
"""
