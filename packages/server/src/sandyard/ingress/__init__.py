"""The data plane: streams bytes between a client and one port of one sandbox. Calls no service, writes no row."""

from sandyard.ingress.limits import IngressLimits
from sandyard.ingress.server import Ingress

__all__ = ["Ingress", "IngressLimits"]
