"""Data: sources made from arrays and folders, and small real sets that core carries."""

from mtl_core.datasets.arrays import Arrays, arrays
from mtl_core.datasets.folders import Folder, folders
from mtl_core.datasets.images import digits, domains, fashion, scripts

__all__ = ["Arrays", "Folder", "arrays", "digits", "domains", "fashion", "folders", "scripts"]
