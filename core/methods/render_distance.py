"""How far pictures are from the faces that parameters describe: colours over the face, and landmarks.

Source: L_render of Tewari et al. 2020, "StyleRig", section 4, which is ℓ of Tewari et al. 2020, "PIE". The weights are
not published; see `LANDMARK_WEIGHT`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional

from ..face.camera import place
from ..face.model import FaceModel
from ..face.render import PosedMesh, RenderSettings, render_mesh
from ..types import FaceParams, common_batch
from .fit.landmarks_stage import project_landmarks

LANDMARK_WEIGHT = 20.0
"""Of the mean squared distance of landmarks in sides of the picture, where colours, a mean squared difference over
0…1, weigh 1: both then pull alike at the start of a training. Chosen; the papers name no number."""
DRAWING = RenderSettings(antialias=False, supersample=2)
"""Only what is drawn is compared, so its outline needs no gradient: that is what landmarks are for. Features of a few
pixels do, therefore the samples."""


@dataclass(frozen=True, eq=False)
class Portraits:
    """B pictures and where their faces are. pictures: [B, 3, H, W] RGB 0…1. points: [B, 68, 2], pixels of them."""

    pictures: Tensor
    points: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def resized(self, size: tuple[int, int]) -> Portraits:
        """The same at another size (H, W); pictures are resized bilinearly, antialiased."""
        height, width = self.pictures.shape[-2:]
        if (height, width) == tuple(size):
            return self
        pictures = functional.interpolate(self.pictures, size, mode="bilinear", antialias=True)
        return Portraits(pictures, self.points * self.points.new_tensor([size[1] / width, size[0] / height]))


class RenderDistance:
    """ℓ(picture, parameters), differentiable in the parameters.

    Compared is facial skin with eyes and mouth; the rest is drawn, too, since it may hide them, but hair may hide it in
    pictures. landmark_weight: see `LANDMARK_WEIGHT`.
    """

    def __init__(self, model: FaceModel, landmark_weight: float = LANDMARK_WEIGHT) -> None:
        self.model, self._landmark_weight = model, landmark_weight
        self._compared = model.face_region | ~model.skin_region

    def points(self, params: FaceParams) -> Tensor:
        """[B, 68, 2] pixels: where the landmarks of these faces are."""
        return project_landmarks(self.model, self._vertices(params), params.angles, params.translation, params.camera)

    def terms(self, seen: Portraits, params: FaceParams) -> tuple[Tensor, Tensor]:
        """(colours [B], landmarks [B]) before the weight. B or 1 pictures, B or 1 faces, through any camera.

        colours: mean squared difference over the pixels where the face is drawn, which carry no gradient themselves
        (0 where it is out of the picture). landmarks: mean squared distance, in longer sides of the picture.
        """
        batch = common_batch(pictures=len(seen), faces=len(params))
        size = seen.pictures.shape[-2], seen.pictures.shape[-1]
        params = params.map(lambda value: value.expand(batch, *value.shape[1:]))
        params = replace(params, camera=params.camera.resized(size))
        vertices = self._vertices(params)
        stands = place(vertices, params.angles, params.translation)
        mesh = PosedMesh(stands, self.model.faces, self.model.vertex_albedo(params.albedo))
        drawn = render_mesh(mesh, params.camera, params.light, params.translation, DRAWING)
        seen_part = self._compared[drawn.fragments.face.clamp_min(0)] & drawn.fragments.covered
        shown = seen_part[:, None].to(drawn.colour)
        off = (drawn.colour - seen.pictures).square().mean(1, keepdim=True) * shown
        colours = off.flatten(1).sum(1) / shown.flatten(1).sum(1).clamp_min(1)
        points = project_landmarks(self.model, vertices, params.angles, params.translation, params.camera)
        landmarks = ((points - seen.points) / max(size)).square().sum(2).mean(1)
        return colours, landmarks

    def __call__(self, seen: Portraits, params: FaceParams) -> Tensor:
        """[B], both together."""
        colours, landmarks = self.terms(seen, params)
        return colours + self._landmark_weight * landmarks

    def _vertices(self, params: FaceParams) -> Tensor:
        return self.model.vertices(params.identity, params.expression, params.joints)
