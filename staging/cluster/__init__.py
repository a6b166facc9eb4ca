"""Background work on other machines: Celery's queues, Redis between them, and a static directory that all mount."""
