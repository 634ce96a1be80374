"""The sealed face as a signed-distance sculpture: eyes under closed lids, lips shut, one star-shaped surface.

Units are head units: the head is about 2 high, x to the subject's left, y up, z towards the viewer. The sculpture is
a chain of smooth unions of a few primitives, evaluated at |x| so that it is symmetric to the bit. All sizes were chosen
by looking at renders; what they do to age and character is said beside them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STAR = np.array([0.0, -0.15, -0.05])
"""Every ray from here meets the sealed surface once."""
EYE_CENTRE = np.array([0.335, -0.05, 0.400])
"""Centre of the left eyeball; the right one is its mirror image."""
EYE_RADIUS = 0.270
LID_RADIUS = 1.055
"""Closed lids lie this many eyeball radii from the eye's centre."""
NECK_END = -1.56
"""Height of the plane in which the neck is cut off."""
NOSTRIL = np.array([0.052, -0.353, 0.758])
"""Middle of the left nostril's opening."""


def distance(points: Array) -> Array:
    """[N, 3] -> [N] signed distance (negative inside; exact only near the surface)."""
    p = np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], axis=1)
    d = _ellipsoid(p, (0.0, 0.20, -0.14), (0.79, 0.83, 0.88))  # cranium
    d = _union(d, _ellipsoid(p, (0.0, -0.36, 0.08), (0.60, 0.62, 0.60)), 0.25)  # face; wider than 0.61 looks heavy
    d = _union(d, _capsule(p, (0.46, -0.42, -0.02), (0.13, -0.80, 0.34), 0.10, 0.09), 0.16)  # line of the jaw
    d = _union(d, _ellipsoid(p, (0.0, -0.81, 0.425), (0.19, 0.150, 0.155)), 0.16)  # chin
    d = _union(d, _ellipsoid(p, (0.0, -0.50, 0.44), (0.25, 0.185, 0.225)), 0.16)  # the roundness of the teeth
    d = _union(d, _ellipsoid(p, (0.355, -0.325, 0.37), (0.28, 0.25, 0.285)), 0.20)  # apples of the cheeks
    d = _union(d, _capsule(p, (0.13, 0.20, 0.625), (0.44, 0.20, 0.44), 0.10, 0.10), 0.20)  # brow ridge
    d = _union(d, _capsule(p, (0.0, -0.50, -0.20), (0.0, -1.90, -0.30), 0.270, 0.330), 0.13)  # neck
    # Sockets: deeper or with a harder edge they make the face old and tired.
    d = _carve(d, _ellipsoid(p, (0.345, -0.05, 0.725), (0.30, 0.245, 0.15)), 0.22)
    d = _union(d, _capsule(p, (0.0, 0.06, 0.605), (0.0, -0.22, 0.740), 0.050, 0.068), 0.13)  # bridge of the nose
    d = _union(d, _ellipsoid(p, (0.0, -0.268, 0.784), (0.096, 0.086, 0.090)), 0.060)  # tip
    d = _union(d, _ellipsoid(p, (0.092, -0.292, 0.708), (0.060, 0.056, 0.074)), 0.050)  # wings
    d = _union(d, _capsule(p, (0.0, -0.315, 0.76), (0.0, -0.372, 0.67), 0.036, 0.055), 0.045)  # columella
    d = _carve(d, _ellipsoid(p, tuple(NOSTRIL), (0.027, 0.026, 0.036)), 0.020)
    lids = np.linalg.norm(p - EYE_CENTRE, axis=1) - LID_RADIUS * EYE_RADIUS
    return _union(d, lids, 0.05)


def normal(points: Array) -> Array:
    """[N, 3] -> [N, 3] unit gradient of the distance, by central differences."""
    step = 1e-4
    gradient = np.empty_like(points)
    for axis in range(3):
        offset = np.zeros(3)
        offset[axis] = step
        gradient[:, axis] = distance(points + offset) - distance(points - offset)
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-12)


def cast(directions: Array) -> Array:
    """[N, 3] directions from `STAR` -> [N, 3] points of the surface, found from outside."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return march(STAR + 2.6 * unit, -unit)


def cast_front(xy: Array) -> Array:
    """[N, 2] places in the frontal plane -> [N, 3] points that a viewer in front sees there."""
    start = np.column_stack([xy, np.full(len(xy), 1.4)])
    return march(start, np.broadcast_to(np.array([0.0, 0.0, -1.0]), start.shape))


def march(start: Array, direction: Array) -> Array:
    """[N, 3] points outside, [N, 3] unit directions -> where each ray meets the surface."""
    points = start.copy()
    moving = np.arange(len(points))
    for _ in range(120):
        step = distance(points[moving])
        points[moving] += 0.75 * step[:, None] * direction[moving]
        moving = moving[np.abs(step) > 1e-7]
        if not len(moving):
            break
    return points


def project(points: Array) -> Array:
    """[N, 3] points near the surface -> the surface, along the gradient."""
    for _ in range(4):
        points = points - 0.8 * distance(points)[:, None] * normal(points)
    return points


def occlusion(points: Array, normals: Array) -> Array:
    """[N, 3], [N, 3] unit -> [N] 0…1, how much of the nearby sky the sculpture hides.

    The *difference* of field values along the normal counts, so that relief added on top of the field stays light.
    """
    here = distance(points)
    hidden = np.zeros(len(points))
    for reach, weight in ((0.04, 0.35), (0.10, 0.35), (0.22, 0.25)):
        hidden += weight * (1.0 - (distance(points + reach * normals) - here) / reach)
    return np.clip(hidden, 0.0, 1.0)


def _union(a: Array, b: Array, softness: float) -> Array:
    """Polynomial smooth minimum; `softness` is the width of the blend."""
    return np.minimum(a, b) - np.maximum(softness - np.abs(a - b), 0.0) ** 2 / (4.0 * softness)


def _carve(a: Array, b: Array, softness: float) -> Array:
    """`a` without `b`, with a blended edge."""
    return -_union(-a, b, softness)


def _ellipsoid(p: Array, centre: tuple[float, ...], radii: tuple[float, ...]) -> Array:
    """Distance to first order: |q/r|·(|q/r| − 1) / |q/r²|."""
    q = p - np.array(centre)
    near = np.linalg.norm(q / np.array(radii), axis=1)
    slope = np.linalg.norm(q / np.array(radii) ** 2, axis=1)
    return near * (near - 1.0) / np.maximum(slope, 1e-9)


def _capsule(p: Array, start: tuple[float, ...], end: tuple[float, ...], radius: float, end_radius: float) -> Array:
    a, b = np.array(start), np.array(end)
    along = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    return np.linalg.norm(p - a - along[:, None] * (b - a), axis=1) - (radius + (end_radius - radius) * along)
