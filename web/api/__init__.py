"""The JSON API, /api/v1: one table of operations, which the handlers and the OpenAPI document are made from."""
