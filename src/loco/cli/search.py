"""Search settings by the validation mAP, with Optuna: each next training is chosen by those before.

What is given as a range is searched, all else is as for `loco train`. The trials are runs in the
search's folder; the same command with --folder goes on with one that was stopped.

loco search attention=fixed,cdp 'correspondence.weight=tag(log, interval(0.01, 1))' --trials 20
loco search 'optimizer.lr=tag(log, interval(1e-4, 1e-2))' trainer.max_epochs=5 --folder search/lr
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from loco.cli.configs import config_folder, own_folder, seed
from loco.errors import Interrupted, LocoError, SettingError
from loco.files import write_text
from loco.runs.command.composition import Composition
from loco.runs.command.overrides import readable_words

if TYPE_CHECKING:
    import optuna


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_intermixed_args(arguments)
    own = None if args.config_dir is None else str(args.config_dir)
    callback = "+callbacks.pruning._target_=loco.sweeps.search.Pruning"

    def compose(words: list[str]) -> DictConfig:
        return Composition("train", [*words, callback], config_folder(), own).config

    words = readable_words(args.words)
    _check_no_sweep(words, Composition("train", words, config_folder(), own, sweep=True).config)
    import loco.runs.entry
    from loco.runs.folders import make_unique
    from loco.sweeps.run_job import alone_in

    try:
        from loco.sweeps.search import completed, open_study, search, split_words
    except ModuleNotFoundError as error:
        raise LocoError(
            f"loco search needs Optuna ({error}): pip install '.[search]' in loco's checkout"
        ) from None

    split_words(words)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s][%(name)s] %(message)s")
    loco.runs.entry.quieten()
    folder = args.folder or make_unique(f"multirun/search/{time.strftime('%Y-%m-%d_%H-%M-%S')}")
    with alone_in(folder) as alone, loco.runs.entry.raising_on_sigterm():
        if not alone:
            raise LocoError(f"{folder}: this search is under way, in another process")
        study = open_study(folder, args.seed, not args.no_pruning)
        try:
            search(study, folder, words, args.trials, compose)
        except (KeyboardInterrupt, Interrupted) as end:
            _show(study, folder)
            again = shlex.quote(str(folder))
            print(f"interrupted; the same command with --folder {again} goes on", file=sys.stderr)
            return int(getattr(end, "exit_code", 130))
        except LocoError:
            _show(study, folder)
            raise
        _show(study, folder)
        return 0 if completed(study) else 1


def _check_no_sweep(words: list[str], config: DictConfig) -> None:
    """Refuse what is for `loco train -m`: it would be left out without a word."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key in ("output_dir", "resume_sweep", "reuse", "ckpt_path") or key.startswith("hydra"):
            raise SettingError(
                f"{word}: is for loco train; a search has --folder, and goes on in it"
            )
    if params := config.hydra.sweeper.get("params"):
        raise SettingError(
            f"the experiment sweeps {', '.join(map(str, params))}: that is for loco train -m; a "
            "search takes ranges as words of its own"
        )


def _show(study: optuna.Study, folder: Path) -> None:
    """The best trials, what the settings decide, and a page of the search in its folder."""
    from rich.table import Table as RichTable

    from loco.runs.results import show
    from loco.sweeps.origin import IMPORTANCES
    from loco.sweeps.report import write_sweep_report
    from loco.sweeps.search import completed, done, failures, importances, trial_folder
    from loco.sweeps.tabulate import Table, columns_of, make_rows, read_jobs

    best = completed(study)
    ended = done(study, folder)
    print(f"{folder}: {len(ended)} trials, {len(best)} of them trained to their end")
    if failed := failures(study, folder):
        print(f"{failed} failed; why stands in their folders, in failed.txt")
    if not best:
        return
    table = RichTable("trial", *best[0].params, "validation mAP", title="the best trials")
    for trial in best[:10]:
        values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in trial.params.values())
        name = trial_folder(folder, trial.number).name
        table.add_row(name, *values, f"{100 * float(trial.value or 0):.2f}")
    show(table)
    if found := importances(study):
        write_text(folder / IMPORTANCES, json.dumps(found, indent=1))
        told = ", ".join(f"{key} {100 * part:.0f} %" for key, part in found.items())
        print(f"importance (PED-ANOVA): {told}")
    rows = make_rows(read_jobs([folder]))
    page = write_sweep_report(Table(rows, columns_of(rows)), folder / "sweep.html", folder.name)
    print(f"{page}: open it in a browser")


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", nargs="+", metavar="KEY=VALUE", help="overrides as for loco train, some as ranges")
    add("--trials", type=_count, default=20, metavar="N", help="in all (default: %(default)s)")
    add("--folder", type=Path, metavar="DIR", help="of the search, new or one that goes on")
    add("--seed", type=seed, default=0, help="of the sampler (default: %(default)s)")
    add("--no-pruning", action="store_true", help="train every trial to its end")
    add(
        "--config-dir", type=own_folder, metavar="DIR", help="folder of your own, as for loco train"
    )
    return parser
