"""Faces of drawn people in pictures of any size: the embedded finder's search.

The scout goes through ever smaller copies of a picture and names boxes; overlapping ones are merged. The marker looks
at every box, then once more at the square that its first answer gives, upright and at the right size, and at its mirror
image: the mean of both is what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..checkpoints import read
from ..errors import UserError
from ..face.landmarks import LEFT_EYE, RIGHT_EYE, Face, mirrored_points, move_points
from ..networks import landmark_finder
from ..networks.landmark_finder import FACE_SIDE, STRIDE, LandmarkFinder

DEFAULT = Path(__file__).resolve().parents[2] / "weights" / "toon_landmarks.safetensors"
"""The embedded one, for toon people."""
FORMAT, VERSION = "portrait_rig.landmark_finder", "1"
MINIMUM_SCORE = 0.6
"""Faces below it are not reported. Of 160 held-out portraits none scores below 0.93; of pictures without a face only
portraits in shuffled pieces and upside down, which hold faces of a kind, score more than 0.3."""
HOPEFUL = 0.25
"""What the scout must think of a place for the marker to look at it."""
CANDIDATES = 40
"""Most boxes of a picture that the marker looks at, best first."""
OVERLAP = 0.35
"""Boxes that overlap more than this share (intersection over union) are one face."""
SMALLEST_COPY = 20
"""Pixels: copies of a picture end before a side gets shorter; a face that fills such a one is met there."""
WIDER = 1.6
"""Side of the marker's square by that of the face's box, so that hair, ears and chin are seen whole."""
LARGEST_FACE_SHARE = 1.5
"""Boxes larger than this share of the picture's longer side are no faces."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """n upright squares. middle: [n, 2] pixels. side: [n] pixels. score: [n] 0…1."""

    middle: Tensor
    side: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.side)

    def __getitem__(self, chosen: Tensor | slice) -> Boxes:
        return Boxes(self.middle[chosen], self.side[chosen], self.score[chosen])


@dataclass(frozen=True, eq=False)
class ToonFinder:
    """The networks of a file, frozen."""

    name: str
    network: LandmarkFinder

    @torch.no_grad()
    def find(self, pictures: Tensor, minimum_score: float = MINIMUM_SCORE) -> list[list[Face]]:
        """Pictures [B, 3, H, W] RGB 0…1 -> for every picture its faces with 68 points, best score first."""
        if pictures.dim() != 4 or pictures.shape[1] != 3:
            raise UserError(f"Faces are looked for in pictures [B, 3, H, W]; got {list(pictures.shape)}.")
        if not torch.isfinite(pictures).all():
            raise UserError("The pictures hold values that are no numbers (NaN or infinite).")
        return [self._in_one(picture[None].to(self.network.marker.mean), minimum_score) for picture in pictures]

    def describe(self) -> str:
        """One line: what was recognised."""
        return f"{self.name}: {self.network.describe()}"

    def _in_one(self, picture: Tensor, minimum_score: float) -> list[Face]:
        boxes = merged(self._boxes(picture))[:CANDIDATES]
        if not len(boxes):
            return []
        first, _ = self._marked(picture, boxes.middle, boxes.side, torch.zeros(len(boxes)))
        points, score = self._marked(picture, *box_of(first), roll_of(first), both=True)
        middle, side = box_of(points)
        found = merged(Boxes(middle, side, torch.minimum(score, (boxes.score + 1) / 2)), points)
        boxes, points = found
        return [
            Face(marks.cpu(), float(score))
            for marks, score in zip(points, boxes.score, strict=True)
            if score >= minimum_score
        ]

    def _boxes(self, picture: Tensor) -> Boxes:
        """Of all copies of a picture [1, 3, H, W]."""
        found, (height, width) = [], picture.shape[-2:]
        level = 0
        while level == 0 or min(height, width) / 2**level >= SMALLEST_COPY:
            size = (max(round(height / 2**level), 1), max(round(width / 2**level), 1))
            copy = functional.interpolate(picture, size, mode="bilinear", antialias=True) if level else picture
            boxes = peaks(self.network.scout(copy)[0])
            scale = torch.tensor([width / size[1], height / size[0]])
            found.append(Boxes(boxes.middle * scale, boxes.side * scale.mean(), boxes.score))
            level += 1
        boxes = Boxes(*(torch.cat([getattr(part, name) for part in found]) for name in ("middle", "side", "score")))
        return boxes[boxes.side <= LARGEST_FACE_SHARE * max(height, width)]

    def _marked(
        self, picture: Tensor, middle: Tensor, side: Tensor, roll: Tensor, both: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Points [n, 68, 2] in pixels and scores [n] in squares round boxes of a picture [1, 3, H, W].

        both: the mean of what is found in the squares and in their mirror images; on held-out portraits that is 5 %
        nearer to the truth.
        """
        size = self.network.marker.side
        matrices = squares(middle, side, roll, size)
        seen = crops(picture.expand(len(side), -1, -1, -1), matrices, size)
        points, logits = self.network.marker(seen)
        points, score = (points + 0.5) * size, logits.sigmoid()
        if both:
            mirrored, logits = self.network.marker(seen.flip(3))
            points = (points + mirrored_points((mirrored + 0.5) * size, size)) / 2
            score = (score + logits.sigmoid()) / 2
        return move_points(points, torch.linalg.inv(matrices.double())), score


def load_toon_finder(path: str | Path = DEFAULT) -> ToonFinder:
    """The finder in a file, on the CPU. UserError where the file is missing, damaged or holds something else."""
    checkpoint = read(path)
    if not landmark_finder.matches(checkpoint.tensors):
        raise UserError(
            f"'{checkpoint.path.name}' holds no finder of drawn faces, but: {', '.join(checkpoint.top_names())}. "
            "Choose toon_landmarks.safetensors, or a file that `train toon-landmarks` wrote."
        )
    if checkpoint.metadata.get("version", VERSION) != VERSION:
        raise UserError(
            f"'{checkpoint.path.name}' holds a finder of version {checkpoint.metadata['version']}, this pack reads "
            f"{VERSION}. Update the pack."
        )
    return ToonFinder(checkpoint.path.stem, landmark_finder.from_tensors(checkpoint.tensors))


def box_of(points: Tensor) -> tuple[Tensor, Tensor]:
    """[B, 68, 2] pixels -> middle [B, 2] and side [B] of the square that counts as the face's box."""
    low, high = points.amin(1), points.amax(1)
    return (low + high) / 2, (high - low).mean(1)


def roll_of(points: Tensor) -> Tensor:
    """[B, 68, 2] -> [B] radians by which the line through the eyes is turned, clockwise in the picture."""
    across = points[:, RIGHT_EYE].mean(1) - points[:, LEFT_EYE].mean(1)
    return torch.atan2(across[:, 1], across[:, 0])


def squares(middle: Tensor, side: Tensor, roll: Tensor, size: int) -> Tensor:
    """[n, 3, 3] picture's pixels -> pixels of size²: a square WIDER than the box, turned upright by `roll`."""
    scale = size / (WIDER * side.clamp(min=1.0))
    cosine, sine = roll.cos() * scale, roll.sin() * scale
    matrices = torch.zeros(len(side), 3, 3, device=side.device)
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine, sine
    matrices[:, 1, 0], matrices[:, 1, 1] = -sine, cosine
    matrices[:, :2, 2] = size / 2 - (matrices[:, :2, :2] @ middle[:, :, None])[:, :, 0]
    matrices[:, 2, 2] = 1
    return matrices


def crops(pictures: Tensor, matrices: Tensor, size: int) -> Tensor:
    """[n, 3, H, W], [n, 3, 3] old pixels -> new, give [n, 3, size, size]; the border goes on outside.

    Shrinking averages: the pictures are halved first, so that a new pixel never spans more than two.
    """
    shrink = 1 / matrices[:, :2, :2].detach().norm(dim=1).mean(1)
    out = pictures.new_zeros(len(pictures), pictures.shape[1], size, size)
    height, width = pictures.shape[-2:]
    halvings = shrink.clamp(min=1).log2().floor().long()
    for count in halvings.unique().tolist():
        chosen = (halvings == count).nonzero()[:, 0]
        smaller = (max(round(height / 2**count), 1), max(round(width / 2**count), 1))
        some = pictures[chosen]
        if count:
            some = functional.interpolate(some, smaller, mode="bilinear", antialias=True)
        ratio = matrices.new_tensor([width / smaller[1], height / smaller[0], 1.0])
        out[chosen] = _sampled(some, matrices[chosen] * ratio, size)
    return out


def _sampled(pictures: Tensor, matrices: Tensor, size: int) -> Tensor:
    height, width = pictures.shape[-2:]
    old = torch.tensor([[2 / width, 0.0, -1.0], [0.0, 2 / height, -1.0], [0.0, 0.0, 1.0]]).to(matrices)
    new = torch.tensor([[2 / size, 0.0, -1.0], [0.0, 2 / size, -1.0], [0.0, 0.0, 1.0]]).to(matrices)
    back = old @ torch.linalg.inv(matrices) @ torch.linalg.inv(new)
    grid = functional.affine_grid(back[:, :2], [len(pictures), 3, size, size], align_corners=False)
    return functional.grid_sample(pictures, grid.to(pictures), "bilinear", "border", align_corners=False)


def peaks(maps: Tensor) -> Boxes:
    """The scout's maps [4, h, w] -> boxes at the local maxima that are hopeful, in its picture's pixels."""
    score = maps[0].sigmoid()
    highest = functional.max_pool2d(score[None], 3, 1, 1)[0]
    row, column = ((score == highest) & (score >= HOPEFUL)).nonzero().unbind(1)
    cells = torch.stack([column, row], 1) + 0.5
    middle = (cells + maps[1:3, row, column].T) * STRIDE
    return Boxes(middle, FACE_SIDE * 2 ** maps[3, row, column].clamp(-2, 2), score[row, column])


def merged(boxes: Boxes, points: Tensor | None = None) -> Boxes | tuple[Boxes, Tensor]:
    """Best first, without those that overlap a better one; with `points` [n, …] of each, theirs too."""
    order = boxes.score.argsort(descending=True, stable=True)
    kept: list[int] = []
    for number in order.tolist():
        if all(_overlap(boxes, number, other) <= OVERLAP for other in kept):
            kept.append(number)
    chosen = torch.tensor(kept, dtype=torch.int64)
    return boxes[chosen] if points is None else (boxes[chosen], points[chosen])


def _overlap(boxes: Boxes, a: int, b: int) -> float:
    """Intersection over union of two boxes."""
    (ax, ay), (bx, by) = boxes.middle[a].tolist(), boxes.middle[b].tolist()
    sides = float(boxes.side[a]), float(boxes.side[b])
    reach = sum(sides) / 2
    wide = max(0.0, min(reach - abs(ax - bx), *sides))
    high = max(0.0, min(reach - abs(ay - by), *sides))
    shared = wide * high
    return shared / max(sides[0] ** 2 + sides[1] ** 2 - shared, 1e-9)
