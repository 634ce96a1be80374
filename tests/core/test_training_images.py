"""Pictures to train on: what is read, what is refused, and an order that remembers nothing."""

from __future__ import annotations

import numpy
import pytest
import torch
from discs import disc, discs
from PIL import Image
from portrait_rig.core.errors import UserError
from portrait_rig.core.training import images
from portrait_rig.core.training.images import BatchPictures, Feed, FolderPictures, MadePictures, StreamedPictures


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


def numbered(count):
    """Pictures whose every value is their own number, without end or as many as `count`."""

    class Numbered:
        about, fingerprint, in_order = "numbers", "n", False

        def picture(self, number):
            picture = torch.full((3, 2, 2), number, dtype=torch.uint8)
            picture[:, :, 1] += 100  # the right half, to see mirrored ones
            return picture

    Numbered.count = count
    return Numbered()


def drawn(feed, steps):
    """[(number, mirrored)] of all pictures of the steps."""
    rows = torch.cat([feed.at(step) for step in steps])[:, 0, 0].tolist()
    return [(min(row), row[0] > row[1]) for row in rows]


# Folders


def test_a_folder_is_read_with_its_subfolders_and_every_size(tmp_path):
    save(tmp_path / "a.png", disc(0, (20, 30)))
    save(tmp_path / "sub" / "b.JPG", disc(1, (64, 16)))
    (tmp_path / "notes.txt").write_text("no picture")
    source = FolderPictures(tmp_path, (16, 8))
    assert source.count == 2 and not source.skipped
    assert all(source.picture(n).shape == (3, 16, 8) and source.picture(n).dtype == torch.uint8 for n in range(2))
    assert source.about == f"2 pictures of the folder '{tmp_path.name}'"


def test_the_middle_is_taken_and_shrinking_averages():
    stripes = numpy.zeros((8, 24, 3), numpy.uint8)
    stripes[:, 8:16] = 200  # the middle square, whose columns alternate around 200
    stripes[:, 8:16:2] += 40
    stripes[:, 9:16:2] -= 40
    found = images.fitted(Image.fromarray(stripes), (2, 2)).float()
    assert (found - 200).abs().max() <= 16  # measured 13; its neighbours are black, a single pixel is 160 or 240


def test_unreadable_files_are_named_and_left_out(tmp_path):
    save(tmp_path / "good.png", disc(0))
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    Image.fromarray(numpy.zeros((4, 4), numpy.uint16)).save(tmp_path / "deep.png")
    source = FolderPictures(tmp_path, (8, 8))
    assert source.count == 1
    assert source.skipped == {"bad.jpg": "not a readable picture", "deep.png": "more than 8 bits a channel"}
    assert images.named(source.skipped) == "bad.jpg (not a readable picture), deep.png (more than 8 bits a channel)"


def test_many_unreadable_files_are_counted():
    assert images.named({f"{n}.png": "why" for n in range(7)}).endswith("4.png (why) and 2 more")


def test_a_file_that_breaks_off_gives_way_to_the_next(tmp_path):
    for number in range(2):
        save(tmp_path / f"{number}.png", torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(number)))
    content = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(content[: len(content) // 2])
    source = FolderPictures(tmp_path, (8, 8))
    assert source.count == 2 and torch.equal(source.picture(0), source.picture(1))
    assert list(source.skipped) == ["0.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "There is no folder"), ({}, "holds no pictures"), ({"a.png": b"x"}, r"None of the 1 pictures.*a\.png")],
)
def test_a_folder_without_pictures_is_a_sentence(tmp_path, content, words):
    folder = tmp_path / "pictures"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=words) as caught:
        FolderPictures(folder, (8, 8))
    assert str(caught.value).endswith(".")


def test_transparency_becomes_white_and_the_camera_is_turned():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert images.fitted(clear, (4, 4)).min() == 255
    wide = Image.new("RGB", (8, 4), "red")
    wide.paste("blue", (4, 0, 8, 4))
    wide.getexif()[0x0112] = 6  # taken upright: the right half belongs at the bottom
    upright = images.fitted(wide, (8, 4))
    assert upright[2, -1].min() == 255 and upright[2, 0].max() == 0


def test_the_cache_ends_where_its_memory_does(tmp_path, monkeypatch):
    for number in range(3):
        save(tmp_path / f"{number}.png", disc(number))
    monkeypatch.setattr(images, "CACHE_BYTES", 2 * 3 * 8 * 8)
    source = FolderPictures(tmp_path, (8, 8))
    first = [source.picture(n).clone() for n in range(3)]
    assert len(source._kept) == 2
    assert all(torch.equal(source.picture(n), first[n]) for n in range(3))


def test_the_fingerprint_tells_other_pictures_and_sizes_apart(tmp_path):
    save(tmp_path / "a.png", disc(0))
    prints = {FolderPictures(tmp_path, size).fingerprint for size in ((8, 8), (16, 16), (8, 8))}
    save(tmp_path / "b.png", disc(1))
    prints.add(FolderPictures(tmp_path, (8, 8)).fingerprint)
    assert len(prints) == 3
    assert BatchPictures(discs(2), (8, 8)).fingerprint != BatchPictures(discs(3)[1:], (8, 8)).fingerprint


# Other sources


def test_a_batch_of_the_graph():
    source = BatchPictures(discs(3, (20, 30)), (8, 8))
    assert source.count == 3 and source.picture(2).shape == (3, 8, 8)
    with pytest.raises(UserError, match="no pictures to train on"):
        BatchPictures(torch.zeros(0, 3, 8, 8), (8, 8))


def test_made_pictures_never_end():
    feed = Feed(MadePictures(lambda n: disc(n, (8, 8)), "discs"), 2)
    expected = (torch.stack([disc(10, (8, 8)), disc(11, (8, 8))]) * 255).round().byte()
    assert torch.equal(feed.at(5), expected)
    feed.close()


def test_a_stream_is_read_in_order_and_begins_again():
    starts = []

    def start():
        starts.append(1)
        return (torch.full((3, 1, 1), n / 255) for n in range(5))

    feed = Feed(StreamedPictures(start, "five greys"), 2)
    assert [feed.at(step)[:, 0, 0, 0].tolist() for step in range(4)] == [[0, 1], [2, 3], [4, 0], [1, 2]]
    feed.close()
    again = Feed(StreamedPictures(start, "five greys"), 2)
    assert again.at(3)[:, 0, 0, 0].tolist() == [1, 2], "a run that goes on skips what was seen"
    again.close()
    empty = StreamedPictures(lambda: [], "nothing")
    with pytest.raises(UserError, match=r"The source of pictures \(nothing\) is empty"):
        empty.picture(0)


# Order


def test_every_picture_comes_once_before_any_comes_again():
    feed = Feed(numbered(7), 4, seed=1)
    numbers = [number for number, _ in drawn(feed, range(7))]
    feed.close()
    rounds = [numbers[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(part) == list(range(7)) for part in rounds)
    assert rounds[0] != rounds[1]


def test_the_order_is_a_function_of_seed_and_step():
    first, second, other = (Feed(numbered(50), 4, seed=seed) for seed in (1, 1, 2))
    there = [drawn(first, [step]) for step in range(8)]
    assert [drawn(second, [step]) for step in (5, 2, 2, 7)] == [there[step] for step in (5, 2, 2, 7)]
    assert drawn(other, range(8)) != [one for step in there for one in step]
    for feed in (first, second, other):
        feed.close()


def test_mirroring_doubles_the_pictures():
    feed = Feed(numbered(3), 6, mirror=True)
    assert sorted(drawn(feed, [0])) == [(number, side) for number in range(3) for side in (False, True)]
    feed.close()
    endless = Feed(numbered(None), 64, mirror=True)
    sides = [mirrored for _, mirrored in drawn(endless, [0])]
    endless.close()
    assert 16 < sum(sides) < 48


def test_processes_share_the_pictures_of_a_step():
    alone = Feed(numbered(9), 6, seed=3)
    pair = [Feed(numbered(9), 6, seed=3, rank=rank, processes=2) for rank in range(2)]
    for step in range(4):
        assert drawn(alone, [step]) == drawn(pair[0], [step]) + drawn(pair[1], [step])
    for feed in (alone, *pair):
        feed.close()


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(number):
        raise UserError("no picture today.")

    feed = Feed(MadePictures(fail, "failures"), 1)
    with pytest.raises(UserError, match="today"):
        feed.at(0)
    feed.close()


def test_seeds_of_close_numbers_are_unrelated():
    seeds = {images.mixed_seed(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400 and images.mixed_seed(1, 2) == images.mixed_seed(1, 2)
