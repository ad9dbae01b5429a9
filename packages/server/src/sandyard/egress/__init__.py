"""The one way out of a sandbox: an HTTP proxy with a policy and a meter."""

from sandyard.egress.account import EgressLimits, Usage
from sandyard.egress.proxy import EgressProxy

__all__ = ["EgressLimits", "EgressProxy", "Usage"]
