"""Nodes around the picture: where the face is, the crop that a network expects, and the way back."""

from __future__ import annotations

from torch import Tensor

from ..core.errors import UserError
from ..core.face import alignment, marks, points_text
from ..core.face.crop import Crop, paste, take
from ..core.face.landmarks import MISSING, WHICH, Face, Missing, Which, choose, convert, from_core_payload, move
from ..core.methods.find_toon import MINIMUM_SCORE
from ..core.types import Landmarks
from . import face_finders, folders, host
from .face_finders import INSIGHTFACE, MARKERS, TOON, YUNET
from .host import io

AUTO, CORE, TEXT, FILE, FIND = "auto", "core landmarks", "points text", "points file", "find"
SOURCES = (AUTO, CORE, YUNET, TEXT, FILE, TOON, *MARKERS, INSIGHTFACE)
LARGEST_CROP = 4096
"""Pixels; the side of a crop that would take 200 MB a picture."""


class FindFace(io.ComfyNode):
    """Landmarks of one face a picture, from whatever source there is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigFindFace",
            display_name="Find Face",
            category="Portrait Rig/face",
            description="The landmarks of one face in every picture: by the embedded finder of drawn faces, by "
            "insightface's or OpenCV's networks where their files are, from ComfyUI's MediaPipe landmarker, or from "
            "points that you type or read from a file.",
            inputs=[
                io.Image.Input("image", tooltip="B pictures of any size."),
                io.Combo.Input(
                    "source",
                    options=list(SOURCES),
                    default=AUTO,
                    tooltip="Where points come from. 'auto' takes linked core landmarks (478 points), typed points or "
                    "the points file, else it looks for faces: 'toon' is embedded and knows drawn ones (68 points); "
                    "insightface (68 with its 1k3d68 or 2d106det, else 5) and YuNet (5) need files. 5 points are "
                    "enough for crops, not for a fit.",
                ),
                io.Combo.Input(
                    "which",
                    options=list(WHICH),
                    default=WHICH[0],
                    tooltip="How several faces are counted: by the area of the box around their points, from the "
                    "picture's left, or in the order of the source.",
                ),
                io.Int.Input("number", default=1, min=1, max=1000, tooltip="1 is the first face of that count."),
                io.Combo.Input(
                    "missing",
                    options=list(MISSING),
                    default=MISSING[0],
                    tooltip="A picture without that face: stop with an error, skip the picture (fewer come out), or "
                    "pass it on without points.",
                ),
                io.String.Input(
                    "points",
                    default="",
                    multiline=True,
                    tooltip="JSON, in pixels: [[x, y], …] with 5, 68 or 478 points for one face in all pictures, or a "
                    "list with one such face or null for each picture. More forms are on the help page.",
                ),
                io.String.Input(
                    "points_file",
                    default="",
                    tooltip="Name of a .json file in the input folder with the same kind of text; 'name [output]' "
                    "reads the output folder.",
                ),
                io.Float.Input(
                    "minimum_score",
                    default=MINIMUM_SCORE,
                    min=0.1,
                    max=1.0,
                    step=0.05,
                    tooltip="Where faces are looked for: those that the finder is less sure of are not reported; "
                    "0.1…1. Lower finds turned and small faces, and mistakes.",
                ),
                host.CoreLandmarks.Input(
                    "core_landmarks",
                    optional=True,
                    tooltip="FACE_LANDMARKS of ComfyUI's MediaPipe Face Landmarker (from 0.23 on), for the same "
                    "pictures.",
                ),
            ],
            outputs=[
                host.Landmarks.Output(
                    display_name="landmarks", tooltip="5, 68 or 478 points a picture, in pixels of that picture."
                ),
                io.Image.Output(
                    display_name="image", tooltip="The pictures that the landmarks belong to: all but the skipped ones."
                ),
                io.Image.Output(display_name="marked", tooltip="The same pictures with the points drawn on them."),
                io.Int.Output(display_name="faces", tooltip="In how many pictures the face was found."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, points_file: str | None = None, **others: object) -> object:
        """A points file that was saved anew is read anew."""
        return folders.input_state(points_file)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        source: str,
        which: Which,
        number: int,
        missing: Missing,
        points: str,
        points_file: str,
        minimum_score: float,
        core_landmarks: object = None,
    ) -> io.NodeOutput:
        pictures = host.picture_in(image)
        size = tuple(pictures.shape[-2:])
        source = _chosen(source, core_landmarks, points, points_file) if source == AUTO else source
        if source == CORE:
            found = _core_faces(core_landmarks, pictures)
        elif source == TEXT:
            found = points_text.parse(points, size, len(pictures))
        elif source == FILE:
            found = points_text.parse(points_text.read(folders.input_path(points_file)), size, len(pictures))
        elif source == FIND:
            found = face_finders.find_automatically(pictures, minimum_score)
        else:
            found = face_finders.find(source, pictures, minimum_score)
        chosen, kept = choose(found, size, which, number, missing)
        pictures = pictures[kept]
        marked = marks.draw(pictures, chosen)
        return io.NodeOutput(
            chosen,
            host.picture_out(pictures),
            host.picture_out(marked),
            int(chosen.found.sum()),
            ui=host.preview(marked),
        )


class AlignFace(io.ComfyNode):
    """The face brought to where a network expects it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigAlignFace",
            display_name="Align Face",
            category="Portrait Rig/face",
            description="Cuts the face out as a published system does: FFHQ (StyleGAN), Deep3D, EG3D, ArcFace or DECA.",
            inputs=[
                io.Image.Input("image", tooltip="B pictures; 1 goes with the landmarks of N frames."),
                host.Landmarks.Input(
                    "landmarks",
                    tooltip="Of these pictures. Frames without a face take the crop of the nearest frame with one. "
                    "DECA needs 68 points or more, the others 5.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(alignment.ALIGNMENTS),
                    default="FFHQ",
                    tooltip="FFHQ and ArcFace turn the face upright, Deep3D, EG3D and DECA only scale and shift it.",
                ),
                io.Int.Input(
                    "size",
                    default=0,
                    min=0,
                    max=LARGEST_CROP,
                    tooltip="Side of the square crop in pixels; 0 takes what the authors use: "
                    + ", ".join(f"{kind} {side}" for kind, side in alignment.SIZES.items()),
                ),
            ],
            outputs=[
                io.Image.Output(display_name="face", tooltip="B square crops."),
                host.Crop.Output(display_name="crop", tooltip="How they were cut, for Paste Face."),
                host.Landmarks.Output(display_name="landmarks", tooltip="The same points in pixels of the crops."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, landmarks: Landmarks, kind: alignment.Kind, size: int) -> io.NodeOutput:
        pictures = host.picture_in(image)
        require_same_pictures(pictures, landmarks)
        crop = alignment.align(landmarks, kind, size or None)
        faces = take(pictures, crop)
        return io.NodeOutput(host.picture_out(faces), crop, move(landmarks, crop.matrices, crop.size))


class PasteFace(io.ComfyNode):
    """A crop back in its picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigPasteFace",
            display_name="Paste Face",
            category="Portrait Rig/face",
            description="Puts an aligned face, changed or not, back where Align Face took it from, with a soft edge.",
            inputs=[
                io.Image.Input("image", tooltip="The pictures that were aligned; 1 goes with N faces."),
                io.Image.Input("face", tooltip="The crops, of any size; 1 goes with N pictures."),
                host.Crop.Input("crop", tooltip="From the Align Face that cut them."),
                io.Float.Input(
                    "feather",
                    default=0.1,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="Width of the soft edge, as a share of the crop's side; 0 is a hard edge.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Over the crop, of any size: 1 takes the face, 0 keeps the picture. Works together with "
                    "the soft edge.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The pictures with the faces in them."),
                io.Mask.Output(
                    display_name="mask", tooltip="1 where the face has replaced the picture, soft at the edge."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, face: Tensor, crop: Crop, feather: float, mask: Tensor | None = None
    ) -> io.NodeOutput:
        shape = None if mask is None else host.mask_in(mask)
        pasted, cover = paste(host.picture_in(image), host.picture_in(face, "face"), crop, feather, shape)
        return io.NodeOutput(host.picture_out(pasted), host.mask_out(cover))


class LandmarksToText(io.ComfyNode):
    """Landmarks as points text, to keep or to change by hand."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PortraitRigLandmarksToText",
            display_name="Landmarks to Text",
            category="Portrait Rig/face",
            description="Writes landmarks as the JSON text that Find Face reads, so that a face is found once and "
            "corrected by hand.",
            inputs=[
                host.Landmarks.Input("landmarks", tooltip="B frames; those without a face become null."),
                io.Combo.Input(
                    "points",
                    options=["all", "68", "5"],
                    default="all",
                    tooltip="How many points a face are written; fewer are worked out from more, never the reverse.",
                ),
            ],
            outputs=[io.String.Output(display_name="text", tooltip="JSON with the picture's size, in pixels to 0.01.")],
        )

    @classmethod
    def execute(cls, landmarks: Landmarks, points: str) -> io.NodeOutput:
        return io.NodeOutput(points_text.write(landmarks if points == "all" else convert(landmarks, int(points))))


def require_same_pictures(pictures: Tensor, found: Landmarks) -> None:
    """UserError where landmarks were found in pictures of another size."""
    if tuple(pictures.shape[-2:]) != tuple(found.size):
        raise UserError(
            f"The landmarks belong to pictures of {found.size[1]} × {found.size[0]} pixels, these have "
            f"{pictures.shape[-1]} × {pictures.shape[-2]}. Connect the pictures in which the face was found."
        )


def _chosen(source: str, core_landmarks: object, points: str, points_file: str) -> str:
    """What 'auto' means here."""
    if core_landmarks is not None:
        return CORE
    if points.strip():
        return TEXT
    return FILE if points_file.strip() else FIND


def _core_faces(payload: object, pictures: Tensor) -> list[list[Face]]:
    if payload is None:
        raise UserError(
            "The source 'core landmarks' needs the input core_landmarks. Connect ComfyUI's MediaPipe Face Landmarker "
            "(ComfyUI 0.23 or newer), or choose another source."
        )
    found = from_core_payload(payload, tuple(pictures.shape[-2:]))
    if len(found) == 1:
        found = found * len(pictures)
    if len(found) != len(pictures):
        raise UserError(
            f"The core landmarks belong to {len(found)} pictures, but {len(pictures)} are connected. Connect the same "
            "pictures to both nodes."
        )
    return found


NODES = [FindFace, AlignFace, PasteFace, LandmarksToText]
