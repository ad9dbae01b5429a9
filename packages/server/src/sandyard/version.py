"""The one version of all distributions, as installed."""

from importlib.metadata import version

VERSION = version("sandyard")
