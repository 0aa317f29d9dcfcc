"""A search by Optuna: each next training is chosen by the best validation mAPs of those before.

The study is a data base in the search's folder, so that a search goes on where it was stopped; a
training that falls behind the others after some epochs is ended (pruned). Each trial is an ordinary
run in a folder of its own.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning
import optuna
import sqlalchemy
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState

from loco.errors import CheckpointError, LocoError, SettingError, listed
from loco.files import write_text
from loco.runs.command.quoting import plain_without_secrets, quoted_value, without_secrets
from loco.runs.entry import readable
from loco.runs.job_status import FAILED
from loco.runs.processes import run_task
from loco.sweeps.run_job import usable_checkpoint

log = logging.getLogger(__name__)

STUDY = "study.db"
WARM_TRIALS, WARM_EPOCHS = 5, 2
"""Trials that are never pruned, since there is nothing to compare with, and epochs likewise."""
STOPPED, REPEATED = "stopped", "repeated"
"""Where a trial keeps which other one it goes on with, or has the score of."""
WORDS = "words"
"""Where a study keeps the words that it was started with."""
_trials: list[Trial] = []
"""The trial that is under way in this process, for its callback."""


class Pruning(lightning.Callback):
    """Tells Optuna the validation mAP of each epoch, and ends a trial that it gives up."""

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Raises `optuna.TrialPruned` where the trial is not worth going on with."""
        score = trainer.callback_metrics.get("val/mAP")
        if not _trials or trainer.sanity_checking or score is None or score.isnan():
            return
        _trials[-1].report(float(score), trainer.current_epoch)
        if _trials[-1].should_prune():
            raise optuna.TrialPruned(f"epoch {trainer.current_epoch + 1}")


def split_words(words: Sequence[str]) -> tuple[list[str], dict[str, Override]]:
    """What is fixed, and what is searched by key, such as `correspondence.weight=interval(0.01,1)`.

    Raises:
        SettingError: nothing is searched, or an interval is none.
    """
    overrides = OverridesParser.create().parse_overrides(list(words))
    searched = {o.key_or_group: o for o in overrides if o.is_sweep_override()}
    if not searched:
        raise SettingError(
            "nothing to search: give ranges, such as 'optimizer.lr=tag(log, interval(1e-4, 1e-2))' "
            "or attention=fixed,cdp"
        )
    for override in searched.values():
        space = override.value()
        if isinstance(space, IntervalSweep):
            low, high = float(space.start or 0), float(space.end or 0)
            least = 0 if "log" in space.tags else -math.inf
            if not least < low < high < math.inf:
                wanted = "0 < low < high" if "log" in space.tags else "low < high"
                raise SettingError(f"{override.input_line}: expected {wanted}")
    return [str(o.input_line) for o in overrides if not o.is_sweep_override()], searched


def suggest(trial: Trial, key: str, override: Override) -> Any:
    """A value of a searched setting: a number of an interval, or one of several choices."""
    space = override.value()
    if not isinstance(space, IntervalSweep):
        return trial.suggest_categorical(key, list(override.sweep_string_iterator()))
    low, high = space.start, space.end
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log="log" in space.tags)
    return trial.suggest_float(key, float(low or 0), float(high or 0), log="log" in space.tags)


def open_study(folder: Path, seed: int, prune: bool) -> optuna.Study:
    """The study of a folder, a new one where there is none.

    Trials that were stopped amid their training go on, as new ones with the same values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = sqlalchemy.URL.create("sqlite", database=str((folder / STUDY).absolute()))
    storage = place.render_as_string()  # what its signs mean in an address is quoted
    pruner: Any = optuna.pruners.NopPruner()
    if prune:
        pruner = optuna.pruners.MedianPruner(WARM_TRIALS, WARM_EPOCHS)
    study = optuna.create_study(
        study_name="loco", storage=storage, direction="maximize", load_if_exists=True, pruner=pruner
    )
    # another seed at each start: the same one would draw again what it has drawn
    study.sampler = optuna.samplers.TPESampler(seed=(seed + len(study.trials)) % 2**32)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={STOPPED: trial.number})
    return study


def search(
    study: optuna.Study,
    folder: Path,
    words: Sequence[str],
    trials: int,
    compose: Callable[[list[str]], DictConfig],
) -> None:
    """Run trials until there are so many; a failed one counts, one that was stopped does not.

    Args:
        study: see `open_study`.
        folder: gets a folder for each trial.
        words: of the command, with ranges.
        trials: how many there shall be, those from before included.
        compose: the configuration that words make.

    Raises:
        LocoError: the folder's search is one of other words; or the first trials fail, all of them.
    """
    fixed, searched = split_words(words)
    _check_words(study, folder, words)
    while len(done(study, folder)) < trials:
        trial = study.ask()
        own = {key: suggest(trial, key, override) for key, override in searched.items()}
        output = trial_folder(folder, trial.number)
        log.info("trial %d of %d: %s", trial.number + 1, trials, own)
        if same := next((one for one in completed(study) if one.params == trial.params), None):
            log.info("the same as trial %d, not trained again", same.number + 1)
            trial.set_user_attr(REPEATED, same.number)
            study.tell(trial, same.value)
            continue
        try:
            overrides = [*fixed, *(f"{key}={value}" for key, value in own.items())]
            if checkpoint := _of_stopped(trial, folder):
                overrides.append(f"ckpt_path={quoted_value(checkpoint)}")
            config = compose([*overrides, f"output_dir={quoted_value(output)}"])
            _note(output, overrides, config, trial.number)
            _trials.append(trial)
            run_task(config.task, OmegaConf.masked_copy(config, [*set(config) - {"hydra"}]))
            study.tell(trial, validation_score(output))
        except optuna.TrialPruned as end:
            log.info("trial %d: given up at %s", trial.number + 1, end)
            study.tell(trial, state=TrialState.PRUNED)
        except Exception as error:  # a bad combination of settings ends the trial alone
            write_text(output / FAILED, f"{readable(error)}\n\n{traceback.format_exc()}")
            log.error("trial %d failed: %s", trial.number + 1, readable(error))
            study.tell(trial, state=TrialState.FAIL)
            if len(done(study, folder)) >= 3 and not completed(study):
                raise LocoError(f"the first trials failed, the last: {readable(error)}") from error
        finally:
            _trials.clear()


def validation_score(folder: Path) -> float:
    """The best validation mAP of a run, from its best checkpoint.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    file = folder / "checkpoints" / "best.ckpt"
    if not file.is_file():
        raise CheckpointError(f"{file}: expected, as a search needs a validation after training")
    states = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["callbacks"]
    return max(
        float(state["best_model_score"])
        for name, state in states.items()
        if name.startswith("BestCheckpoint")
    )


def _of_stopped(trial: Trial, folder: Path) -> Path | None:
    """The last checkpoint of the trial that this one goes on with, if there is one."""
    number = trial.user_attrs.get(STOPPED)
    return None if number is None else usable_checkpoint(trial_folder(folder, number))


def _check_words(study: optuna.Study, folder: Path, words: Sequence[str]) -> None:
    """Note what a search is of, or see that it is what it was: its trials are compared."""
    now = sorted(without_secrets(words))
    then = study.user_attrs.get(WORDS, now)
    if then != now:
        told = [f"{what} {listed(of, 5)}" for what, of in (
            ("without", [word for word in then if word not in now]),
            ("with", [word for word in now if word not in then]),
        ) if of]  # fmt: skip
        raise LocoError(
            f"{folder}: holds the trials of another search; this one is {' and '.join(told)}. Give "
            "the same words, or another --folder"
        )
    study.set_user_attr(WORDS, now)


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial's run is."""
    return folder / f"trial-{number + 1:03}"


def done(study: optuna.Study, folder: Path) -> list[FrozenTrial]:
    """Trials that came to an end of their own."""
    return [
        trial
        for trial in study.trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        or (trial_folder(folder, trial.number) / FAILED).is_file()
    ]


def failures(study: optuna.Study, folder: Path) -> int:
    """How many trials ended with an error."""
    return sum((trial_folder(folder, one.number) / FAILED).is_file() for one in study.trials)


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """Trials with a score of their own, the best first."""
    found = study.get_trials(states=[TrialState.COMPLETE])
    found = [trial for trial in found if REPEATED not in trial.user_attrs]
    return sorted(found, key=lambda trial: -float(trial.value or 0))


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each setting decides about the score, in parts of 1; nothing for few trials."""
    with suppress(ValueError, RuntimeError):
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {}


def _note(output: Path, overrides: list[str], config: DictConfig, number: int) -> None:
    """What Hydra notes of a job, which tables and resuming read."""
    notes = output / ".hydra"
    masked = OmegaConf.masked_copy(config, [*set(config) - {"hydra"}])
    plain = OmegaConf.create(plain_without_secrets(OmegaConf.to_container(masked)))
    hydra = {"job": {"num": number}, "runtime": {"choices": dict(config.hydra.runtime.choices)}}
    write_text(
        notes / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(without_secrets(overrides)))
    )
    write_text(notes / "config.yaml", OmegaConf.to_yaml(plain))
    write_text(notes / "hydra.yaml", OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})))
