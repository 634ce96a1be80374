"""The surface that the vertices of a morphable model span: triangles, texture coordinates, landmarks, regions.

Everything here is fixed by the mesh's topology and its mean shape, so one `Surface` serves every identity and
expression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .normals import face_normals, vertex_normals

JAW_LANDMARKS = 17
"""iBUG's first landmarks run along the jaw, from the subject's right ear over the chin to the left."""

CHIN = 8
"""iBUG's landmark at the tip of the chin."""

CONTOUR_CANDIDATES = 16
"""Places a jaw landmark may slide to; at this number neighbours lie about 0.4 cm apart on an adult's cheek."""

CONTOUR_REACH = 0.8
"""Share of the way from the jaw towards eye, mouth corner or lower lip that candidates cover; past it they would sit on
the features. Chosen by looking at renders turned by 0 to 75 degrees."""


FORGIVEN = 1.001
"""Times what a candidate stands out at rest; a little over 1, so that rounding does not move a landmark at rest."""

FACE_AZIMUTH = math.radians(80)
FACE_SHARE = 0.77
"""Half-width of a face as seen from the head's axis, and the hairline's share of the height from chin to crown.
Measured on ICT-FaceKit's mean head, whose files mark the face: these two find 82 % of it (intersection over union)."""


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points fixed to a mesh's surface: `faces` [N] int64 and barycentrics [N, 3]."""

    faces: Tensor
    barycentrics: Tensor

    def on(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """[B, V, 3] vertices, [F, 3] faces -> [B, N, 3]."""
        corners = vertices[:, faces[self.faces]]
        return (corners * self.barycentrics[None, :, :, None].to(corners)).sum(2)

    @classmethod
    def at_vertices(cls, vertex_ids: Tensor, faces: Tensor) -> SurfacePoints:
        """Points that coincide with vertices [N], each through the first of `faces` [F, 3] that uses its vertex."""
        chosen = torch.stack([(faces == vertex).any(1).nonzero()[0, 0] for vertex in vertex_ids])
        return cls(chosen, (faces[chosen] == vertex_ids[:, None]).to(torch.float32))


@dataclass(frozen=True, eq=False)
class Surface:
    """What a mesh of V vertices looks like apart from their positions.

    faces: [F, 3] int64, counter-clockwise from outside. uv: [T, 2] 0…1, (0, 0) at the bottom left; uv_faces: [F, 3]
    int64. colours: [V, 3] RGB 0…1, the albedo where a model knows nothing better. landmarks68: iBUG order, or None.
    contour: [17, C] int64, row i leads from jaw landmark i inwards over the cheek, or None. face_region: [F]
    bool, triangles of the facial skin. skin_region: [F] bool, triangles that carry skin colour.
    """

    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    colours: Tensor
    face_region: Tensor
    skin_region: Tensor
    landmarks68: SurfacePoints | None = None
    contour: Tensor | None = None

    def subset(self, vertex_ids: Tensor) -> Surface:
        """The surface of only `vertex_ids` [n], renumbered 0…n−1 in their order.

        Triangles that lose a corner go; so do landmarks and contour, all at once, when one of theirs goes.
        """
        number = torch.full((len(self.colours),), -1, dtype=torch.int64, device=vertex_ids.device)
        number[vertex_ids] = torch.arange(len(vertex_ids), device=vertex_ids.device)
        whole = (number[self.faces] >= 0).all(1)
        landmarks, contour = self.landmarks68, self.contour
        if landmarks is not None:
            kept = bool(whole[landmarks.faces].all())
            landmarks = SurfacePoints((whole.cumsum(0) - 1)[landmarks.faces], landmarks.barycentrics) if kept else None
        if contour is not None:
            contour = number[contour] if bool((number[contour] >= 0).all()) else None
        return replace(
            self,
            faces=number[self.faces[whole]],
            uv_faces=self.uv_faces[whole],
            colours=self.colours[vertex_ids],
            face_region=self.face_region[whole],
            skin_region=self.skin_region[whole],
            landmarks68=landmarks,
            contour=contour,
        )

    def landmark_vertices(self) -> Tensor:
        """[n] int64, ascending: every vertex that landmarks and contour need; empty without landmarks."""
        used = [] if self.landmarks68 is None else [self.faces[self.landmarks68.faces].flatten()]
        used += [] if self.contour is None else [self.contour.flatten()]
        return torch.cat(used).unique() if used else self.faces.new_zeros(0)


def slide_contour(jaw: Tensor, rows: Tensor, rotation: Tensor) -> Tensor:
    """Where each jaw landmark lies when the head is turned: the candidate that stands out furthest, or itself.

    jaw: [B, 17, 3] the landmarks at rest, model space. rows: [B, 17, C, 3] their candidates, leading inwards. rotation:
    [B or 1, 3, 3], model to camera space. Returns [B, 17, 3] in model space, differentiable in the chosen points.
    "Out" is the direction from a row's end to its landmark at rest, turned with the head. What stands out at rest
    already is forgiven, so an unturned head keeps its landmarks; on the side that faces the viewer they stay as well.
    """
    rows = torch.cat([jaw[:, :, None], rows], 2)
    out = (jaw - rows[:, :, -1]) * jaw.new_tensor([1.0, 1.0, 0.0])
    at_rest = ((rows - jaw[:, :, None]) * out[:, :, None]).sum(-1).clamp_min(0)
    seen = torch.einsum("bij,bncj->bnci", rotation[:, :2], rows)
    turned = torch.einsum("bij,bnj->bni", rotation[:, :2], out)
    best = ((seen * turned[:, :, None]).sum(-1) - FORGIVEN * at_rest).argmax(2)
    return rows.gather(2, best[:, :, None, None].expand(-1, -1, 1, 3)).squeeze(2)


def contour_candidates(vertices: Tensor, faces: Tensor, points: Tensor, count: int = CONTOUR_CANDIDATES) -> Tensor:
    """Rows of vertices that lead from the jaw landmarks over the cheeks, found by geometry alone.

    vertices: [V, 3] mean shape. faces: [F, 3], the facial skin only. points: [68, 3] landmarks of the mean.
    Returns [17, count] int64. Rows run straight on a cylinder round the vertical axis between the ears: level with the
    eyes towards the outer eye corner, lower down towards the mouth corner, from the chin towards the lower lip.
    """
    axis = (points[0] + points[JAW_LANDMARKS - 1]) / 2
    radius = (points[:JAW_LANDMARKS] - axis)[:, [0, 2]].norm(dim=1).mean()

    def unrolled(p: Tensor) -> Tensor:
        return torch.stack([torch.atan2(p[:, 0] - axis[0], p[:, 2] - axis[2]) * radius, p[:, 1]], 1)

    normals = vertex_normals(vertices[None], faces)[0]
    outward = vertices - axis
    outward[:, 1] = 0
    skin = ((normals * outward).sum(1) > 0).nonzero().squeeze(1)  # leaves out nostrils and the inside of the mouth

    flat, starts = unrolled(vertices[skin]), unrolled(points[:JAW_LANDMARKS])
    ends = _row_ends(starts, unrolled(points))
    share = torch.linspace(0, CONTOUR_REACH, count, dtype=vertices.dtype)
    path = starts[:, None] + share[None, :, None] * (ends - starts)[:, None]
    nearest = torch.cdist(path.reshape(-1, 2), flat).argmin(1)
    return skin[nearest].reshape(JAW_LANDMARKS, count)


def frontal_region(vertices: Tensor, faces: Tensor, chin: float | Tensor) -> Tensor:
    """[F] bool: triangles of a head's face, for meshes whose files mark none.

    vertices: [V, 3] mean. chin: its height. Taken is what looks outwards within FACE_AZIMUTH of straight ahead, from
    the chin up to FACE_SHARE of the way to the crown, seen from the middle of the head's box.
    """
    crown = vertices[:, 1].max()
    axis = (vertices.amin(0) + vertices.amax(0)) / 2
    centre = vertices[faces].mean(1)
    from_axis = (centre - axis) * vertices.new_tensor([1.0, 0.0, 1.0])
    ahead = torch.atan2(from_axis[:, 0], from_axis[:, 2]).abs() <= FACE_AZIMUTH
    level = (centre[:, 1] >= chin) & (centre[:, 1] <= chin + FACE_SHARE * (crown - chin))
    return ahead & level & ((face_normals(vertices[None], faces)[0] * from_axis).sum(1) > 0)


def cylindrical_uv(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Texture coordinates for a mesh without any: unrolled from a vertical cylinder through the middle of its box.

    vertices: [V, 3]. faces: [F, 3]. Returns uv [T, 2] 0…1 and uv_faces [F, 3]; the seam is at the back, where vertices
    that triangles on both sides use appear twice (T ≥ V). The subject's left (+x) is at the picture's right.
    """
    low, high = vertices.amin(0), vertices.amax(0)
    from_axis = vertices - (low + high) / 2
    azimuth = torch.atan2(from_axis[:, 0], from_axis[:, 2])
    corners = azimuth[faces]
    crossing = corners.amax(1) - corners.amin(1) > math.pi
    beyond = crossing[:, None] & (corners < 0)
    twins, twin_of_corner = faces[beyond].unique(return_inverse=True)
    uv_faces = faces.clone()
    uv_faces[beyond] = len(vertices) + twin_of_corner
    across = torch.cat([azimuth, azimuth[twins] + 2 * math.pi])
    up = torch.cat([vertices[:, 1], vertices[twins, 1]])
    return torch.stack([_unit_range(across), _unit_range(up)], 1), uv_faces


def _row_ends(starts: Tensor, points: Tensor) -> Tensor:
    """[17, 2]: where the row of each jaw landmark would end, on the unrolled cylinder.

    Between the heights of eye and mouth corner on the line that joins them, level with the start; from there down to
    the lower lip's height on the line from mouth corner to lip; below it, the lip.
    """
    ends = []
    for number, start in enumerate(starts):
        eye, mouth = (points[36], points[48]) if number < JAW_LANDMARKS // 2 else (points[45], points[54])
        lip = points[57]
        upper, lower = (eye, mouth) if start[1] > mouth[1] else (mouth, lip)
        share = ((upper[1] - start[1]) / (upper[1] - lower[1])).clamp(0, 1)
        ends.append(torch.stack([upper[0] + share * (lower[0] - upper[0]), torch.maximum(start[1], lip[1])]))
    return torch.stack(ends)


def _unit_range(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)
