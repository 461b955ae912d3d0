"""The configuration: a mistake is named by its path, with what was expected."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from proxy.config import Config, Registry, Upstream, load, upstream_key
from proxy.config.errors import section_of
from proxy.config.reference import reference
from proxy.errors import ConfigError

GOOD = """
keyring: keyring.json
manifest: sub/manifest.json
accounts: /etc/accounts.json
tiers: {default: {requests_per_minute: 60}}
upstreams:
  - {name: a, url: "http://engine:8000/", models: {m: n}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "azeotrope.yaml"
    file.write_text(GOOD)
    return file


def test_paths_are_relative_to_the_file(file: Path) -> None:
    config = load(file)

    assert config.keyring == file.parent / "keyring.json"
    assert config.manifest == file.parent / "sub" / "manifest.json"
    assert config.accounts == Path("/etc/accounts.json")
    assert config.registry is None


def test_the_environment_overrides_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(GOOD + "listen: {host: 127.0.0.2, port: 1}\n")
    monkeypatch.setenv("AZEOTROPE_LISTEN__PORT", "8081")
    monkeypatch.setenv("AZEOTROPE_REGISTRY", "calls.jsonl")

    config = load(file)

    assert (config.listen.host, config.listen.port) == ("127.0.0.2", 8081)
    assert config.registry == Registry(path=file.parent / "calls.jsonl")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "60",
            "many",
            'tiers.default.requests_per_minute: expected a positive integer, got "many"',
        ),
        ("60", "0", "tiers.default.requests_per_minute: expected a positive integer, got 0"),
        ("60", "true", "tiers.default.requests_per_minute: expected a positive integer, got true"),
        ("60", "1.5", "tiers.default.requests_per_minute: expected a positive integer, got 1.5"),
        ("60", "60, burst: 61", "tiers.default: expected a burst of at most requests_per_minute"),
        ("60", "60, bust: 6", "tiers.default.bust: unknown key; expected one of requests_per_min"),
        ("keyring: keyring.json", "", "keyring: missing; expected: Keyring made by"),
        ("manifest: sub/manifest.json", "manifest: [1]", "manifest: expected the path of a file"),
        (
            "{default: {requests_per_minute: 60}}",
            "{requests_per_minute: 60}",
            "tiers.requests_per_minute: expected a section with keys, got 60",
        ),
        ("{m: n}", "{}", "upstreams[0].models: expected at least one entry"),
        ("{m: n}", "{m: 3}", "upstreams[0].models.m: expected a non-empty text, got 3"),
        ("name: a,", "", "upstreams[0].name: missing; expected: Name in metrics"),
        ("http://engine:8000/", "engine:8000", "upstreams[0].url: expected an http"),
        ("http://engine:8000/", "http://engine/v1", "upstreams[0].url: expected an http"),
        ("http://engine:8000/", "http://u:p@engine", "upstreams[0].url: expected an http"),
    ],
)
def test_a_mistake_is_told_by_path_and_expectation(
    file: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("colour: red", "colour: unknown key; expected one of listen, admin, workers"),
        ("listen: 8080", "listen: expected a section with keys, got 8080"),
        ("listen: {port: 65536}", "listen.port: expected a port number from 0 to 65535, got 65536"),
        (
            "log: {level: loud}",
            'log.level: expected one of debug, info, warning, error, got "loud"',
        ),
        ("mark: {delta: 0}", "mark.delta: expected a positive number of nats, got 0"),
        ("mark: {delta: 66}", "mark.delta: expected a positive number of nats, got 66"),
        ("limits: {drain_timeout_s: -1}", "limits.drain_timeout_s: expected a positive number of"),
        ("keyring: again.json", "line 8: the key 'keyring' is given twice"),
        ("a: [", "line 9: "),
        ("listen: {port: x}\nadmin: {port: y}", "listen.port: expected a port number"),
    ],
)
def test_an_added_mistake_is_told_as_well(file: Path, added: str, message: str) -> None:
    file.write_text(GOOD + added + "\n")

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert str(caught.value).startswith(f"{file}: {message}")


def test_other_mistakes_are_counted(file: Path) -> None:
    file.write_text(GOOD + "listen: {port: x}\nadmin: {port: y, host: ''}\n")

    with pytest.raises(ConfigError, match=r'got "x" \(and 2 more mistakes\)$'):
        load(file)


def test_two_upstreams_may_serve_one_model_but_not_bear_one_name(file: Path) -> None:
    file.write_text(GOOD + "  - {name: b, url: 'http://x', models: {m: k}}\n")
    assert [upstream.name for upstream in load(file).upstreams] == ["a", "b"]

    file.write_text(GOOD + "  - {name: a, url: 'http://x', models: {k: k}}\n")
    with pytest.raises(ConfigError, match="upstreams: expected every name once, got a twice"):
        load(file)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("models: {x: {}}", "models.x: expected a model that an upstream serves"),
        (
            "passthrough: [{path: /v1/rerank, upstream: x}]",
            r"passthrough\[0\].upstream: expected the name of an upstream, got x",
        ),
        ("passthrough: [{path: /a/../b, upstream: a}]", r"passthrough\[0\].path: expected a path"),
        ("provenance: {sign: 1e9}", "provenance.sign: expected true or false"),
    ],
)
def test_sections_that_name_others_are_checked(file: Path, section: str, message: str) -> None:
    file.write_text(f"{section}\n{GOOD}")
    with pytest.raises(ConfigError, match=message):
        load(file)


def test_a_password_in_a_url_is_never_told(file: Path) -> None:
    file.write_text(GOOD + "redis: {url: 'https://:hunter2@host'}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert "hunter2" not in str(caught.value)

    file.write_text(GOOD + "redis: {url: 'redis://:hunter2@host'}\n")
    assert "hunter2" not in repr(load(file))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "AZEOTROPE_LISTEN__PORT",
            "x",
            'listen.port: expected a port number from 0 to 65535, got "x"',
        ),
        ("AZEOTROPE_LISTEN__PROT", "1", "listen.prot: unknown key; expected one of host, port"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert str(caught.value) == f"environment variable {name}: {message}"


def test_a_section_in_the_environment_must_be_json(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZEOTROPE_LISTEN", "{port")

    with pytest.raises(ConfigError, match="listen"):
        load(file)


@pytest.mark.parametrize("content", [b"- 1", b"text", b"1: 2", b"\xff\xfe"])
def test_a_file_of_another_shape_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigError, match="expected"):
        load(file)


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="azeotrope config example"):
        load(tmp_path / "none.yaml")


def test_the_key_for_an_engine_comes_from_environment_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    monkeypatch.setenv("ENGINE_KEY", "from-environment")
    settings = {"name": "a", "url": "http://x", "models": {"m": "n"}}

    assert upstream_key("u", Upstream(**settings)) is None
    assert upstream_key("u", Upstream(**settings, api_key_file=file)) == "from-file"
    assert upstream_key("u", Upstream(**settings, api_key_env="ENGINE_KEY")) == "from-environment"
    monkeypatch.setenv("ENGINE_KEY", "two\nlines")
    for wrong in ({"api_key_env": "NO_SUCH"}, {"api_key_env": "ENGINE_KEY"}):
        with pytest.raises(ConfigError, match="api_key_env"):
            upstream_key("upstreams[0]", Upstream(**settings, **wrong))
    with pytest.raises(ConfigError, match="api_key_file"):
        upstream_key("upstreams[0]", Upstream(**settings, api_key_file=tmp_path / "none"))


def test_the_example_is_valid_and_complete(tmp_path: Path) -> None:
    file = tmp_path / "azeotrope.yaml"
    text = resources.files("proxy").joinpath("azeotrope.example.yaml").read_text()
    file.write_text(text)

    assert load(file).tiers["default"].burst == 20
    assert set(Config.model_fields) - set(yaml.safe_load(text)) == {
        "detection",
        "limits",
        "models",
        "passthrough",
        "provenance",
        "telemetry",
    }


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference-config.md"

    assert page.read_text() == reference(), (
        "run: azeotrope config reference > docs/reference-config.md"
    )


def test_every_key_is_described() -> None:
    def check(section: type[BaseModel]) -> None:
        assert section.__doc__
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            inner = section_of(field.annotation)
            if inner is not None:
                check(inner)

    check(Config)


def test_the_schema_is_json() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))

    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"keyring", "manifest", "accounts", "tiers", "upstreams"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("http://engine:8000/", "http://me:hunter2@engine:8000/"),
        ("tiers:", "redis: redis://:hunter2@cache:6379/0\ntiers:"),
        ("tiers:", "redis: {url: [redis://:hunter2@cache]}\ntiers:"),
        ("tiers:", "redis: {deadline_ms: redis://:hunter2@cache}\ntiers:"),
    ],
)
def test_a_password_in_a_url_is_never_quoted(file: Path, old: str, new: str) -> None:
    file.write_text(GOOD.replace(old, new))

    with pytest.raises(ConfigError, match="expected") as caught:
        load(file)

    assert "hunter2" not in str(caught.value)
