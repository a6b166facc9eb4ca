"""The ledger: which files of which builds were served to whom."""
