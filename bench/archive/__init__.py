"""The archive that is measured against, what it holds, and how far away it is."""
