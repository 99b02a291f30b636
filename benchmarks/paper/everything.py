"""Every figure and table of the paper made again, and the page written from them.

    python benchmarks/paper/everything.py --quick     # an hour or two on two idle cores
    python benchmarks/paper/everything.py --full      # the tables at full size, on a GPU

What a script of these measured before is measured again, but for the tables of networks, which
go on where they were.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUICK = (
    ("donut.py",),
    ("classical.py",),
    ("gaussian_process.py",),
    ("datasets.py",),
    ("inference.py",),
    ("j_size.py",),
    ("volume.py",),
    ("single_shot.py", "--quick"),
    ("tables.py", "--quick"),
)
FULL = (("single_shot.py",), ("tables.py", "--full"))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", dest="scripts", action="store_const", const=QUICK)
    size.add_argument("--full", dest="scripts", action="store_const", const=FULL)
    for script, *words in (*parser.parse_args().scripts, ("page.py",)):
        print(f"\n{script} {' '.join(words)}".rstrip(), flush=True)
        if subprocess.run([sys.executable, str(HERE / script), *words]).returncode:
            sys.exit(f"{script} failed.")
