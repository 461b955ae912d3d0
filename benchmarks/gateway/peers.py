"""The proxies of the comparison: how each is configured and started before one upstream."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gateway.processes import Program, free_port
from benchmarks.gateway.questions import MODEL, answer

_ROOT = Path(__file__).parent.parent.parent
_INSTALLED = Path(os.environ.get("AZEOTROPE_CACHE", ".cache")) / "benchmarks" / "gateway"
_NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  client_body_buffer_size 64k;
  {http}
}}
"""
_NGINX_PROXY = """
  upstream engine {{
    server 127.0.0.1:{upstream};
    keepalive 256;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
"""
_NGINX_UPSTREAM = """
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = /v1/chat/completions {{ return 200 '{answer}'; }}
    location / {{ return 200 '{{"object":"list","data":[]}}'; }}
  }}
"""
_HAPROXY = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  http-reuse always
  option http-no-delay
frontend clients
  bind 127.0.0.1:{port}
  default_backend engine
backend engine
  server one 127.0.0.1:{upstream}
"""

Started = tuple[Program, str]
Start = Callable[[Path, int, int, Sequence[int]], Started]


@dataclass(frozen=True, slots=True)
class Peer:
    """One proxy. `start(directory, port, upstream port, cores)` gives its program and key.

    `share` is the part of the common load that it is given, where it could not take all of it;
    `exact` tells that it must pass an answer on byte for byte.
    """

    name: str
    start: Start
    share: float = 1.0
    exact: bool = True


def start_nginx_upstream(directory: Path, port: int, cores: Sequence[int]) -> Program:
    """Start the upstream for whole answers."""
    http = _NGINX_UPSTREAM.format(port=port, answer=answer().decode())
    return _nginx("upstream", directory, http, cores)


def start_redis(directory: Path, port: int, cores: Sequence[int]) -> Program:
    """Start the gateway's Redis."""
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(directory)]
    return Program.start("redis", command, cores=cores, log=directory / "redis.log")


def _nginx(name: str, directory: Path, http: str, cores: Sequence[int]) -> Program:
    file = directory / f"{name}.conf"
    file.write_text(_NGINX.format(directory=directory, http=http))
    command = ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(file)]
    return Program.start(name, command, cores=cores, log=directory / f"{name}.log")


def _start_nginx(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
    http = _NGINX_PROXY.format(port=port, upstream=upstream)
    return _nginx("nginx", directory, http, cores), ""


def _start_haproxy(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
    file = directory / "haproxy.cfg"
    file.write_text(_HAPROXY.format(port=port, upstream=upstream))
    command = ["haproxy", "-db", "-f", str(file)]
    return Program.start("haproxy", command, cores=cores, log=directory / "haproxy.log"), ""


def _start_bare(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
    url = f"http://127.0.0.1:{upstream}"
    command = [sys.executable, "-m", "benchmarks.gateway.bare", str(port), url]
    return Program.start("bare", command, cores=cores, log=directory / "bare.log"), ""


def _start_vllm_router(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
    command = [str(_INSTALLED / "vllm-router/bin/vllm-router")]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    command += ["--prometheus-port", str(free_port())]
    return Program.start("vllm-router", command, cores=cores, log=directory / "router.log"), ""


def _start_litellm(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
    key = "sk-benchmark"
    engine = {"api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    content = {
        "model_list": [
            {"model_name": MODEL, "litellm_params": {"model": f"openai/{MODEL}", **engine}}
        ],
        "litellm_settings": {"drop_params": True, "telemetry": False, "num_retries": 0},
        "general_settings": {"master_key": key},
    }
    file = directory / "litellm.yaml"
    file.write_text(yaml.safe_dump(content))
    command = [str(_INSTALLED / "litellm/bin/litellm"), "--config", str(file)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    # Its price list is fetched from the network otherwise.
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    program = Program.start(
        "litellm", command, cores=cores, log=directory / "litellm.log", environment=environment
    )
    return program, key


def write_site(
    directory: Path,
    port: int,
    admin: int,
    upstream: int,
    redis: int,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Path, str]:
    """Write keys, accounts and the example's configuration; return its path and a client's key.

    Everything stays as the example has it, but for the ports, the height of the limits, and the
    patience with Redis: calls that it is late for, on a busy machine, would cost less.
    `changes` replace whole sections.
    """
    example = _azeotrope("config", "example", cwd=directory)
    content: dict[str, Any] = yaml.safe_load(example)
    content["listen"]["port"], content["admin"]["port"] = port, admin
    content["redis"] |= {"url": f"redis://127.0.0.1:{redis}/0", "deadline_ms": 5000}
    content["tiers"] = {
        name: dict.fromkeys(tier, 3_000_000) for name, tier in content["tiers"].items()
    }
    content["upstreams"][0]["url"] = f"http://127.0.0.1:{upstream}"
    content["upstreams"][0]["models"] = {MODEL: MODEL}
    file = directory / "azeotrope.yaml"
    file.write_text(yaml.safe_dump(content | dict(changes or {})))
    _azeotrope("keys", "new", cwd=directory)
    return file, _azeotrope("accounts", "add", "bench", cwd=directory).strip()


def gateway(
    redis: int,
    *options: str,
    admin: int | None = None,
    name: str = "azeotrope",
    changes: Mapping[str, Any] | None = None,
) -> Peer:
    """Return ours, with the whole default policy, its limits in the Redis at a port."""

    def start(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
        file, key = write_site(directory, port, admin or free_port(), upstream, redis, changes)
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(file), *options]
        return Program.start("azeotrope", command, cores=cores, log=directory / "calls.log"), key

    return Peer(name, start)


def _azeotrope(*arguments: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [sys.executable, "-m", "proxy", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, check=True, text=True
    ).stdout


BARE = Peer("bare aiohttp", _start_bare)
OTHERS = (
    Peer("haproxy", _start_haproxy),
    Peer("nginx", _start_nginx),
    Peer("vllm-router", _start_vllm_router),
    Peer("LiteLLM", _start_litellm, share=0.05, exact=False),
)
