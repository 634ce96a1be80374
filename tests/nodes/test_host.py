"""Values, inference mode, progress and cancel at the border to the host."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from portrait_rig.core.errors import UserError
from portrait_rig.core.types import Camera, FaceParams, GeneratorId, Latent, Mesh
from portrait_rig.nodes import host


def test_a_picture_keeps_its_values_and_changes_its_layout():
    image = torch.rand(2, 5, 7, 3)
    picture = host.picture_in(image)
    assert picture.shape == (2, 3, 5, 7) and picture.dtype == torch.float32 and picture.is_contiguous()
    assert torch.equal(picture.permute(0, 2, 3, 1), image)


def test_the_input_is_copied_not_shared():
    image = torch.rand(1, 4, 4, 3)
    before = image.clone()
    host.picture_in(image).zero_()
    assert torch.equal(image, before)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_is_spread_and_alpha_dropped(channels):
    image = torch.rand(1, 2, 2, channels)
    picture = host.picture_in(image)
    expected = image.expand(-1, -1, -1, 3) if channels == 1 else image[..., :3]
    assert torch.equal(picture, expected.permute(0, 3, 1, 2))


def test_half_precision_comes_in_as_float32():
    assert host.picture_in(torch.rand(1, 2, 2, 3).half()).dtype == torch.float32


def test_values_out_of_range_are_clamped():
    assert host.picture_in(torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 1, 3)).flatten().tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused_with_their_frame(bad):
    image = torch.zeros(3, 2, 2, 3)
    image[1, 0, 0, 0] = bad
    with pytest.raises(UserError, match=r"'photo'.*frame 1\."):
        host.picture_in(image, "photo")


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (1, 0, 4, 3)])
def test_an_empty_batch_is_refused(shape):
    with pytest.raises(UserError, match="holds no pictures"):
        host.picture_in(torch.zeros(shape))


@pytest.mark.parametrize("bad", [torch.zeros(4, 4, 3), torch.zeros(1, 4, 4, 2), None])
def test_another_shape_is_refused(bad):
    with pytest.raises(UserError, match=r"\[B, H, W, 3\], but holds"):
        host.picture_in(bad)


def test_a_picture_goes_out_clamped_detached_and_contiguous():
    picture = (torch.rand(2, 3, 4, 5) * 3 - 1).requires_grad_()
    image = host.picture_out(picture)
    assert image.shape == (2, 4, 5, 3) and image.is_contiguous() and not image.requires_grad
    assert image.min() >= 0 and image.max() <= 1
    assert torch.equal(image, picture.detach().clamp(0, 1).permute(0, 2, 3, 1))


@pytest.mark.parametrize("shape", [(6, 4), (2, 6, 4)])
def test_masks_come_with_and_without_a_batch_and_take_the_pictures_size(shape):
    mask = host.mask_in(torch.ones(shape), (12, 8))
    assert mask.shape == (shape[0] if len(shape) == 3 else 1, 1, 12, 8)
    assert torch.allclose(mask, torch.ones(()))
    assert host.mask_out(mask).shape == (mask.shape[0], 12, 8)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"masks \[B, H, W\]"):
        host.mask_in(torch.zeros(1, 2, 3, 4))


def test_a_mesh_survives_the_way_out_and_in():
    mesh = Mesh(
        vertices=torch.rand(4, 3),
        faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
        uv=torch.rand(4, 2),
        texture=torch.rand(3, 8, 8),
        normals=torch.rand(4, 3),
    )
    out = host.mesh_out(mesh)
    assert out.vertices.shape == (1, 4, 3) and out.texture.shape == (1, 8, 8, 3)
    assert torch.allclose(out.uvs[0, :, 1], 1 - mesh.uv[:, 1])  # the host counts v from the top, as glTF does
    (back,) = host.mesh_in(out)
    for name in ("vertices", "faces", "uv", "texture", "normals"):
        assert torch.allclose(getattr(back, name), getattr(mesh, name)), name
    assert back.colours is None


def test_a_bare_mesh_of_another_node_comes_in():
    (mesh,) = host.mesh_in(host.Types.MESH(torch.rand(1, 3, 3), torch.tensor([[[0, 1, 2]]])))
    assert mesh.uv is None and mesh.texture is None


@pytest.mark.parametrize("vertices", [torch.rand(0, 3, 3), torch.rand(2, 3, 3), torch.rand(3, 3)])
def test_a_mesh_of_another_shape_is_refused(vertices):
    with pytest.raises(UserError, match=r"\[B, V, 3\]"):
        host.mesh_in(host.Types.MESH(vertices, torch.zeros(1, 1, 3, dtype=torch.long)))


# Inference mode -------------------------------------------------------------------------------------------------------


@pytest.fixture
def inference():
    """What ComfyUI runs nodes in."""
    with torch.inference_mode():
        yield


@pytest.mark.usefixtures("inference")
def test_gradients_flow_inside_optimising_through_fresh_inputs():
    given = torch.rand(1, 2, 2, 3)
    assert given.is_inference()
    with host.optimising(1):
        value = host.fresh(given).requires_grad_()
        (value**2).sum().backward()
        assert torch.allclose(value.grad, 2 * value)
    assert torch.is_inference_mode_enabled()


@pytest.mark.usefixtures("inference")
def test_without_fresh_the_same_code_fails():
    """Shows that the test above tests something."""
    given = torch.rand(3)
    with host.optimising(1), pytest.raises(RuntimeError, match="nference"):
        (given * torch.rand(3, requires_grad=True)).sum().backward()


@pytest.mark.usefixtures("inference")
def test_modules_built_in_loading_are_trainable():
    with host.loading():
        layer = torch.nn.Linear(2, 2)
        assert not torch.is_grad_enabled()
    assert not layer.weight.is_inference()


@dataclass(frozen=True, eq=False)
class _Pair:
    a: torch.Tensor
    b: object


@pytest.mark.usefixtures("inference")
def test_fresh_reaches_into_dataclasses_and_containers_and_leaves_the_originals():
    one = torch.rand(1)
    camera = Camera(torch.rand(1), torch.rand(1, 2), (4, 4))
    params = FaceParams("toon", *(torch.zeros(1, 3) for _ in range(6)), torch.zeros(1, 9, 3), camera)
    value = _Pair(one, {"list": [one, (one, "word")], "params": params, "none": None})
    with host.loading():
        copy = host.fresh(value)
    tensors = [copy.a, copy.b["list"][0], copy.b["list"][1][0], copy.b["params"].angles, copy.b["params"].camera.focal]
    assert not any(t.is_inference() for t in tensors)
    assert copy.b["list"][1][1] == "word" and copy.b["params"].layout == "toon" and copy.b["none"] is None
    assert copy.a is not one and torch.equal(copy.a, one)


@pytest.mark.usefixtures("inference")
def test_fresh_heals_a_poisoned_module_and_keeps_a_sound_one():
    poisoned = torch.nn.Linear(2, 2)
    with host.optimising(1):
        sound = torch.nn.Linear(2, 2)
        assert host.fresh(sound) is sound
        healed = host.fresh(poisoned)
        healed(torch.ones(1, 2)).sum().backward()
    assert healed is not poisoned and healed.weight.grad is not None


class _Recorder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("value", torch.zeros(1))
        self.moves = []

    def to(self, device):
        self.moves.append((str(device), torch.is_inference_mode_enabled()))
        return self


@pytest.mark.usefixtures("inference")
def test_modules_return_from_the_device_after_a_failure_and_move_outside_inference_mode(monkeypatch):
    monkeypatch.setattr(host, "device", lambda: torch.device("meta"))
    module = _Recorder()
    with pytest.raises(ZeroDivisionError), host.memory(module) as device:
        assert device.type == "meta"
        raise ZeroDivisionError
    assert module.moves == [("meta", False), ("cpu", False)]


def test_modules_already_there_stay():
    layer = torch.nn.Linear(1, 1)
    with host.memory(layer) as device:
        assert layer.weight.device.type == device.type


def test_what_is_not_connected_takes_no_memory():
    with host.memory(None, torch.nn.Linear(1, 1), None) as device:
        assert device == host.device()


def test_a_latent_waits_without_gradients():
    given = Latent(torch.ones(2, 3, 4, requires_grad=True), GeneratorId("a", "b"))
    kept = host.latent_out(given)
    assert not kept.w.requires_grad and kept.generator == given.generator and given.w.requires_grad


# Progress and cancel --------------------------------------------------------------------------------------------------


@pytest.fixture
def messages():
    """Progress messages as the host hears them."""
    heard = []
    host.on_progress(lambda value, total, preview, node_id=None: heard.append((value, total, preview)))
    yield heard
    host.on_progress(None)


def test_progress_is_throttled_but_the_last_step_always_comes(messages):
    with host.working(10_000) as watch:
        for step in range(1, 10_001):
            watch(step)
    assert messages[-1][:2] == (10_000, 10_000)
    assert len(messages) < 100  # 10,000 cheap steps take well under five seconds


def test_the_live_picture_is_made_only_when_shown_and_is_small(messages, monkeypatch):
    monkeypatch.setattr(host, "SHOWS_PICTURES", True)
    made = []

    def preview():
        made.append(1)
        return torch.rand(3, 900, 600)

    with host.working(1000) as watch:
        for step in range(1, 1001):
            watch(step, 1000, 0.5, preview)
    shown = [preview for _, _, preview in messages if preview]
    assert len(made) == len(shown) < 20
    kind, image, side = shown[0]
    assert kind == "JPEG" and max(image.size) == side == host.PREVIEW_SIDE and image.size == (341, 512)


def test_slow_pictures_take_a_small_part_of_the_time(monkeypatch):
    monkeypatch.setattr(host, "SHOWS_PICTURES", True)
    now, made = [0.0], []
    monkeypatch.setattr(host.time, "monotonic", lambda: now[0])

    def preview():
        made.append(1)
        now[0] += 2.0

    with host.working(1000) as watch:
        for step in range(1, 1001):
            now[0] += 0.1
            watch(step, 1000, 0.5, preview)
    assert len(made) == 6  # at the start, every twenty seconds of the hundred, and at the end


def test_no_pictures_are_made_where_none_are_shown():
    with host.working(1) as watch:
        watch(1, 1, 0.5, lambda: pytest.fail("nobody sees it"))


def test_a_preview_may_have_nothing_to_show(messages, monkeypatch):
    monkeypatch.setattr(host, "SHOWS_PICTURES", True)
    with host.working(1) as watch:
        watch(1, 1, None, lambda: None)
    assert messages == [(1, 1, None)]


def test_every_call_checks_for_cancel():
    with host.working(10) as watch:
        watch(1)
        host._mm.interrupt_current_processing(True)
        with pytest.raises(host.Cancelled):
            watch(2)
        watch(3)  # the request is answered once
    host._mm.interrupt_current_processing(True)
    with pytest.raises(host.Cancelled):
        host.check_cancelled()


def test_exceptions_pass_through_optimising():
    with pytest.raises(host.Cancelled), host.optimising(3):
        raise host.Cancelled


def test_newer_options_are_dropped_where_the_host_does_not_know_them():
    assert host.newer(description="a", no_host_knows_this=1) == {"description": "a"}
