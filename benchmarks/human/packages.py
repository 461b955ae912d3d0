"""Where the human text comes from: pinned packages of Debian 12 and PyPI, and which files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.human import readers

Domain = Literal["prose", "manuals", "licences", "code"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
Reader = Callable[[bytes, str], Iterator[str]]
Registry = Literal["debian", "pypi"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Files whose path matches the regular expression `pattern` are of `domain`.

    `keep` = n takes every n-th of them, by a hash, where a package would outweigh its domain.
    """

    domain: Domain
    pattern: str
    read: Reader = readers.plain
    keep: int = 1


@dataclass(frozen=True, slots=True)
class Package:
    """A package by name and version; the first rule that fits a file reads it, by domain."""

    name: str
    version: str
    rules: tuple[Rule, ...]
    registry: Registry = "debian"


_NOTICES = Rule("licences", r"/(copyright|common-licenses/[^/]+|LICEN[CS]E[^/]*|COPYING[^/]*)$")
_HTML = Rule("manuals", r"\.html$", readers.markup)
_MAN = Rule("manuals", r"/man/man\w+/[^/]+\.gz$", readers.manual)
_DICT = Rule("prose", r"\.dict\.dz$", readers.dictionary)


def _texts(domain: Domain, pattern: str, read: Reader = readers.plain) -> tuple[Rule, ...]:
    return Rule(domain, pattern, read), _NOTICES


def _sources(suffix: str, keep: int = 1) -> tuple[Rule, ...]:
    pattern = rf"\.{suffix}(\.gz)?$"
    return Rule("code", pattern, keep=keep), Rule("licences", pattern, readers.header), _NOTICES


_PROSE = (
    Package("anarchism", "15.3-3", _texts("prose", r"\.html$", readers.markup)),
    Package("debian-history", "2.28", _texts("prose", r"history\.en\.txt(\.gz)?$")),
    Package("dict-devil", "1.0-13.1", (_DICT, _NOTICES)),
    Package("dict-foldoc", "20230119-1", (_DICT, _NOTICES)),
    Package("dict-gcide", "0.48.5+nmu2", (_DICT, _NOTICES)),
    Package("dict-jargon", "4.4.7-3.1", (_DICT, _NOTICES)),
    Package("dict-wn", "1:3.0-37", (_DICT, _NOTICES)),
    Package("fortunes", "1:1.99.1-7.3", _texts("prose", r"/fortunes/[^/.]+$", readers.fortunes)),
    Package("miscfiles", "1.5+dfsg-4", _texts("prose", r"/state/.*\.gz$")),
)
_MANUALS = (
    Package("apache2-doc", "2.4.71-1~deb12u1", _texts("manuals", r"/en/.*\.html$", readers.markup)),
    Package("cmake-doc", "3.25.1-1", _texts("manuals", r"/_sources/.*\.txt$")),
    Package("erlang-manpages", "1:25.2.3+dfsg-1+deb12u4", (_MAN, _NOTICES)),
    Package("freebsd-manpages", "12.2-1", (_MAN, _NOTICES)),
    Package("git-man", "1:2.39.5-0+deb12u3", (_MAN, _NOTICES)),
    Package("gnome-user-docs", "43.0-2", _texts("manuals", r"/C/.*\.page$", readers.markup)),
    Package("libglib2.0-doc", "2.74.6-2+deb12u9", (_HTML, _NOTICES)),
    Package("libgtk-3-doc", "3.24.38-2~deb12u3", (_HTML, _NOTICES)),
    Package("libreoffice-help-en-us", "4:7.4.7-1+deb12u14", (_HTML, _NOTICES)),
    Package("libssl-doc", "3.0.22-1~deb12u2", (_MAN, _NOTICES)),
    Package("libstdc++-12-doc", "12.2.0-14+deb12u1", (_HTML, _MAN, _NOTICES)),
    Package(
        "linux-doc-6.1", "6.1.192-2", _texts("manuals", r"/Documentation/.*\.(rst|txt)(\.gz)?$")
    ),
    Package("manpages", "6.03-2", (_MAN, _NOTICES)),
    Package("manpages-dev", "6.03-2", (_MAN, _NOTICES)),
    Package("nodejs-doc", "18.20.4+dfsg-1~deb12u3", (_HTML, _NOTICES)),
    Package("octave-doc", "7.3.0-2", (_HTML, _NOTICES)),
    Package("perl-doc", "5.36.0-7+deb12u4", (_MAN, _NOTICES)),
    Package("postgresql-doc-15", "15.20-0+deb12u1", (_HTML, _MAN, _NOTICES)),
    Package("python-django-doc", "3:3.2.25-0+deb12u7", (_HTML, _NOTICES)),
    Package("python3.11-doc", "3.11.2-6+deb12u9", _texts("manuals", r"/_sources/.*\.txt$")),
    Package("qtbase5-doc-html", "5.15.8+dfsg-11+deb12u3", (_HTML, _NOTICES)),
    Package("selinux-policy-doc", "2:2.20221101-9", (_HTML, _MAN, _NOTICES)),
    Package("sqlite3-doc", "3.40.1-2+deb12u2", (_HTML, _NOTICES)),
    Package("swi-prolog-doc", "9.0.4+dfsg-2", (_HTML, _NOTICES)),
    Package("tcl8.6-doc", "8.6.13+dfsg-2", (_MAN, _NOTICES)),
    Package("tk8.6-doc", "8.6.13-2", (_MAN, _NOTICES)),
    Package("vim-runtime", "2:9.0.1378-2+deb12u2", _texts("manuals", r"/doc/[^/]+\.txt$")),
)
_LICENCES = (
    Package("base-files", "12.4+deb12u15", (_NOTICES,)),
    Package("chromium-sandbox", "156.0.8078.79-1~deb12u1", (_NOTICES,)),
    Package("firefox-esr-l10n-en-gb", "153.7.0esr-1~deb12u1", (_NOTICES,)),
    Package("gir1.2-webkit2-4.0", "2.50.6-1~deb12u2", (_NOTICES,)),
    Package("libqt5webengine-data", "5.15.13+dfsg-1~deb12u1", (_NOTICES,)),
    Package("libreoffice-l10n-en-gb", "4:7.4.7-1+deb12u14", (_NOTICES,)),
    Package("thunderbird-l10n-en-gb", "1:153.7.0esr-1~deb12u1", (_NOTICES,)),
    Package(
        "scancode-toolkit-mini",
        "32.5.0",
        (
            Rule("licences", r"/data/(licenses|rules)/[^/]+$", readers.rule),
            Rule("prose", r"/gibberish/big\.txt$"),  # novels and histories, out of copyright
            Rule("code", r"\.py$"),
        ),
        "pypi",
    ),
)
_CODE = (
    Package("emacs-el", "1:28.2+1-15+deb12u4", _sources("el")),
    Package("golang-1.19-src", "1.19.8-2", _sources("go", 2)),
    Package("libboost1.74-dev", "1.74.0+ds1-21", _sources("[hi]pp", 2)),
    Package("libpython3.11-stdlib", "3.11.2-6+deb12u9", _sources("py")),
    Package("libpython3.11-testsuite", "3.11.2-6+deb12u9", _sources("py")),
    Package("linux-headers-6.1.0-47-common", "6.1.170-3", _sources("h", 2)),
    Package("openjdk-17-source", "17.0.21.1+2-1~deb12u1", _sources("java", 3)),
    Package("rust-src", "1.63.0+dfsg1-2", _sources("rs")),
)
PACKAGES = _PROSE + _MANUALS + _LICENCES + _CODE
