"""What was measured, kept in a file from one run to the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Results:
    """Rows by name. Each is measured once; the file is written after every one."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def take(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        if name not in self.rows:
            self.rows[name] = measure()
            self.file.write_text(json.dumps(self.rows, indent=1) + "\n")
            print(name, self.rows[name], flush=True)
