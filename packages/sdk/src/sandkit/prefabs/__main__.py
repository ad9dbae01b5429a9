"""The command of a prefab's sandbox: `python -I -B …/sandkit/prefabs/__main__.py`.

Everything is in `parent.py`: Python keeps modules compiled, but no script.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 3)[0])  # a script has no package

from sandkit.prefabs.parent import main

sys.exit(main(sys.argv[1:]))
