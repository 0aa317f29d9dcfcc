"""The data module: what it finds in files, what it says of bad ones, and how a Trainer uses it."""

import json
import logging
from dataclasses import replace

import hydra.utils
import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from helpers import compose_config
from loco.data.datamodule import AVDataModule
from loco.data.features import FeatureLayout
from loco.errors import AnnotationError, FeatureError

LAYOUT = FeatureLayout(["{id}_rgb.npy", "{id}_flow.npy"], ["{id}_vggish.npy"], 25, 24, 8)
COUNTS = {"train": 21, "validation": 5, "test": 4}


def write_features(root, video_id, steps, seed=0):
    random = np.random.default_rng(seed)
    for suffix, channels in (("rgb", 4), ("flow", 3), ("vggish", 2)):
        features = random.normal(size=(steps, channels)).astype(np.float32)
        np.save(root / f"{video_id}_{suffix}.npy", features)


@pytest.fixture
def files(tmp_path):
    """A root with features and annotations: arguments for the module."""
    random = np.random.default_rng(0)
    database = {}
    for subset, count in COUNTS.items():
        for number in range(count):
            video_id, steps = f"-{subset}_{number}", int(random.integers(25, 60))
            write_features(tmp_path, video_id, steps, seed=number)
            database[video_id] = {
                "duration": LAYOUT.grid.end_seconds(steps) + 0.1,
                "subset": subset,
                "annotations": [
                    {"segment": [1.0, 4.0], "label": "dog", "label_id": 0},
                    {"segment": [3.0, 6.0], "label": "cat", "label_id": 1},
                ],
            }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"version": "x", "database": database}))
    return {"root": tmp_path, "annotations": path, "layout": LAYOUT}


def edit(files, change):
    content = json.loads(files["annotations"].read_text())
    change(content["database"])
    files["annotations"].write_text(json.dumps(content))


def assert_same(one, other):
    assert one.video_ids == other.video_ids
    for name in ("visual", "audio", "mask", "durations", "indices"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for a, b in zip(one.events, other.events, strict=True):
        assert torch.equal(a.segments, b.segments)
        assert torch.equal(a.labels, b.labels)


def test_knows_its_data_without_a_trainer(files):
    data = AVDataModule(**files, batch_size=4).prepare()
    assert (data.visual_channels, data.audio_channels) == (7, 2)
    assert (data.num_classes, data.class_names) == (2, ["dog", "cat"])
    assert data.grid == LAYOUT.grid
    assert len(data.train_dataloader()) == 5
    assert len(data.val_dataloader()) == 2
    assert len(data.test_dataloader()) == 1
    videos = [i for batch in data.val_dataloader() for i in batch.video_ids]
    assert sorted(videos) == [f"-validation_{i}" for i in range(5)]
    assert next(iter(data.train_dataloader())).visual.shape[::2] == (4, 7)


def test_asking_before_setting_up_is_a_mistake(files):
    with pytest.raises(RuntimeError, match=r"call prepare\(\) or setup"):
        _ = AVDataModule(**files).visual_channels


def test_setup_reads_files_once(files, monkeypatch):
    data = AVDataModule(**files).prepare()
    train = data.dataset("train")
    monkeypatch.setattr(AVDataModule, "_inspect", None)
    for stage in ("fit", "validate", "test", None):
        data.setup(stage)
    assert data.dataset("train") is train


def test_setup_for_testing_leaves_other_splits_alone(files):
    (files["root"] / "-train_0_rgb.npy").unlink()
    data = AVDataModule(**files)
    data.setup("test")
    assert data.num_classes == 2
    assert len(list(data.test_dataloader())) == 4
    with pytest.raises(FeatureError, match=r"-train_0_rgb\.npy: missing"):
        data.setup("fit")


def test_a_layout_of_which_there_is_no_file(files):
    files["layout"] = replace(files["layout"], visual=["{id}_clip.npy"], audio=["{id}_wav.npy"])
    with pytest.raises(FeatureError, match=r"holds no file of the 30 videos .*_clip.npy.*_rgb.npy"):
        AVDataModule(**files, missing="skip").prepare()


def test_all_problems_are_told_at_once(files):
    for number in range(21):
        (files["root"] / f"-train_{number}_vggish.npy").unlink()
    (files["root"] / "-test_1_rgb.npy").write_bytes(b"")
    with pytest.raises(FeatureError) as caught:
        AVDataModule(**files).prepare()
    first, *lines = str(caught.value).splitlines()
    assert "22 of 30 videos have files that cannot be used (data.missing=skip" in first
    assert len(lines) == 21
    assert lines[0] == "  video '-train_0': -train_0_vggish.npy: missing"
    assert lines[-1] == "  … and 2 more"


def test_skip_leaves_videos_out_and_says_which(files, caplog):
    (files["root"] / "-train_3_rgb.npy").unlink()
    (files["root"] / "-test_1_rgb.npy").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        data = AVDataModule(**files, missing="skip").prepare()
    assert "2 of 30 videos are left out" in caplog.text
    assert "video '-train_3': -train_3_rgb.npy: missing" in caplog.text
    assert "video '-test_1': -test_1_rgb.npy: empty, 0 bytes" in caplog.text
    assert len(data.dataset("train")) == 20
    assert data.dataset("test").video_ids == ["-test_0", "-test_2", "-test_3"]


def test_skip_does_not_skip_everything(files):
    for number in range(4):
        (files["root"] / f"-test_{number}_vggish.npy").unlink()
    with pytest.raises(FeatureError, match="no usable video is left for test"):
        AVDataModule(**files, missing="skip").prepare()


def test_long_inspections_are_announced(files, caplog, monkeypatch):
    monkeypatch.setattr("loco.data.inspection._MANY", 10)
    with caplog.at_level(logging.INFO):
        AVDataModule(**files).prepare()
    assert "checking the headers of 90 feature files" in caplog.text
    assert "checked 90 files in" in caplog.text


def test_a_grid_that_does_not_fit_the_durations_is_noticed(files, caplog):
    layout = FeatureLayout(LAYOUT.visual, LAYOUT.audio, 50, 24, 8)
    AVDataModule(**{**files, "layout": layout}).prepare()
    assert "the features last 0.497 times as long as the videos" in caplog.text


def test_data_without_a_test_split(files):
    edit(files, lambda videos: [videos.pop(f"-test_{i}") for i in range(4)])
    with pytest.raises(AnnotationError, match="subset 'test' is asked for and has no video"):
        AVDataModule(**files).prepare()
    data = AVDataModule(**files, test_split="validation").prepare()
    assert data.dataset("test").video_ids == data.dataset("validation").video_ids


def test_data_without_events(files):
    edit(files, lambda videos: [video.update(annotations=[]) for video in videos.values()])
    with pytest.raises(AnnotationError, match="expected events, no video has any"):
        AVDataModule(**files).prepare()


def test_prediction_needs_no_annotations(files):
    data = AVDataModule(files["root"], None, LAYOUT, batch_size=8).prepare()
    assert data.visual_channels == 7
    batches = list(data.predict_dataloader())
    assert sum(len(batch) for batch in batches) == 30
    for batch in batches:
        lengths = batch.mask.sum(1).tolist()
        assert batch.durations.tolist() == [LAYOUT.grid.end_seconds(steps) for steps in lengths]
        assert all(len(events) == 0 for events in batch.events)
    with pytest.raises(AnnotationError, match="class names: expected an annotation file"):
        _ = data.num_classes
    with pytest.raises(AnnotationError, match="the train split: expected an annotation file"):
        data.setup("fit")


def test_prediction_takes_durations_from_annotations(files):
    write_features(files["root"], "new", 30)
    data = AVDataModule(**files)
    data.setup("predict")
    found = data.dataset("predict")
    assert len(found) == 31
    place = found.video_ids.index("new")
    assert found.sample(place).duration == LAYOUT.grid.end_seconds(30)
    known = found.sample(0)
    assert known.duration == pytest.approx(LAYOUT.grid.end_seconds(len(known)) + 0.1)
    split = AVDataModule(**files, predict_split="test")
    split.setup("predict")
    assert split.dataset("predict").video_ids == [f"-test_{i}" for i in range(4)]


def test_prediction_from_an_empty_folder(tmp_path):
    with pytest.raises(FeatureError, match=r"expected files named '\{id\}_rgb\.npy', found none"):
        AVDataModule(tmp_path, None, LAYOUT).prepare()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"missing": "ignore"}, "missing must be"),
        ({"test_split": "val"}, "test_split must be one of"),
        ({"predict_split": "all"}, "predict_split must be one of"),
        ({"batch_size": 0}, "^batch_size must be"),
        ({"eval_batch_size": 0}, "eval_batch_size must be"),
        ({"crop_ratio": [0.9]}, "crop_ratio must be two numbers"),
        ({"crop_ratio": [1.0, 0.9]}, "crop_ratio must be 0 < low"),
        ({"max_length": 0}, "max_length must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_settings_are_refused(files, settings, message):
    with pytest.raises(ValueError, match=message):
        AVDataModule(**files, **settings)


def test_batches_are_the_same_with_any_number_of_workers(files):
    kwargs = {**files, "batch_size": 4, "max_length": 40, "seed": 3}
    alone = AVDataModule(**kwargs).prepare()
    many = AVDataModule(**kwargs, num_workers=2).prepare()
    loaders = alone.train_dataloader(), many.train_dataloader()
    state = torch.get_rng_state()
    for epoch in (0, 1):  # the second with the same, persistent workers
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        for one, other in zip(*loaders, strict=True):
            assert_same(one, other)
    for one, other in zip(alone.val_dataloader(), many.val_dataloader(), strict=True):
        assert_same(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_processes_share_the_videos(files, monkeypatch):
    seen = []
    for rank in range(2):
        monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        data = AVDataModule(**files, batch_size=4).prepare()
        train, validation = list(data.train_dataloader()), list(data.val_dataloader())
        assert [len(batch) for batch in train] == [4, 4]
        assert [len(batch) for batch in validation] == [3]
        seen.append([i for batch in train for i in batch.video_ids])
    assert not set(seen[0]) & set(seen[1])


class Recorder(lightning.LightningModule):
    """A model that only remembers the batches it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def training_step(self, batch, batch_index):
        self.batches.append((self.current_epoch, batch))
        return self.weight.sum()

    def validation_step(self, batch, batch_index):
        self.log("loss", self.weight.sum(), batch_size=len(batch))

    def test_step(self, batch, batch_index):
        pass

    def predict_step(self, batch, batch_index):
        return batch.video_ids

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder, epochs, *callbacks, **settings):
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, callbacks=list(callbacks) or None,
        enable_checkpointing=bool(callbacks), enable_progress_bar=False, default_root_dir=folder,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=2,
        **settings,
    )  # fmt: skip


@pytest.mark.parametrize("after_validation", [True, False])
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(files, tmp_path, after_validation):
    def run(epochs, resume=None):
        keep = ModelCheckpoint(
            tmp_path / "checkpoints", "{epoch}", save_top_k=-1,
            save_on_train_epoch_end=not after_validation,
        )  # fmt: skip
        model = Recorder()
        data = AVDataModule(**files, batch_size=4, max_length=40, seed=1)
        trainer(tmp_path, epochs, keep).fit(model, data, ckpt_path=resume)
        return model.batches

    whole = run(3)
    order = [[batch.video_ids for e, batch in whole if e == epoch] for epoch in range(3)]
    assert [len(batches) for batches in order] == [5, 5, 5]
    assert order[0] != order[1] != order[2]
    resumed = run(3, resume=tmp_path / "checkpoints/epoch=0.ckpt")
    assert [epoch for epoch, _ in resumed] == [1] * 5 + [2] * 5
    for (_, one), (_, other) in zip(whole[5:], resumed, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_run_resumed_within_an_epoch_goes_on_with_the_rest_of_it(files, tmp_path, num_workers):
    def run(resume=None):
        keep = ModelCheckpoint(tmp_path / "steps", "{step}", save_top_k=-1, every_n_train_steps=1)
        model = Recorder()
        data = AVDataModule(**files, batch_size=4, max_length=40, num_workers=num_workers)
        trainer(tmp_path, 2, keep).fit(model, data, ckpt_path=resume)
        return model.batches

    whole = run()
    assert len(whole) == 10
    for step in (3, 5, 9):
        resumed = run(resume=tmp_path / f"steps/step={step}.ckpt")
        assert [epoch for epoch, _ in resumed] == [epoch for epoch, _ in whole[step:]]
        for (_, one), (_, other) in zip(whole[step:], resumed, strict=True):
            assert_same(one, other)


def test_the_same_batch_again_after_a_resume(files, tmp_path):
    """`overfit_batches`: a finished epoch leaves nothing out of the next one."""

    def run(epochs, resume=None):
        keep = ModelCheckpoint(tmp_path / "epochs", "{epoch}", save_on_train_epoch_end=True)
        model = Recorder()
        data = AVDataModule(**files, batch_size=4, max_length=40)
        trainer(tmp_path, epochs, keep, overfit_batches=1).fit(model, data, ckpt_path=resume)
        return [batch.video_ids for _, batch in model.batches]

    (first,) = run(1)
    assert run(3, tmp_path / "epochs/epoch=0.ckpt") == [first, first]


def test_a_trainer_tests_and_predicts(files, tmp_path):
    data = AVDataModule(**files, batch_size=4, num_workers=1)
    trainer(tmp_path, 1).test(Recorder(), data, verbose=False)
    batches = trainer(tmp_path, 1).predict(Recorder(), data)
    assert len([i for batch in batches for i in batch]) == 30
    assert len({i for batch in batches for i in batch}) == 30


@pytest.mark.parametrize("name", ["unav100_i3d_vggish", "unav100_onepeace"])
def test_config_reads_files_in_its_layout(tmp_path, name):
    config = compose_config("train", [f"data={name}", "seed=5", "output_dir=x"]).data
    config.root, config.annotations, config.num_workers = str(tmp_path), None, 0
    data = hydra.utils.instantiate(config)
    for pattern in data.layout.patterns:
        np.save(tmp_path / pattern.replace("{id}", "x"), np.zeros((9, 2), np.float32))
    batch = next(iter(data.prepare().predict_dataloader()))
    assert batch.visual.shape == (1, 9, 2 * len(data.layout.visual))
    assert data.seed == 5
    assert data.crop.max_length == {"i3d": 224, "one": 256}[name.split("_")[1][:3]]
    seconds = {"unav100_i3d_vggish": (0.48, 8 / 25), "unav100_onepeace": (0.5, 0.25)}[name]
    assert data.grid.to_seconds(0.0) == seconds[0]
    assert data.grid.to_seconds(1.0) - data.grid.to_seconds(0.0) == pytest.approx(seconds[1])
