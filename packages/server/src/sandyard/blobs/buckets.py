"""Buckets of S3-compatible servers: how one is named, and addresses in it that need no credential."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from sandyard.blobs.objects import ObjectBlobs, checked, unavailable
from sandyard.domain.errors import StoreUnavailable
from sandyard.domain.files import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_PUT = 5 * 1024**3
"""Bytes that S3 takes by one PUT."""
_PART = 8 * 1024 * 1024
"""S3 takes no smaller parts than 5 MiB, and 10,000 of them."""
_OPTIONS = frozenset({"endpoint", "region", "public", "presign"})
_FORM = "s3://bucket[/prefix][?endpoint=…&region=…&public=…&presign=off]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket as `--blobs` names it. `public` is how clients reach the endpoint, where that is another address than the server's;
    with `presign=off` they do not reach it at all.
    """

    name: str
    prefix: str
    endpoint: str | None
    region: str
    public: str | None
    presigns: bool

    @classmethod
    def read(cls, url: str) -> Self:
        """Read `s3://bucket[/prefix][?endpoint=http://host:port&region=…&public=https://…&presign=off]`.

        Raises:
            StoreUnavailable: the URL is none of these.
        """
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.scheme != "s3" or not parts.netloc or set(options) - _OPTIONS or options.get("presign", "off") != "off":
            raise StoreUnavailable(f"{url!r} is no {_FORM}")
        return cls(
            name=parts.netloc,
            prefix=parts.path.strip("/"),
            endpoint=options.get("endpoint"),
            region=options.get("region", "us-east-1"),
            public=options.get("public"),
            presigns="presign" not in options,
        )

    @property
    def base(self) -> str:
        """What the addresses of its objects begin with, as clients see them."""
        server = self.public or self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        return "/".join(filter(None, (server.rstrip("/"), self.name, self.prefix)))


def open_bucket(url: str, environment: Mapping[str, str] = os.environ) -> tuple[ObjectBlobs, SignedAddresses | None]:
    """Return the blobs of a bucket, and what signs addresses in it, unless it shall not or there are no keys to sign with.

    The store takes its credentials as it finds them (`AWS_ACCESS_KEY_ID`, …, or the role of the machine); addresses are signed with
    `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`) of the environment only.

    Raises:
        StoreUnavailable: the URL is none of a bucket.
    """
    bucket = Bucket.read(url)
    known: dict[str, Any] = {"region": bucket.region}
    if bucket.endpoint is not None:
        known |= {"endpoint": bucket.endpoint, "virtual_hosted_style_request": False}
    try:
        plain = (bucket.endpoint or "").startswith("http://")
        store = S3Store(bucket.name, prefix=bucket.prefix or None, client_options={"allow_http": plain}, **known)
    except (BaseError, ValueError) as error:
        raise unavailable(error) from error
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    blobs = ObjectBlobs(store, _PART)
    if not (bucket.presigns and key and secret):
        return blobs, None
    return blobs, SignedAddresses(bucket, store, (key, secret, environment.get("AWS_SESSION_TOKEN")))


class SignedAddresses:
    """`ports_blobs.BlobAddresses`: AWS Signature 4 in the query, over everything that the address is good for."""

    def __init__(self, bucket: Bucket, store: S3Store, credentials: tuple[str, str, str | None]) -> None:
        self._bucket = bucket
        self._store = store
        self._credentials = credentials
        self._keeps: bool | None = None

    def to_get(self, key: str, seconds: int, *, media: str, name: str) -> str:
        """Return an address that gives the bytes, as a file to keep and never to show."""
        told = {
            "response-cache-control": "private, no-store",
            "response-content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "response-content-type": media,
        }
        return self._sign("GET", f"{self._url(key)}?{urlencode(told, quote_via=quote)}", {}, seconds)

    async def to_put(self, key: str, seconds: int, *, media: str | None, size: int) -> Address | None:
        """Return an address that takes `size` bytes, once; None where the bucket cannot promise that.

        Raises:
            StoreUnavailable: the bucket cannot be asked.
        """
        if size > LARGEST_PUT or not await self._keeps_what_it_has():
            return None
        sent = {"If-None-Match": "*"} | ({} if media is None else {"Content-Type": media})
        url = self._sign("PUT", self._url(key), {"Content-Length": str(size), **sent}, seconds)
        return Address(url=url, headers=sent)

    async def _keeps_what_it_has(self) -> bool:
        """Find out, once, whether the bucket knows conditional writes: without them a signed PUT could replace what is there."""
        if self._keeps is None:
            key = f"probe-{secrets.token_hex(8)}"
            try:
                await obstore.put_async(self._store, key, b"1", mode="create")
                try:
                    await obstore.put_async(self._store, key, b"2", mode="create")
                except AlreadyExistsError:
                    self._keeps = True
                else:
                    self._keeps = False
                await obstore.delete_async(self._store, key)
            except (OSError, BaseError) as error:
                raise unavailable(error) from error
        return self._keeps

    def _url(self, key: str) -> str:
        return f"{self._bucket.base}/{quote(checked(key))}"

    def _sign(self, method: str, url: str, headers: Mapping[str, str], seconds: int) -> str:
        # Here and not above: servers without a bucket do without botocore.
        from botocore import auth, awsrequest, credentials  # noqa: PLC0415

        aws: Any = awsrequest.AWSRequest(method=method, url=url, headers=dict(headers))
        signer: Any = auth.S3SigV4QueryAuth(credentials.Credentials(*self._credentials), "s3", self._bucket.region, expires=seconds)
        signer.add_auth(aws)
        return str(aws.url)
