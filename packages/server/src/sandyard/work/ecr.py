"""Passwords of Amazon's registries: an access key for one that is good for twelve hours (ECR's `GetAuthorizationToken`)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import anyio.to_thread

from sandyard.domain.logins import Password
from sandyard.work import replies
from sandyard.work.failures import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandyard.domain.logins import AwsKeys

_TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
_BODY = b"{}"


def address(region: str) -> str:
    """Return where ECR's API of a region is."""
    return f"https://api.ecr.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


async def password(session: aiohttp.ClientSession, keys: AwsKeys, endpoint: str) -> Password:
    """Ask for the password that the keys stand for; `endpoint` is the API's address.

    Raises:
        BuildFailed: the keys are refused, or nobody answers as ECR does.
    """
    url = f"{endpoint.rstrip('/')}/"
    headers = await anyio.to_thread.run_sync(_signed, keys, url)
    try:
        async with session.post(url, data=_BODY, headers=headers, allow_redirects=False) as reply:
            status, data = reply.status, await replies.document(reply)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise BuildFailed(f"ECR in {keys.region} cannot be reached: {error or 'it did not answer in time'}") from error
    if status != 200:
        raise BuildFailed(f"ECR in {keys.region} refuses the access key (HTTP {status}{_reason(data)}); check the key and the region")
    try:
        token = str(json.loads(data)["authorizationData"][0]["authorizationToken"])
        user, _, secret = base64.b64decode(token, validate=True).decode().partition(":")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError, binascii.Error) as error:
        raise BuildFailed(f"What answers for ECR in {keys.region} sent no token") from error
    return Password(user, secret)


def _signed(keys: AwsKeys, url: str) -> Mapping[str, str]:
    # Here and not above: botocore takes long to import, and few builds need it.
    from botocore import auth, awsrequest, credentials  # noqa: PLC0415

    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _TARGET}
    request: Any = awsrequest.AWSRequest(method="POST", url=url, data=_BODY, headers=headers)
    signer: Any = auth.SigV4Auth(credentials.Credentials(keys.access_key_id, keys.secret_access_key), "ecr", keys.region)
    signer.add_auth(request)
    return dict(request.headers.items())


def _reason(data: bytes) -> str:
    """Return AWS's name of what is wrong. Its sentences are left out: some repeat what was signed."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    kind = cast("dict[str, object]", value).get("__type") if isinstance(value, dict) else None
    return f", {kind.rpartition('#')[2][:100]}" if isinstance(kind, str) else ""
