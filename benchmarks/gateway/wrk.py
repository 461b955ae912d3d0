"""wrk: as many requests as 32 connections get answered."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.questions import PATH, question

CONNECTIONS = 32
_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
done = function(summary)
  local e = summary.errors
  io.stderr:write(string.format('{{"requests": %d, "us": %d, "errors": %d}}', summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk got answered."""

    requests: int
    seconds: float


def run(directory: Path, port: int, key: str, seconds: float) -> Load:
    """Load a proxy for some seconds; raises RuntimeError at any answer but a good one."""
    body, script = directory / "question.json", directory / "post.lua"
    body.write_bytes(question())
    script.write_text(_SCRIPT.format(body=body, key=key))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "20s"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}{PATH}"]
    process = subprocess.run(command, capture_output=True, check=True, text=True)
    result = json.loads(process.stderr)
    if result["errors"] or not result["requests"]:
        raise RuntimeError(f"port {port}: {result['errors']} errors\n{process.stdout}")
    return Load(result["requests"], result["us"] / 1e6)
