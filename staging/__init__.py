"""How builds are staged: archives, transfer, extraction, publishing, status and executors."""
