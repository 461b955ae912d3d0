#!/usr/bin/env bash
# Install the proxies that the gateway is measured beside, and the load generator. Debian, as root.
set -euo pipefail

peers=${AZEOTROPE_CACHE:-.cache}/benchmarks/gateway
mkdir -p "$peers"

for package in nginx haproxy wrk redis-server; do
    dpkg --status "$package" >/dev/null 2>&1 || apt-get install --yes --no-install-recommends "$package"
done

# Their dependencies contradict ours and each other's: an environment for each.
if [ ! -x "$peers/vllm-router/bin/vllm-router" ]; then
    python3 -m venv "$peers/vllm-router"
    "$peers/vllm-router/bin/pip" --quiet install vllm-router==0.1.17
fi
if [ ! -x "$peers/litellm/bin/litellm" ]; then
    python3 -m venv "$peers/litellm"
    "$peers/litellm/bin/pip" --quiet install 'litellm[proxy]==1.80.0'
fi
