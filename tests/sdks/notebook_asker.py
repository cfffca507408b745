"""Runs a notebook in a kernel of its own: all cells but the last one once, the last one for each line of standard input.

python notebook_asker.py FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jupyter_client.manager import start_new_kernel

cells = [cell for cell in json.loads(Path(sys.argv[1]).read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
manager, kernel = start_new_kernel()


def run(cell: dict[str, list[str]]) -> dict[str, str]:
    said: list[str] = []

    def hear(message: dict[str, dict[str, str]]) -> None:
        if message["content"].get("name") == "stdout":
            said.append(message["content"]["text"])

    end = kernel.execute_interactive("".join(cell["source"]), output_hook=hear)["content"]
    return {"error": end["ename"]} if end["status"] == "error" else {"said": "".join(said).strip()}


try:
    for cell in cells[:-1]:
        assert "error" not in (reply := run(cell)), reply
    for _ in sys.stdin:
        print(json.dumps(run(cells[-1])), flush=True)
finally:
    kernel.stop_channels()
    manager.shutdown_kernel(now=True)
