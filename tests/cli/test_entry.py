"""The entry point: Ctrl-C while the command is loading."""

from __future__ import annotations

import subprocess
import sys

LOADING = """
import os, signal, sys
import rag.__main__ as entry

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "rag.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
entry.main()
"""


def test_ctrl_c_while_loading_ends_without_a_traceback() -> None:
    process = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "")


def test_the_package_is_a_command() -> None:
    command = [sys.executable, "-m", "rag", "--version"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0 and process.stdout.startswith("citewell, version")
