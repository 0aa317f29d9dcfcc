"""Wrong words of a command are told in a line that says what may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.utils import instantiate

from helpers import compose_config
from loco.cli import COMPOSED, main
from loco.runs.command.composition import Composition, closest
from loco.runs.command.config_folder import config_folder
from loco.runs.entry import readable

WORDS = {
    "train trainer.max_epoch=3": "no setting or group trainer.max_epoch; did you mean "
                                 "trainer.max_epochs?",
    "train -m model=loco,loco_smal": "no such option; did you mean loco_small or loco_plus_small? ",
    "extract video=x": "did you mean videos?",
    # as many seconds again for each:
    "train lr=1": "did you mean optimizer.lr?",
    "train modle=loco": "did you mean model?",
    "train +trainer.profiler=simple trainer.devises=1": "did you mean trainer.devices?",
    "train trainer.profiler=simple": "has a +: +trainer.profiler=simple)",
    "train +seed=3": "seed is there already; leave out the +",
    "train attention=cdp,fixed": "need -m, a job each; a list is attention=[cdp,fixed]",
    "train -m part=none,[mismatch,agreemet]": "no such option; did you mean agreement?",
    "train -m sed=0,1": "did you mean seed?",
    "evaluate ckpt_pth=x": "did you mean ckpt_path?",
    "predict ckpt_path=x min_scor=1": "did you mean min_score?",
    "extract extractor=light": "did you mean lite?",
    "train --config-dir nowhere": "--config-dir nowhere: expected a folder",
    "train attention=null": "attention=null: Hydra takes no null for a group; ~attention leaves",
    "train -m attention=null,cdp": "attention=null,cdp: Hydra takes no null for a group; ~atten",
    "train modle=loco --help": "did you mean model?",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(words, told, marks=() if number < 3 else pytest.mark.slow)
        for number, (words, told) in enumerate(WORDS.items())
    ],
)
def test_what_may_have_been_meant(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--cfg", "job"]) == 1  # which trains nothing
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ")
    assert told in complaint
    assert complaint.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_right_words_are_left_alone(tmp_path: Path) -> None:
    """Also what a folder of the user's own adds."""
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "mine.yaml").write_text("defaults: [default]\nmine: 1\n")
    words = ["trainer=mine", "trainer.mine=2", "~experiment", "+note=x", "++seed=3", "init_from="]
    config = Composition("train", words, config_folder(), str(tmp_path)).config
    assert (config.trainer.mine, config.note, config.seed) == (2, "x", 3)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trainer.max_epoch=3", "trainer: Trainer takes no max_epoch; did you mean max_epochs?"),
        ("data.bach_size=2", "data: AVDataModule takes no bach_size; did you mean batch_size?"),
        ("callbacks.best.montor=x", "best: BestCheckpoint takes no montor; did you mean monitor?"),
    ],
)
def test_what_a_part_does_not_take(word: str, told: str) -> None:
    """A key that was added by a `+`, which the composition cannot know."""
    config = compose_config("train", [f"+{word}", "output_dir=x"])
    with pytest.raises(Exception, match="unexpected keyword argument") as caught:
        instantiate(config[word.partition(".")[0]])
    assert readable(caught.value).endswith(told)


def test_names_beside_come_before_names_elsewhere() -> None:
    known = ["a.size", "a.other", "b.size", "b.sizes"]
    assert closest("a.sizes", known) == ["a.size"]
    assert closest("size", known) == ["a.size", "b.size"]
    assert closest("c.other", known) == ["a.other"]
    assert closest("zzz", known) == []


@pytest.mark.parametrize(
    "command", ["train", *(pytest.param(c, marks=pytest.mark.slow) for c in COMPOSED[1:])]
)
def test_help_has_the_comments_of_the_files(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    page = capsys.readouterr().out
    assert "$" not in page.replace("${", "")
    assert all(len(line) <= 105 for line in page.splitlines() if "_target_" not in line)
    values = page.partition("== Values")[2]
    if command == "train":
        assert "* loco_small               For two CPU cores: the same parts, narrower and" in page
        assert "* default                  What the synthetic data is made of" in page
        assert "  base  " not in page
        assert (
            "# shuffling, crops, initial weights and drop path all follow from it\nseed:" in values
        )
        assert "    # scales every noise; 0 is a clean recording\n    difficulty: 1.0" in values
        assert "  # short trainings cannot wait for branches that start near 0\n  layer" in values
        assert "  # the recipe of the model says how long a training is\n  max_epochs: 10" in values
    if command == "predict":
        assert "# what scores less is left out; subtitles want about 0.3\nmin_score: 0.0" in values


@pytest.mark.slow
def test_help_shows_what_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "model=loco", "data=unav100_onepeace", "--help"]) == 0
    page = capsys.readouterr().out
    assert "* loco  " in page
    assert "  # width of each stream\n  dim: 512" in page
    assert "    # 1536 channels\n    visual: ['{id}_one_peace_video_finetune.npy']" in page


def test_several_options_at_once_are_one_value_of_a_sweep() -> None:
    words = ["part=none,[mismatch,agreement]"]
    config = Composition("train", words, config_folder(), sweep=True).config
    assert not config.data.augment  # what is swept is not in it
