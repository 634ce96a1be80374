"""Geometry: morphable models, camera, light, rasteriser, landmarks, alignment."""
