"""Make feature files of videos."""

import sys

from omegaconf import DictConfig

from loco.cli.configs import run_composed
from loco.runs.entry import user_errors


@user_errors
def task(config: DictConfig) -> None:
    from loco.runs.extract import extract

    try:
        extract(config)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)


def main(arguments: list[str]) -> int:
    return run_composed("extract", task, arguments)
