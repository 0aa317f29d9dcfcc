"""Feature files: all that can be wrong with them is found, and only what is needed is read."""

import dataclasses
import gc
import mmap
import os
import pickle
import time
import unicodedata

import numpy as np
import pytest

from loco.data.features import LARGEST, FeatureLayout, FeatureStore, usable
from loco.data.headers import _parse_header
from loco.errors import FeatureError
from loco.structures import TimeGrid

LAYOUT = FeatureLayout(("{id}_rgb.npy", "{id}_flow.npy"), ("{id}_vggish.npy",), 25, 24, 8)
SUFFIXES = {"rgb": 4, "flow": 3, "vggish": 2}


def write(root, video_id, lengths=(20, 20, 20), dtype=np.float32, seed=0):
    """Files of a video; returns the arrays by suffix."""
    random = np.random.default_rng(seed)
    arrays = {}
    for (suffix, channels), steps in zip(SUFFIXES.items(), lengths, strict=True):
        arrays[suffix] = random.normal(size=(steps, channels)).astype(dtype)
        np.save(root / f"{video_id}_{suffix}.npy", arrays[suffix])
    return arrays


def problems(root, *video_ids, **settings):
    inspection = FeatureStore(root, LAYOUT, **settings).inspect(video_ids)
    return [str(problem) for problem in inspection.problems]


def test_layout_has_a_grid_and_plain_patterns():
    layout = FeatureLayout(["a/{id}.npy"], ["{id}_x.npy"], 16, 16, 4)
    assert layout.grid == TimeGrid(16, 16, 4)
    assert layout.patterns == ("a/{id}.npy", "{id}_x.npy")
    assert hash(layout) == hash(pickle.loads(pickle.dumps(layout)))


@pytest.mark.parametrize(
    ("visual", "message"),
    [
        ([], r"visual must be a list of one or more"),
        ("{id}.npy", r"visual must be a list of one or more file patterns, got '\{id\}.npy'"),
        (["rgb.npy"], r"a relative path with '\{id\}' once, such as .* got 'rgb.npy'"),
        (["{id}/{id}.npy"], "once"),
        (["/data/{id}.npy"], "relative"),
        (["../{id}.npy"], "relative"),
        ([5], "got 5"),
        (["{id}_vggish.npy"], "twice"),
    ],
)
def test_bad_patterns_are_refused(visual, message):
    with pytest.raises(ValueError, match=message):
        FeatureLayout(visual, ["{id}_vggish.npy"], 25, 24, 8)


def test_bad_grid_is_refused():
    with pytest.raises(ValueError, match=r"TimeGrid\.stride must be positive"):
        dataclasses.replace(LAYOUT, stride=0)


def test_store_needs_its_folder_and_a_sensible_setting(tmp_path):
    with pytest.raises(FeatureError, match="expected the folder of the feature files, not found"):
        FeatureStore(tmp_path / "none", LAYOUT)
    with pytest.raises(ValueError, match="max_length_difference"):
        FeatureStore(tmp_path, LAYOUT, max_length_difference=-1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("video_id", ["abc", "-a_B.c-1"])
def test_loads_what_was_written(tmp_path, dtype, video_id):
    arrays = write(tmp_path, video_id, (20, 21, 19), dtype)
    store = FeatureStore(tmp_path, LAYOUT)
    inspection = store.inspect([video_id])
    assert inspection.lengths == {video_id: 19}
    assert (inspection.visual_channels, inspection.audio_channels) == (7, 2)
    assert inspection.problems == []
    visual, audio = store.load(video_id)
    assert visual.dtype == audio.dtype == dtype
    np.testing.assert_array_equal(visual, np.hstack([arrays["rgb"][:19], arrays["flow"][:19]]))
    np.testing.assert_array_equal(audio, arrays["vggish"][:19])
    part, _ = store.load(video_id, 5, 9)
    np.testing.assert_array_equal(part, visual[5:9])


def test_fortran_order_and_a_video_of_one_step(tmp_path):
    write(tmp_path, "a", (1, 1, 1))
    array = np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4))
    np.save(tmp_path / "a_rgb.npy", array)
    store = FeatureStore(tmp_path, LAYOUT)
    assert store.inspect(["a"]).lengths == {"a": 1}
    np.testing.assert_array_equal(store.load("a")[0][:, :4], array[:1])


def test_reads_only_the_rows_asked_for(tmp_path, monkeypatch):
    write(tmp_path, "a", (20, 20, 20))
    big = np.lib.format.open_memmap(
        tmp_path / "a_rgb.npy", mode="w+", dtype=np.float32, shape=(5_000_000, 4)
    )
    big[3:6] = 7  # the rest is a hole of 80 MB in the file
    big.flush()
    del big
    taken = []
    real = np.load

    def watched(*args, **kwargs):
        array = real(*args, **kwargs)
        taken.append(array)
        return array

    monkeypatch.setattr(np, "load", watched)
    store = FeatureStore(tmp_path, LAYOUT, max_length_difference=10**9)
    assert store.inspect(["a"]).lengths == {"a": 20}
    assert taken == []  # headers only
    visual, _ = store.load("a", 3, 6)
    assert (visual[:, :4] == 7).all()
    assert len(taken) == 3
    assert all(isinstance(array.base, mmap.mmap) for array in taken)
    assert type(visual) is np.ndarray  # in memory: no file stays open behind it
    assert visual.base is None


def test_problems_are_all_told_at_once(tmp_path):
    for video_id in ("good", "good2", "good3"):
        write(tmp_path, video_id)
    write(tmp_path, "missing")
    (tmp_path / "missing_flow.npy").unlink()
    write(tmp_path, "empty")
    (tmp_path / "empty_rgb.npy").write_bytes(b"")
    write(tmp_path, "flat")
    np.save(tmp_path / "flat_rgb.npy", np.zeros(20, np.float32))
    write(tmp_path, "hollow", (0, 20, 20))
    write(tmp_path, "whole")
    np.save(tmp_path / "whole_vggish.npy", np.zeros((20, 2), np.int32))
    write(tmp_path, "pipe")
    (tmp_path / "pipe_rgb.npy").unlink()
    os.mkfifo(tmp_path / "pipe_rgb.npy")
    write(tmp_path, "device")
    (tmp_path / "device_rgb.npy").unlink()
    (tmp_path / "device_rgb.npy").symlink_to("/dev/zero")
    write(tmp_path, "object")
    np.save(tmp_path / "object_rgb.npy", np.array([[None]]), allow_pickle=True)
    write(tmp_path, "truncated")
    path = tmp_path / "truncated_rgb.npy"
    path.write_bytes(path.read_bytes()[:-10])
    write(tmp_path, "page")
    (tmp_path / "page_rgb.npy").write_text("<html>404</html>" * 50)
    write(tmp_path, "pickle")
    (tmp_path / "pickle_rgb.npy").write_bytes(pickle.dumps(np.zeros((20, 4))))
    write(tmp_path, "header")
    (tmp_path / "header_rgb.npy").write_bytes(b"\x93NUMPY\x01\x00")
    write(tmp_path, "wide")
    np.save(tmp_path / "wide_vggish.npy", np.zeros((20, 5), np.float32))
    write(tmp_path, "short", (20, 20, 11))
    write(tmp_path, "folder")
    (tmp_path / "folder_rgb.npy").unlink()
    (tmp_path / "folder_rgb.npy").mkdir()

    bad = {
        "missing": ["missing_flow.npy: missing"],
        "empty": ["empty_rgb.npy: empty, 0 bytes"],
        "flat": ["flat_rgb.npy: shape (20,), expected 2 dimensions (steps, channels)"],
        "hollow": ["hollow_rgb.npy: shape (0, 4), expected at least one step and one channel"],
        "whole": ["whole_vggish.npy: dtype int32, expected float16 or float32"],
        "pipe": ["pipe_rgb.npy: a pipe or a device, expected a file"],
        "device": ["device_rgb.npy: a pipe or a device, expected a file"],
        "object": ["object_rgb.npy: holds pickled Python objects, expected float16 or float32 num"],
        "truncated": ["truncated_rgb.npy: truncated, 438 of 448 bytes"],
        "page": ["page_rgb.npy: not an .npy file"],
        "pickle": ["pickle_rgb.npy: not an .npy file"],
        "header": ["header_rgb.npy: not an .npy file"],
        "wide": ["wide_vggish.npy: 5 channels, other videos have 2"],
        "short": [
            "short_vggish.npy: 11 steps, short_rgb.npy has 20; a difference of at most 8 is allowed"
        ],
        "folder": ["folder_rgb.npy: cannot be read: Is a directory"],
        "../up": ["../up_rgb.npy: the id of a video must be without path separators"] * 3,
    }
    store = FeatureStore(tmp_path, LAYOUT)
    inspection = store.inspect(["good", *bad, "good2", "good3"])
    assert list(inspection.lengths) == ["good", "good2", "good3"]
    assert (inspection.visual_channels, inspection.audio_channels) == (7, 2)
    found = [str(problem) for problem in inspection.problems]
    expected = [(video_id, text) for video_id, texts in bad.items() for text in texts]
    assert len(found) == len(expected)
    for line, (video_id, text) in zip(found, expected, strict=True):
        name = text.split("_")[0] if video_id == "../up" else text
        assert line.startswith(f"video {video_id!r}: {name}"), line
        assert "\n" not in line


@pytest.mark.parametrize("dtype", [">f2", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("fortran", [False, True])
def test_any_byte_order_and_memory_order_and_float64_are_read(tmp_path, dtype, fortran):
    """As the same numbers in this machine's float32 (float16 stays what it is)."""
    write(tmp_path, "plain")
    write(tmp_path, "other", dtype=dtype)
    for suffix in SUFFIXES:
        array = np.load(tmp_path / f"plain_{suffix}.npy").astype(dtype)
        np.save(tmp_path / f"other_{suffix}.npy", np.asfortranarray(array) if fortran else array)
    store = FeatureStore(tmp_path, LAYOUT)
    inspection = store.inspect(["plain", "other"])
    assert inspection.problems == []
    assert inspection.float64 == (3 if dtype.endswith("8") else 0)
    for ours, plain in zip(store.load("other", 3, 9), store.load("plain", 3, 9), strict=True):
        assert ours.dtype == (np.float16 if dtype.endswith("2") else np.float32)
        assert ours.dtype.isnative
        np.testing.assert_allclose(ours, plain, rtol=1e-3)


def test_a_float64_too_large_for_float32_is_told(tmp_path):
    write(tmp_path, "x", dtype=np.float64)
    values = np.load(tmp_path / "x_rgb.npy")
    values[4] = 1e300
    np.save(tmp_path / "x_rgb.npy", values)
    with pytest.raises(FeatureError, match=r"x_rgb.npy: NaN or infinity in 1 steps.* is 4"):
        FeatureStore(tmp_path, LAYOUT).load("x")


@pytest.mark.parametrize("value", [3e38, -2e8])
def test_a_value_that_would_overflow_in_a_net_is_damage(tmp_path, value):
    """Its video would lose its events to NaN, which is above no threshold."""
    write(tmp_path, "x")
    values = np.load(tmp_path / "x_rgb.npy").astype(np.float32)
    values[4, 1] = value
    np.save(tmp_path / "x_rgb.npy", values)
    store = FeatureStore(tmp_path, LAYOUT)
    told = r"x_rgb.npy: values beyond ±1e\+08 in 1 steps, the first is 4"
    with pytest.raises(FeatureError, match=told):
        store.load("x", 2)
    assert len(store.check_values(["x"])) == 1
    store.load("x", 0, 4)


def test_usable_values():
    for dtype in (np.float16, np.float32, np.float64):
        assert usable(np.array([[-6e4, 0.0, 6e4]], dtype))
        assert usable(np.empty((0, 3), dtype))
        for value in (np.nan, np.inf, -np.inf):
            assert not usable(np.array([[1.0, value, -1.0]], dtype))
    assert usable(np.array([-LARGEST, LARGEST]))
    assert not usable(np.array([0.0, -1.01 * LARGEST]))


def test_hidden_files_are_no_videos(tmp_path):
    for video_id in ("a", "._a", ".nfs0001", ".hidden"):
        write(tmp_path, video_id)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    write(tmp_path / ".ipynb_checkpoints", "b")
    assert FeatureStore(tmp_path, LAYOUT).find_videos() == ["a"]
    nested = FeatureLayout(("{id}/rgb.npy",), ("{id}/audio.npy",), 25, 24, 8)
    for folder in ("c", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir(exist_ok=True)
        np.save(tmp_path / folder / "rgb.npy", np.zeros((3, 2), np.float32))
    assert FeatureStore(tmp_path, nested).find_videos() == ["c"]


def test_another_unicode_form_of_a_name_is_named(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "vidéo_ñ") for form in ("NFC", "NFD"))
    write(tmp_path, decomposed)
    write(tmp_path, "other")
    inspection = FeatureStore(tmp_path, LAYOUT).inspect([composed, "other", "nöwhere"])
    found = [str(problem) for problem in inspection.problems]
    assert all("in another Unicode form (NFD)" in line for line in found[:3])
    assert all(line.endswith("missing") for line in found[3:])
    assert len(found) == 6


@pytest.mark.parametrize("lengths", [(20, 20, 12), (20, 12, 20), (12, 20, 20)])
def test_a_difference_of_lengths_is_allowed_to_the_setting(tmp_path, lengths):
    write(tmp_path, "a", lengths)
    assert problems(tmp_path, "a") == []
    assert len(problems(tmp_path, "a", max_length_difference=7)) == 1
    assert FeatureStore(tmp_path, LAYOUT).load("a")[0].shape == (12, 7)


def test_long_headers_are_read(tmp_path):
    write(tmp_path, "a")
    with (tmp_path / "a_rgb.npy").open("wb") as file:
        header = repr({"descr": "<f4", "fortran_order": False, "shape": (20, 4)}) + " " * 900 + "\n"
        file.write(b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode())
        file.write(np.zeros((20, 4), np.float32).tobytes())
    assert problems(tmp_path, "a") == []
    assert FeatureStore(tmp_path, LAYOUT).load("a")[0].shape == (20, 7)


def test_nothing_readable_has_no_channels(tmp_path):
    inspection = FeatureStore(tmp_path, LAYOUT).inspect(["a"])
    assert (inspection.lengths, inspection.visual_channels, len(inspection.problems)) == ({}, 0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_told_where_they_are(tmp_path, value):
    arrays = write(tmp_path, "a")
    arrays["flow"][7, 1] = value
    np.save(tmp_path / "a_flow.npy", arrays["flow"])
    store = FeatureStore(tmp_path, LAYOUT)
    store.load("a", 8)
    with pytest.raises(FeatureError, match=r"video 'a': .*a_flow\.npy: NaN or infinity in 1 steps"):
        store.load("a")
    with pytest.raises(FeatureError, match="the first is 7"):
        store.load("a", 5, 9)


def test_large_half_precision_values_are_finite(tmp_path):
    write(tmp_path, "a", dtype=np.float16)
    np.save(tmp_path / "a_rgb.npy", np.full((20, 4), 65504, np.float16))
    assert FeatureStore(tmp_path, LAYOUT).load("a")[0].max() == 65504


def test_load_says_what_is_wrong(tmp_path):
    write(tmp_path, "a")
    store = FeatureStore(tmp_path, LAYOUT)
    with pytest.raises(FeatureError, match=r"video 'b': .*b_rgb\.npy: missing"):
        store.load("b")
    for start, stop in ((0, 21), (20, None), (5, 5), (-1, 4)):
        with pytest.raises(FeatureError, match=r"video 'a': steps \[.* hold 20"):
            store.load("a", start, stop)
    np.save(tmp_path / "a_rgb.npy", np.array([[None]]), allow_pickle=True)
    with pytest.raises(FeatureError, match="holds pickled Python objects"):
        store.load("a")


@pytest.mark.parametrize(
    "video_id", ["", ".", "..", "a/b", "/etc/x", "..\\b", "a..b", "a\0", "a\n"]
)
def test_ids_that_lead_elsewhere_are_refused(tmp_path, video_id):
    store = FeatureStore(tmp_path, LAYOUT)
    with pytest.raises(FeatureError, match="an id that names files must be without"):
        store.load(video_id)


def test_finds_videos(tmp_path):
    for video_id in ("b", "-a_1.x", "_rgb"):
        write(tmp_path, video_id)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "only_vggish.npy").write_bytes(b"")
    assert FeatureStore(tmp_path, LAYOUT).find_videos() == ["-a_1.x", "_rgb", "b"]


def test_finds_videos_in_folders_and_among_names_that_begin_alike(tmp_path):
    (tmp_path / "v[1]").mkdir()
    (tmp_path / "v[1]" / "-a.npy").touch()
    layout = FeatureLayout(["v[1]/{id}.npy"], ["a/{id}.npy"], 25, 24, 8)
    assert FeatureStore(tmp_path, layout).find_videos() == ["-a"]
    (tmp_path / "x.npy").touch()
    (tmp_path / "x_audio.npy").touch()
    layout = FeatureLayout(["{id}.npy"], ["{id}_audio.npy"], 25, 24, 8)
    assert FeatureStore(tmp_path, layout).find_videos() == ["x"]
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "rgb.npy").touch()
    layout = FeatureLayout(["{id}/rgb.npy"], ["{id}/audio.npy"], 25, 24, 8)
    assert FeatureStore(tmp_path, layout).find_videos() == ["y"]


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path):
    """Python 3.11 fails where the collector switches threads while two are in its parser."""
    for number in range(24):  # lengths differ, so that no header is known from before
        for pattern in LAYOUT.patterns:
            np.save(tmp_path / pattern.format(id=number), np.ones((1 + number, 2), np.float32))
    thresholds, switch = gc.get_threshold(), lambda *_: time.sleep(0)
    gc.callbacks.append(switch)
    gc.set_threshold(20)
    try:
        for _ in range(20):
            _parse_header.cache_clear()
            assert len(FeatureStore(tmp_path, LAYOUT).inspect(map(str, range(24))).lengths) == 24
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(switch)
