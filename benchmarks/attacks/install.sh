#!/usr/bin/env bash
# Fetch the attackers' tools that are not Python dependencies of this repository. Debian, as root.
set -euo pipefail

tools=${AZEOTROPE_CACHE:-.cache}/benchmarks/attacks/tools
mkdir -p "$tools"
tools=$(realpath "$tools")

# WordNet's files are only read, so that the package need not be installed.
if [ ! -d "$tools/wordnet" ]; then
    work=$(mktemp -d)
    chmod 755 "$work"
    (cd "$work" && apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb "$work")
    mv "$work/usr/share/wordnet" "$tools/wordnet"
    rm -r "$work"
fi

command -v apertium >/dev/null || apt-get install --yes --no-install-recommends apertium-eng-spa

# Published removers and another model's tokenizer, in an environment of their own. milkwashy is
# not among them: its chunks and prompts sit in milkwashr, which exists as Rust source only.
if [ ! -x "$tools/venv/bin/dewatermark" ]; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" --quiet install \
        dewatermark==0.8.0 antiwatermark==2.0.0 bpe-openai==0.1.4
fi
