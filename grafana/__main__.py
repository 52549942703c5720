"""Write the dashboards: `python -m grafana [FOLDER]`, by default beside this file."""

import sys
from pathlib import Path

from grafana.files import FOLDER, write

write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
