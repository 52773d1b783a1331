"""The version of mtl-core."""

__version__ = "0.1.0"
