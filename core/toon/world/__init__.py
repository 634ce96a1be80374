"""Portraits of the toon world: from a seed a complete scene, from a scene a picture and everything known about it."""

from .attributes import attributes
from .render import MASKS, ToonPicture, ToonWorld, joined_params
from .sampling import scene
from .scene import Scene

__all__ = ["MASKS", "Scene", "ToonPicture", "ToonWorld", "attributes", "joined_params", "scene"]
