"""The synthetic benchmark: its bytes, its files, and the properties that it promises."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import run_loco
from loco import cli
from loco.data.annotations import Annotations, read_annotations
from loco.data.features import FeatureLayout, FeatureStore
from loco.data.synthetic.config import random_stream
from loco.data.synthetic.events import (
    NOWHERE,
    Source,
    class_weights,
    draw_sources,
    draw_video,
    leading_classes,
)
from loco.data.synthetic.generator import SyntheticConfig, make_synthetic
from loco.data.synthetic.names import class_names
from loco.data.synthetic.rendering import World, long_memory
from loco.errors import AnnotationError, LocoError
from loco.reporting.figures.synthetic import Alignment, similarity_by_distance

PROJECT = Path(__file__).resolve().parents[3]
REAL = PROJECT.parent / "shared" / "unav100" / "unav100_annotations.json"
LAYOUT = FeatureLayout(
    visual=("{id}_rgb.npy", "{id}_flow.npy"),
    audio=("{id}_vggish.npy",),
    fps=25,
    window=24,
    stride=8,
)
TINY = SyntheticConfig(
    num_videos=(10, 4, 4),
    num_classes=4,
    visual_channels=(6, 5),
    audio_channels=(7,),
    latent_dim=8,
    drift_dim=2,
)


def contents(root: Path) -> dict[str, str]:
    """Digest of every file under a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def real_form(num_videos: int = 30, num_classes: int = 5) -> dict[str, Any]:
    """An annotation file of another origin, with other names, fields and order than ours."""
    rng = np.random.default_rng(7)
    database = {}
    for index in rng.permutation(num_videos):
        labels = {int(index) % num_classes, int(rng.integers(num_classes))}
        database[f"v-{index}_x"] = {
            "subset": ("train", "train", "train", "validation", "test")[index % 5],
            "duration": 20 + index / 7,
            "annotations": [
                {"segment": [1.00001 * k, 4 + 2 * k], "label": f"name {k}", "label_id": k}
                for k in labels
            ],
        }
    return {"version": "other", "database": database}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo in small: fewer videos, all else as by default."""
    root = tmp_path_factory.mktemp("synthetic") / "demo"
    make_synthetic(root, LAYOUT, SyntheticConfig(num_videos=(120, 20, 50)))
    return root


@pytest.fixture(scope="module")
def store(benchmark: Path) -> FeatureStore:
    return FeatureStore(benchmark / "features", LAYOUT)


@pytest.fixture(scope="module")
def annotations(benchmark: Path) -> Annotations:
    return read_annotations(benchmark / "annotations.json")


# ---- the same seed, the same bytes


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert make_synthetic(tmp_path / name, LAYOUT, TINY).created
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 18 * 3 + 3


def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "one", LAYOUT, TINY)
    done: list[tuple[int, int]] = []
    make_synthetic(tmp_path / "two", LAYOUT, TINY, workers=2, progress=lambda *of: done.append(of))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert done == [(number, 18) for number in range(1, 19)]


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "one", LAYOUT, TINY)
    make_synthetic(tmp_path / "two", LAYOUT, replace(TINY, seed=1))
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert not any(one[name] == two[name] for name in one)


def test_order_of_the_annotation_file_does_not_matter(tmp_path: Path) -> None:
    content = real_form()
    backwards = dict(reversed(content["database"].items()))
    roots = []
    for name, database in (("one", content["database"]), ("two", backwards)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"version": "other", "database": database}))
        roots.append(tmp_path / name)
        make_synthetic(roots[-1], LAYOUT, TINY, annotations=file)
    one, two = (contents(root) for root in roots)
    assert one.pop("synthetic.json") != two.pop("synthetic.json")  # it names the file's digest
    assert one == two


# ---- files in the real layout


def test_files_are_what_the_layout_says(store: FeatureStore, annotations: Annotations) -> None:
    inspection = store.inspect(annotations)
    assert inspection.problems == []
    assert (inspection.visual_channels, inspection.audio_channels) == (128, 64)
    assert store.find_videos() == sorted(annotations)
    assert len(annotations.class_names) == 10
    assert [len(annotations.split(s)) for s in ("train", "validation", "test")] == [120, 20, 50]
    for video in annotations.values():
        ends = LAYOUT.grid.end_seconds(inspection.lengths[video.id])
        assert ends <= video.duration < ends + 2.1 * 8 / 25  # a step may be missing


def test_type_and_a_layout_of_folders(tmp_path: Path) -> None:
    layout = FeatureLayout(
        visual=["seen/{id}.npy"], audio=["{id}.npy"], fps=16, window=16, stride=4
    )
    config = replace(TINY, visual_channels=(9,), dtype="float32")
    make_synthetic(tmp_path / "data", layout, config)
    visual, audio = FeatureStore(tmp_path / "data" / "features", layout).load("train_00000")
    assert visual.dtype == audio.dtype == np.float32
    assert visual.shape[1] == 9
    assert audio.shape[1] == 7


def test_modalities_of_a_few_videos_differ_by_one_step(store: FeatureStore) -> None:
    differences = [
        len(np.load(store.path(name, "{id}_rgb.npy"), mmap_mode="r"))
        - len(np.load(store.path(name, "{id}_vggish.npy"), mmap_mode="r"))
        for name in store.find_videos()
    ]
    assert set(differences) == {-1, 0, 1}
    assert 0.03 < np.mean(np.abs(differences)) < 0.2  # 0.1 ± 3.5 standard errors of 190 videos


# ---- event statistics


def test_event_statistics_are_near_those_of_unav100() -> None:
    """1,500 videos; the tolerances are some four standard errors, plus a tenth for the model."""
    config = SyntheticConfig(num_videos=(1500, 0, 0), num_classes=100)
    leading = leading_classes(config, "train", 1500)
    videos = [draw_video(config, f"{i}", int(k)) for i, k in enumerate(leading)]
    durations = np.array([v.duration for v in videos])
    counts = np.array([len(v.events) for v in videos])
    classes = np.array([len({k for *_, k in v.events}) for v in videos])
    lengths = np.array([end - start for v in videos for start, end, _ in v.events])
    overlapping = [
        any(a[1] > b[0] for a, b in zip(v.events, v.events[1:], strict=False)) for v in videos
    ]

    assert durations.min() >= 10
    assert durations.max() <= 60
    assert durations.mean() == pytest.approx(42.1, abs=1.5)
    assert counts.min() == 1
    assert counts.max() <= 23
    assert counts.mean() == pytest.approx(2.8, abs=0.4)
    assert np.mean(counts == 1) == pytest.approx(0.41, abs=0.06)
    assert lengths.min() >= 0.2
    assert np.median(lengths) == pytest.approx(6.4, abs=1.5)
    assert lengths.mean() == pytest.approx(13.9, abs=1.7)
    assert np.mean(overlapping) == pytest.approx(0.28, abs=0.07)
    assert classes.max() <= 8
    assert classes.mean() == pytest.approx(1.6, abs=0.12)
    for video in videos:
        assert all(0 <= start < end <= video.duration for start, end, _ in video.events)
        for start, end, label in video.events:
            same = [e for e in video.events if e[2] == label and e != (start, end, label)]
            assert not any(start < other[1] and other[0] < end for other in same)


def test_classes_have_a_long_tail_and_each_leads_a_video() -> None:
    config = SyntheticConfig(num_classes=100)
    weights = np.sort(class_weights(config))[::-1]
    assert weights[0] / weights[-1] == pytest.approx(100**0.65)
    few = np.bincount(leading_classes(replace(config, num_classes=10), "train", 400), minlength=10)
    assert few.max() > 3 * few.min()
    assert set(leading_classes(config, "test", 120)) == set(range(100))


# ---- what makes the task hard


def test_similarity_decays_with_distance_inside_events(
    store: FeatureStore, annotations: Annotations
) -> None:
    """The modalities have no channel in common: a ridge regression from audio to visual steps,
    fitted on train, makes them comparable, and the similarity is measured on test."""
    alignment = Alignment.fit(store, annotations.split("train"))
    inside, across = similarity_by_distance(alignment, store, annotations.split("test"), 40)
    at = {seconds: inside[round(seconds * 25 / 8)] for seconds in (0, 1, 2.5, 5, 10)}
    assert list(at.values()) == sorted(at.values(), reverse=True)
    assert at[0] > 1.5 * at[5]
    assert at[10] > 0.02  # what is left is the class
    assert (inside[2:] > across[2:]).all()


def test_without_drift_similarity_stays(tmp_path: Path) -> None:
    """The decay comes of the shared trajectory: without it and noise, an event is constant."""
    config = SyntheticConfig(drift=0, difficulty=0, lag_seconds=0)
    world = World(config)
    features = world.render("x", [Source(3, (0.0, 20.0), (0.0, 20.0))], 40, LAYOUT.grid)
    for files in features.values():
        for values in files:
            np.testing.assert_allclose(values, np.broadcast_to(values[:1], values.shape), rtol=1e-5)


def test_one_modality_alone_does_not_name_the_class(
    store: FeatureStore, annotations: Annotations
) -> None:
    """A ridge classifier of the steps that lie in one event only."""

    def steps(subset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        visual, audio, labels = [], [], []
        for video in annotations.split(subset):
            seen, heard = store.load(video.id)
            times = LAYOUT.grid.to_seconds(np.arange(len(seen)))
            segments = video.events.segments.numpy()
            inside = (times[:, None] >= segments[:, 0]) & (times[:, None] <= segments[:, 1])
            single = inside.sum(1) == 1
            visual.append(seen[single])
            audio.append(heard[single])
            labels.append(video.events.labels.numpy()[inside[single].argmax(1)])
        return np.concatenate(visual), np.concatenate(audio), np.concatenate(labels)

    def accuracy(train: np.ndarray, test: np.ndarray) -> float:
        train, test = train.astype(float), test.astype(float)
        mean, targets = train.mean(0), np.eye(10)[train_labels]
        gram = (train - mean).T @ (train - mean) + 0.01 * len(train) * np.eye(train.shape[1])
        weights = np.linalg.solve(gram, (train - mean).T @ (targets - targets.mean(0)))
        return np.mean(((test - mean) @ weights + targets.mean(0)).argmax(1) == test_labels)

    train_visual, train_audio, train_labels = steps("train")
    test_visual, test_audio, test_labels = steps("test")
    visual, audio = accuracy(train_visual, test_visual), accuracy(train_audio, test_audio)
    both = accuracy(
        np.concatenate([train_visual, train_audio], 1), np.concatenate([test_visual, test_audio], 1)
    )
    assert 0.3 < visual < both - 0.1
    assert 0.3 < audio < both - 0.1


@pytest.mark.parametrize("count", [10, 7, 2])
def test_neighbours_sound_or_look_alike(count: int) -> None:
    world = World(SyntheticConfig(num_classes=count, latent_dim=400))
    cosines = {m: np.corrcoef(p) for m, p in world.prototypes.items()}
    for c in range(0, count - 1, 2):
        assert cosines["audio"][c, c + 1] == pytest.approx(0.95, abs=0.02)
    for c in range(1, count - 1, 2):
        assert cosines["visual"][c, c + 1] == pytest.approx(0.95, abs=0.02)
    if count > 2:  # of two classes, each is the other's neighbour on both sides
        assert abs(cosines["visual"][0, 1]) < 0.3


def test_distractors_are_there_and_unlabelled(benchmark: Path, annotations: Annotations) -> None:
    sources = json.loads((benchmark / "sources.json").read_text())
    made = json.loads((benchmark / "synthetic.json").read_text())["made"]
    offscreen = silent = overhanging = 0
    for name, video in annotations.items():
        both = []
        for source in sources[name]:
            seen, heard = source["visual"], source["audio"]
            offscreen += seen is None
            silent += heard is None
            if seen and heard:
                both.append([max(seen[0], heard[0]), min(seen[1], heard[1]), source["label_id"]])
                overhanging += seen != heard
            else:  # never near what would make it an event
                start, end = seen or heard
                for other in sources[name]:
                    if other is not source and other["label_id"] == source["label_id"]:
                        spans = [s for s in (other["visual"], other["audio"]) if s]
                        assert all(end < a or b < start for a, b in spans)
        events = np.column_stack([video.events.segments.numpy(), video.events.labels.numpy()])
        np.testing.assert_allclose(sorted(both), sorted(events.tolist()), atol=1e-9)
    assert (offscreen, silent) == (made["offscreen"], made["silent"])
    assert 0.7 < offscreen / len(annotations) < 1.3  # 1.1 of which a few find no place
    assert 0.45 < silent / len(annotations) < 1.0
    assert 0.15 < overhanging / made["events"] < 0.35


def test_distractors_are_in_the_features() -> None:
    """An off-screen sound is in the audio and not in the visual; a silent action, the reverse."""
    world = World(replace(TINY, difficulty=0))
    grid = LAYOUT.grid
    for source, present, absent in (
        (Source(1, NOWHERE, (0.0, 10.0)), "audio", "visual"),
        (Source(1, (0.0, 10.0), NOWHERE), "visual", "audio"),
    ):
        features = world.render("x", [source], 20, grid)
        assert all((values != 0).any(1).all() for values in features[present])
        assert not any(values.any() for values in features[absent])


def test_windows_smear_the_boundaries() -> None:
    """With neither noise nor drift, a step is its event's vector times what its window sees."""
    config = SyntheticConfig(drift=0, difficulty=0)
    start, end = 3.07, 6.513
    features = World(config).render("x", [Source(2, (start, end), (start, end))], 40, LAYOUT.grid)
    first = np.arange(40) * 8 / 25
    seen = np.clip(np.minimum(first + 24 / 25, end) - np.maximum(first, start), 0, None) / (24 / 25)
    assert len(np.unique(seen)) > 5
    for files in features.values():
        for values in files:
            size = values @ values[seen.argmax()] / np.sum(values[seen.argmax()] ** 2)
            np.testing.assert_allclose(size, seen, atol=1e-4)


def test_sound_comes_late_by_the_lag() -> None:
    config = SyntheticConfig(drift=0, difficulty=0)
    world = World(config)
    prompt, late = (
        world.render("x", [Source(2, (3.0, 6.0), (3.0, 6.0), lag)], 40, LAYOUT.grid)
        for lag in (0.0, 0.32)  # one step
    )
    np.testing.assert_allclose(late["audio"][0][1:], prompt["audio"][0][:-1], atol=1e-5)
    np.testing.assert_array_equal(late["visual"][0], prompt["visual"][0])


def test_lags_are_fractions_of_a_second() -> None:
    config = SyntheticConfig()
    weights = class_weights(config)
    lags = []
    for i in range(100):
        video = draw_video(config, f"{i}", 0)
        lags += [source.lag for source in draw_sources(config, f"{i}", video, weights)]
    assert np.std(lags) == pytest.approx(0.15, abs=0.02)
    assert np.abs(lags).max() <= 0.45


def test_background_remembers_and_differs_between_videos() -> None:
    """Without events, far steps of one video are alike, those of two videos are not."""
    rng = random_stream(0, "test")
    paths = long_memory(rng, 20_000, np.array([2.0, 50.0]))
    assert paths.var(0) == pytest.approx([1, 1], abs=0.3)
    for column, memory in enumerate((2.0, 50.0)):
        x = paths[:, column]
        lagged = np.mean(x[10:] * x[:-10]) / x.var()
        assert lagged == pytest.approx(np.exp(-10 / memory), abs=0.1)

    config = SyntheticConfig()
    world = World(config)
    one, two = (world.render(name, [], 120, LAYOUT.grid)["audio"][0] for name in ("a", "b"))

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    within = np.mean([cosine(one[i], one[i + 40]) for i in range(80)])  # 13 s apart
    between = np.mean([cosine(one[i], two[i + 40]) for i in range(80)])
    assert within > 0.2
    assert abs(between) < 0.15


def test_difficulty_scales_the_noise() -> None:
    silence = {
        d: World(SyntheticConfig(difficulty=d)).render("x", [], 50, LAYOUT.grid)["audio"][0]
        for d in (0.0, 1.0, 2.0)
    }
    assert not silence[0.0].any()
    np.testing.assert_allclose(silence[2.0], 2 * silence[1.0], rtol=1e-4, atol=1e-5)


# ---- a real annotation file


def test_events_of_a_given_file_are_kept(tmp_path: Path) -> None:
    content = real_form()
    file = tmp_path / "real.json"
    file.write_text(json.dumps(content))
    summary = make_synthetic(tmp_path / "all", LAYOUT, TINY, annotations=file)
    assert json.loads((tmp_path / "all" / "annotations.json").read_text()) == content
    assert summary.videos == {"train": 18, "validation": 6, "test": 6}
    assert summary.classes == 5

    summary = make_synthetic(tmp_path / "some", LAYOUT, TINY, annotations=file, max_videos=15)
    kept = json.loads((tmp_path / "some" / "annotations.json").read_text())["database"]
    assert summary.videos == {"train": 9, "validation": 3, "test": 3}
    assert all(content["database"][name] == kept[name] for name in kept)
    assert len({a["label_id"] for video in kept.values() for a in video["annotations"]}) == 5
    everything, some = contents(tmp_path / "all"), contents(tmp_path / "some")
    features = [name for name in some if name.startswith("features")]
    assert len(features) == 15 * 3
    assert all(some[name] == everything[name] for name in features)


@pytest.mark.skipif(not REAL.is_file(), reason="the annotation file of UnAV-100 is not here")
def test_unav100_in_small(tmp_path: Path) -> None:
    config = replace(TINY, num_classes=10)
    summary = make_synthetic(tmp_path / "data", LAYOUT, config, annotations=REAL, max_videos=150)
    assert summary.videos == {"train": 90, "validation": 30, "test": 30}
    made = read_annotations(tmp_path / "data" / "annotations.json")
    assert len(made.class_names) == 100
    assert FeatureStore(tmp_path / "data" / "features", LAYOUT).inspect(made).problems == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "JSON"),
        ('{"database": {}}', "no events"),
        ('{"database": {"a": {"duration": 3, "subset": "train"}}}', "annotations"),
    ],
)
def test_an_unusable_annotation_file(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "real.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        make_synthetic(tmp_path / "data", LAYOUT, TINY, annotations=file)
    assert not (tmp_path / "data").exists()


def test_too_few_videos_for_all_classes(tmp_path: Path) -> None:
    file = tmp_path / "real.json"
    file.write_text(json.dumps(real_form(num_classes=8)))
    with pytest.raises(LocoError, match="of 8 classes"):
        make_synthetic(tmp_path / "data", LAYOUT, TINY, annotations=file, max_videos=3)


# ---- finished, unfinished and foreign folders


def test_a_finished_folder_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    first = make_synthetic(root, LAYOUT, TINY)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    second = make_synthetic(root, LAYOUT, TINY)
    assert stamps == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert not second.created
    assert replace(second, seconds=0, created=True) == replace(first, seconds=0)


def test_other_settings_are_refused_unless_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "data"
    make_synthetic(root, LAYOUT, TINY)
    before = contents(root)
    with pytest.raises(LocoError, match=r"difficulty: 1\.0 → 0\.5"):
        make_synthetic(root, LAYOUT, replace(TINY, difficulty=0.5))
    assert contents(root) == before
    assert make_synthetic(root, LAYOUT, replace(TINY, difficulty=0.5), overwrite=True).created
    assert contents(root) != before
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(LocoError, match="no synthetic data"):
        make_synthetic(tmp_path, LAYOUT, TINY, overwrite=overwrite)
    assert contents(tmp_path).keys() == {"thesis.tex"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert make_synthetic(tmp_path / "data", LAYOUT, TINY).created


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, workers: int) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 18
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_synthetic(tmp_path / "data", LAYOUT, TINY, workers=workers, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_is_told(tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(LocoError, match="a process died"):
        make_synthetic(
            tmp_path / "data",
            LAYOUT,
            replace(TINY, num_videos=(100, 3, 3)),
            workers=2,
            progress=kill,
        )
    assert list(tmp_path.iterdir()) == []


def test_workers_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LocoError, match="expected workers ≥ 1, got 0"):
        make_synthetic(tmp_path / "data", LAYOUT, TINY, workers=0)


def test_the_slower_of_two_runs_takes_what_the_other_made(tmp_path: Path) -> None:
    def other_run(done: int, total: int) -> None:
        if done == total:
            make_synthetic(tmp_path / "data", LAYOUT, TINY)

    assert not make_synthetic(tmp_path / "data", LAYOUT, TINY, progress=other_run).created
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# ---- settings


@pytest.mark.parametrize(
    "change",
    [
        {"num_videos": (0, 0, 0)},
        {"num_videos": (1, 2)},
        {"num_classes": 1},
        {"dtype": "float64"},
        {"alike": 1.5},
        {"drift_seconds": (3.0, 1.0)},
        {"audio_channels": (0,)},
        {"difficulty": -1.0},
        {"seed": -1},
    ],
)
def test_settings_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(LocoError, match=r"synthetic data: .*must|synthetic data: .*(take|need)s"):
        replace(TINY, **change)


def test_channels_must_fit_the_layout(tmp_path: Path) -> None:
    with pytest.raises(LocoError, match="1 visual channel counts"):
        make_synthetic(tmp_path / "data", LAYOUT, replace(TINY, visual_channels=(8,)))
    with pytest.raises(LocoError, match="max_videos"):
        make_synthetic(tmp_path / "data", LAYOUT, TINY, max_videos=3)
    with pytest.raises(LocoError, match="take more videos"):
        make_synthetic(tmp_path / "data", LAYOUT, replace(TINY, num_classes=60))


# ---- the command


@pytest.fixture(scope="module")
def made_by_command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("command") / "data"
    arguments = ["--root", str(root), "--videos", "12", "4", "4", "--classes", "4"]
    arguments += ["--channels-visual", "6", "5", "--channels-audio", "7"]
    run = run_loco(
        "make-synthetic",
        *arguments,
        "--workers",
        "2",
        "--plot",
        root.parent / "plot.png",
        cwd=root.parent,
    )
    assert run.code == 0, run.out
    assert "train 12, validation 4, test 4" in run.out
    return root, arguments


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    """The command in this process, which spares its start."""
    return lambda words: cli.main(["make-synthetic", *words])


def test_command_makes_data_and_a_plot(made_by_command: tuple[Path, list[str]]) -> None:
    root, _ = made_by_command
    assert len(read_annotations(root / "annotations.json")) == 20
    assert (root.parent / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_command_says_what_is_wrong_in_one_line(
    made_by_command: tuple[Path, list[str]],
    main: Callable[[list[str]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, arguments = made_by_command
    for change, message in (
        (["--seed", "5"], "seed: 0 → 5"),
        (["--layout", "nowhere"], "no layout 'nowhere'"),
        (["--annotations", "nowhere.json"], "cannot be read"),
    ):
        assert main([*arguments, *change]) == 1
        stderr = capsys.readouterr().err
        assert stderr.startswith("error: ")
        assert message in stderr
        assert stderr.count("\n") == 1
    assert main(arguments) == 0
    assert "there already" in capsys.readouterr().out


def test_command_help(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for option in ("--root", "--layout", "--difficulty", "--annotations", "--plot", "--overwrite"):
        assert option in text


def test_classes_have_names_of_their_own() -> None:
    for count in (2, 10, 100):
        names = class_names(count)
        assert len(names) == len(set(names)) == count


def test_a_finished_folder_knows_its_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without settings what stands there is taken; with others it is refused."""
    small = SyntheticConfig(num_videos=(6, 2, 3), num_classes=3, seed=4)
    make_synthetic(tmp_path / "data", LAYOUT, small)
    with caplog.at_level("INFO"):
        taken = make_synthetic(tmp_path / "data", LAYOUT)
    assert not taken.created
    assert taken.videos == {"train": 6, "validation": 2, "test": 3}
    assert "num_classes: 10 → 3" in caplog.text
    with pytest.raises(LocoError, match="take it with"):
        make_synthetic(tmp_path / "data", LAYOUT, SyntheticConfig(seed=5))
    with pytest.raises(LocoError, match="no synthetic data"):
        make_synthetic(tmp_path, LAYOUT)
