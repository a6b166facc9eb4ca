"""The OpenAPI document, made from the table of operations."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from web.api.operations import OPERATIONS, PREFIX, Operation, Parameter
from web.api.schemas import SCHEMAS, Json, reference

_OF_ANY_OPERATION = {
    HTTPStatus.UNAUTHORIZED: "It takes a token, and none came that is known.",
    HTTPStatus.FORBIDDEN: "The token does not allow it, or the page of another site had a browser ask.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The devserver failed.",
    HTTPStatus.SERVICE_UNAVAILABLE: "It is stopping, or as many clients are waiting as may.",
}


def document(version: str) -> Json:
    """The document, as JSON-safe data (https://spec.openapis.org/oas/v3.1.0)."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "devserver", "version": version, "description": "Stages builds, and serves them."},
        "servers": [{"url": PREFIX}],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Where there are any."}},
        },
        "security": [{}, {"token": []}],
    }


def _described(operation: Operation) -> Json:
    answers = {
        str(status.value): {"description": status.phrase, **_content(operation.media_type, schema)}
        for status, schema in operation.answers.items()
    }
    problems = {
        str(status.value): {"description": when, **_content("application/problem+json", "Problem")}
        for status, when in {**_OF_ANY_OPERATION, **operation.problems}.items()
    }
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": _parameters(operation.parameters),
        "responses": {**answers, **problems},
    }
    for status in (HTTPStatus.ACCEPTED, HTTPStatus.CREATED):
        if status in operation.answers:
            answers[str(status.value)]["headers"] = {
                "Location": {"description": "The address of what was made.", "schema": {"type": "string"}}
            }
    if operation.body:
        described["requestBody"] = {"required": True, **_content("application/json", operation.body)}
    return described


def _content(media_type: str, schema: str | None) -> Json:
    return {"content": {media_type: {"schema": reference(schema)}}} if schema else {}


def _parameters(parameters: Sequence[Parameter]) -> list[Json]:
    return [
        {
            "name": parameter.name,
            "in": "path" if parameter.is_in_path else "query",
            "required": parameter.is_in_path,
            "description": parameter.description,
            "schema": parameter.schema,
        }
        for parameter in parameters
    ]
