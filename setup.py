"""Puts conf/ into the wheel, as loco/conf; pyproject.toml says all else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """An editable install reads the repository's own conf/ instead."""

    def run(self) -> None:
        inside = Path(self.build_lib) / "loco"
        if not self.editable_mode:
            shutil.rmtree(inside, ignore_errors=True)  # an earlier build's, which may have more
        super().run()
        if not self.editable_mode:
            shutil.copytree("conf", inside / "conf")


setup(cmdclass={"build_py": BuildWithConf})
