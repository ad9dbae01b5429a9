"""The first process of a sandbox: `python -I -S -B …/sandkit/guest/__main__.py`.

Everything is in `init.py`: Python keeps modules compiled, but no script.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 3)[0])  # a script has no package

from sandkit.guest.init import main

sys.exit(main())
