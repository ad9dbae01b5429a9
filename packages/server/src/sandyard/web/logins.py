"""Logins to registries as E2B's clients send them, each type with fields of its own (sandbox-protocol §4)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from sandkit.wire.errors import INVALID_REQUEST, ApiError
from sandyard.domain.logins import AwsKeys, Login, Password

if TYPE_CHECKING:
    from sandkit.wire.templates import RegistryLogin

_GOOGLE_USER = "_json_key"
"""The user whose password is a service account's key, for Artifact Registry and Container Registry."""
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
_WHERE = "fromImageRegistry"


def read_login(given: RegistryLogin) -> Login:
    """Return what the fields of its type say; no message repeats any of them.

    Raises:
        ApiError: `invalid_request`: a field is missing, or not what it should be.
    """
    match given.type:
        case "registry":
            return Password(given.username or "", given.password or "")
        case "gcp":
            return Password(_GOOGLE_USER, _service_account(given.service_account_json))
        case "aws":
            if not given.aws_access_key_id or not given.aws_secret_access_key:
                raise _refused("a login of the type aws needs awsAccessKeyId and awsSecretAccessKey")
            if not _REGION.fullmatch(given.aws_region or ""):
                raise _refused("awsRegion is no region, such as eu-central-1")
            return AwsKeys(given.aws_access_key_id, given.aws_secret_access_key, given.aws_region or "")


def _service_account(text: str | None) -> str:
    try:
        value: object = json.loads(text or "")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or "private_key" not in value or text is None:
        raise _refused("a login of the type gcp needs serviceAccountJson, the JSON key of a service account with its private_key")
    return text


def _refused(message: str) -> ApiError:
    return ApiError(INVALID_REQUEST, f"{_WHERE}: {message}", details={"field": _WHERE})
