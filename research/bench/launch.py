"""Run a command from a process that is small: `python -m ... launch FILE.json COMMAND...` writes what it took to FILE.

Linux counts what its parent held at the start of a process as memory of that process, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main(file: Path, command: list[str]) -> None:
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB elsewhere
    taken = {"seconds": seconds, "peak_mb": usage.ru_maxrss / unit, "status": os.waitstatus_to_exitcode(status)}
    file.write_text(json.dumps(taken))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
