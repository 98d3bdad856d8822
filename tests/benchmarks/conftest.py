import sys
from pathlib import Path

# pytest imports these files by path; the scripts beside them are imported by name.
sys.path.insert(0, str(Path(__file__).parent))
