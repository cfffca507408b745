"""Sends each line of standard input as a task to the Celery application that it is given, and reports what came back.

python celery_asker.py MODULE
"""

from __future__ import annotations

import importlib
import json
import sys

task = importlib.import_module(sys.argv[1]).ask
for line in sys.stdin:
    try:
        reply = {"said": task.delay(line.strip()).get()}
    except Exception as error:  # noqa: BLE001  # the worker's error, whatever it is, is the answer
        reply = {"error": type(error).__name__}
    print(json.dumps(reply), flush=True)
