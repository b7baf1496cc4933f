"""`python -m SpineLandmarksLib` and the command `spine-landmarks`."""

import sys

from SpineLandmarksLib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
