"""Lightning's trainer, with a setting that it leaves to the caller."""

from __future__ import annotations

import os
import shutil
from typing import Any

import lightning

COMPILERS = ("g++", "c++", "clang++", "cl")


class Trainer(lightning.Trainer):
    """Trains, validates and tests.

    Args:
        compile: let `torch.compile` fuse the operations of the training losses, which takes
            minutes at the start. Validation, test and prediction stay as they are.
        **settings: of Lightning's trainer.

    Raises:
        ValueError: to be compiled without a C++ compiler.
    """

    def __init__(self, *, compile: bool = False, **settings: Any) -> None:
        if compile and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
            raise ValueError(
                "compile=true needs a C++ compiler, and there is none (g++, clang++, or what the "
                "variable CXX names)"
            )
        self.compiles = compile
        super().__init__(**settings)
