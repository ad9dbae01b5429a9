"""Where the public `e2b` client finds the platform when it is called by its PPIO names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from e2b import AuthenticationException
from e2b.connection_config import ClientFactory

if TYPE_CHECKING:
    from typing import Unpack

    from e2b import ApiParams, E2BClientParams

_LOCAL_API_URL, _LOCAL_SANDBOX_URL = "http://127.0.0.1:8800", "http://127.0.0.1:8801"
_VARIABLES = {
    "api_key": "PPIO_API_KEY",
    "domain": "PPIO_DOMAIN",
    "api_url": "PPIO_API_URL",
    "sandbox_url": "PPIO_SANDBOX_URL",
}
_PLACES = {"api_url", "domain", "debug"}  # any of them names a platform


class PpioNames(ClientFactory):
    """Mixed into a class of `e2b`: what a call does not say comes from `PPIO_*`, then from `E2B_*`, then it is the local platform.

    The environment is read at each call, as `e2b` does.
    """

    @classmethod
    def _resolve_api_params(cls, **opts: Unpack[ApiParams]) -> ApiParams:
        return completed(super()._resolve_api_params(**opts))


def completed(said: ApiParams | E2BClientParams) -> ApiParams:
    """Return the parameters with what the environment adds to them.

    Raises:
        AuthenticationException: there is no key.
    """
    found = from_environment() | {name: value for name, value in said.items() if value is not None}
    if not (found.get("debug") or found.get("api_key") or os.environ.get("E2B_API_KEY")):
        raise AuthenticationException("API key is required: pass api_key=, or set PPIO_API_KEY (`sandyard env` prints it)")
    return cast("ApiParams", found)


def from_environment() -> dict[str, Any]:
    """Return the parameters that `PPIO_*` gives; where nothing names a platform, those of the one on this machine."""
    found: dict[str, Any] = {name: os.environ[variable] for name, variable in _VARIABLES.items() if os.environ.get(variable)}
    if os.environ.get("PPIO_DEBUG", "").lower() == "true":
        found["debug"] = True
    elsewhere = {"api_url", "domain", "debug"} & found.keys() or any(
        os.environ.get(f"E2B_{name}") for name in ("API_URL", "DOMAIN", "DEBUG")
    )
    return found if elsewhere else {"api_url": _LOCAL_API_URL, "sandbox_url": _LOCAL_SANDBOX_URL} | found
