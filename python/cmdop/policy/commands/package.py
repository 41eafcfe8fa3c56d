"""Package managers: what asks, what installs (and that install scripts run code), what removes."""

from __future__ import annotations

import re

from cmdop.policy.effects import Effects, connect, effect, external, look, read
from cmdop.policy.invocation import Invocation, Unanalysable, Word
from cmdop.policy.secrecy import names_secret
from cmdop.policy.subcommand import operands
from cmdop.policy.vocabulary import command


class _Manager:
    """The verbs of a package manager, separated by blanks; a verb of two words is joined by a colon."""

    def __init__(
        self, *, looks: str = "", asks: str = "", installs: str = "", removes: str = "", runs: str = ""
    ) -> None:
        self.looks, self.asks, self.installs = looks.split(), asks.split(), installs.split()
        self.removes, self.runs = removes.split(), runs.split()


_NPM = _Manager(
    looks="ls list ll la root prefix bin config:get config:list config:ls get explain why version:--json query help completion fund env pkg:get",
    asks="view info show outdated audit search ping whoami doctor docs repo bugs owner:ls access:list dist-tag:ls team:ls profile:get",
    installs="install i add ci in update up upgrade install-test it install-ci-test link rebuild rb dedupe import",
    removes="uninstall un remove rm r unlink prune cache:clean cache:clear store:prune",
    runs="test t tst start stop restart run run-script exec x dlx create init publish unpublish deprecate pack version adduser login logout token set config:set config:delete owner:add owner:rm access:grant audit:fix hook team:add team:rm profile:set shrinkwrap dist-tag:add dist-tag:rm patch deploy workspace workspaces foreach plugin:import set:version",
)  # fmt: skip
_PIP = _Manager(looks="list show freeze check config:list config:get cache:dir cache:info cache:list inspect debug hash help", asks="index:versions search", installs="install download wheel", removes="uninstall cache:purge cache:remove")  # fmt: skip
_MANAGERS = {
    **dict.fromkeys(("npm", "pnpm", "yarn", "cnpm"), _NPM),
    **dict.fromkeys(("pip", "pip3", "pipx"), _PIP),
    "uv": _Manager(looks="pip:list pip:show pip:freeze pip:check tree version python:list cache:dir python:find", asks="pip:compile", installs="pip:install add sync lock tool:install python:install self:update pip:sync", removes="pip:uninstall remove cache:clean tool:uninstall", runs="run tool:run init build publish venv"),
    "poetry": _Manager(looks="show check env:info env:list version config:--list about", asks="search", installs="install add update lock self:update sync", removes="remove env:remove cache:clear", runs="run shell build publish init new"),
    "pipenv": _Manager(looks="graph --where --venv", installs="install sync update lock", removes="uninstall clean --rm", runs="run shell"),
    "pdm": _Manager(looks="list show info", installs="install add update sync lock", removes="remove", runs="run build publish init"),
    **dict.fromkeys(("conda", "mamba", "micromamba"), _Manager(looks="list info env:list config:--show", asks="search", installs="install create update env:create env:update", removes="remove uninstall env:remove clean", runs="run activate init")),
    **dict.fromkeys(("apt", "apt-get", "aptitude"), _Manager(looks="list show policy search depends rdepends showsrc changelog moo check showpkg", installs="install upgrade full-upgrade dist-upgrade update reinstall build-dep satisfy source download safe-upgrade", removes="remove purge autoremove clean autoclean autopurge", runs="edit-sources")),
    "apt-cache": _Manager(looks="policy show search depends rdepends showpkg madison stats pkgnames unmet dump"),
    "apt-mark": _Manager(looks="showhold showauto showmanual", installs="hold unhold auto manual"),
    "apt-file": _Manager(looks="search find list show", installs="update"),
    **dict.fromkeys(("dnf", "yum", "microdnf", "tdnf"), _Manager(looks="", asks="list info search repolist provides whatprovides check-update history updateinfo repoquery deplist grouplist", installs="install update upgrade reinstall localinstall groupinstall downgrade distro-sync makecache swap module:install", removes="remove erase autoremove clean groupremove")),
    "zypper": _Manager(asks="search se info if lr repos list-updates lu patches", installs="install in update up patch dup refresh addrepo ar", removes="remove rm removerepo rr clean"),
    "apk": _Manager(looks="info list policy version", asks="search", installs="add update upgrade fix", removes="del cache:clean"),
    "pkg": _Manager(looks="info version", asks="search", installs="install update upgrade bootstrap", removes="delete remove autoremove clean"),
    "snap": _Manager(looks="list services version connections changes", asks="info find", installs="install refresh enable", removes="remove disable", runs="run start stop restart set"),
    "flatpak": _Manager(looks="list info remotes history", asks="search remote-ls", installs="install update remote-add", removes="uninstall remote-delete", runs="run kill"),
    "brew": _Manager(looks="list ls info deps uses leaves config doctor --prefix --cellar --cache outdated cat desc home services:list tap-info", asks="search livecheck", installs="install upgrade update reinstall tap bundle link pin fetch", removes="uninstall remove rm autoremove cleanup unlink untap", runs="services:start services:stop services:restart"),
    "port": _Manager(looks="installed list contents deps", asks="search info", installs="install upgrade selfupdate", removes="uninstall clean reclaim"),
    "choco": _Manager(looks="list", asks="search outdated info", installs="install upgrade", removes="uninstall"),
    "winget": _Manager(looks="list", asks="search show", installs="install upgrade", removes="uninstall"),
    "scoop": _Manager(looks="list status", asks="search info", installs="install update", removes="uninstall cleanup"),
    "gem": _Manager(looks="list query contents env environment which specification help", asks="search outdated info", installs="install update fetch", removes="uninstall cleanup", runs="push yank build owner sources"),
    "bundle": _Manager(looks="list show info check platform env", asks="outdated", installs="install update add lock", removes="remove clean", runs="exec console open config init"),
    "composer": _Manager(looks="show info licenses validate status diagnose depends why why-not about", asks="outdated search audit", installs="install update require upgrade dump-autoload self-update create-project", removes="remove clear-cache", runs="run run-script exec global"),
    "opam": _Manager(looks="list show switch:list", installs="install update upgrade", removes="remove", runs="exec init"),
    "cpan": _Manager(installs="-i install"),
    "cpanm": _Manager(installs="install"),
    "luarocks": _Manager(looks="list show", asks="search", installs="install", removes="remove"),
    "nix-env": _Manager(looks="-q", installs="-i -iA -u", removes="-e"),
    "nix": _Manager(runs="run shell develop build flake profile store"),
    "pacman": _Manager(),
    "yay": _Manager(),
    "paru": _Manager(),
    "dpkg": _Manager(),
    "dpkg-query": _Manager(looks="-l -L -S -s -W --list --listfiles --search --status --show"),
    "rpm": _Manager(),
    "npx": _Manager(),
    "bunx": _Manager(),
    "uvx": _Manager(),
    "pnpx": _Manager(),
    "asdf": _Manager(looks="list current where which plugin:list version", asks="latest list-all plugin:list-all", installs="install plugin:add plugin:update reshim global local", removes="uninstall plugin:remove"),
    "nvm": _Manager(looks="ls list current which", asks="ls-remote", installs="install", removes="uninstall", runs="use exec run alias"),
    "rustup": _Manager(looks="show toolchain:list target:list component:list which", asks="check", installs="install update toolchain:install target:add component:add self:update default", removes="toolchain:uninstall target:remove component:remove self:uninstall", runs="run override"),
    "sdk": _Manager(looks="current version", asks="list", installs="install update upgrade", removes="uninstall", runs="use default"),
}  # fmt: skip

_VALUED = frozenset(
    [
        "--prefix",
        "-C",
        "--cwd",
        "--dir",
        "-w",
        "--workspace",
        "--filter",
        "--registry",
        "-r",
        "--requirement",
        "--index-url",
        "--python",
        "-n",
        "--name",
        "-c",
        "--channel",
        "--directory",
        "--project",
        "--manifest-path",
        "-o",
        "--root",
        "--installroot",
    ]
)
_BY_LETTER = {
    "dpkg": (r"-[lLsSpcIWC]\w*|--(list|listfiles|status|search|print-avail|contents|info|get-selections|audit|print-architecture|verify|compare-versions|version)", r"-i|--install|--unpack|--configure|-a", r"-r|-P|--remove|--purge"),
    "rpm": (r"-q\w*|--query|-V\w*|--verify|--version|-K|--checksig|--showrc|--eval", r"-[iUF]\w*|--install|--upgrade|--import|--reinstall", r"-e\w*|--erase"),
    "pacman": (r"-Q\w*|-F[^y]*|-T|-S[si]+|--query|--version", r"-S\w*|-U\w*|--sync|--upgrade|-Fy", r"-R\w*|--remove"),
}  # fmt: skip
_BY_LETTER["yay"] = _BY_LETTER["paru"] = _BY_LETTER["pacman"]


_RUNS = {
    **dict.fromkeys(
        ("npm", "pnpm"), ("--browser", "--viewer", "--script-shell", "--node-options", "--git", "--editor")
    ),
    **dict.fromkeys(("pip", "pip3"), ("--python", "--log")),
    "uv": ("--python", "-p"),
}
"""Options by which a verb that looks runs a program of the caller's choice, or writes a file."""


@command(*_MANAGERS)
def package(call: Invocation) -> Effects:
    """Asks about, installs or removes packages. An install script is code of whoever wrote the package."""
    texts = [word.text for word in call.words]
    if (not texts and call.program != "yarn") or texts in (
        ["--version"],
        ["-v"],
        ["-V"],
        ["--help"],
        ["-h"],
        ["version"],
        ["help"],
    ):
        return
    runs = _RUNS.get(call.program, ())
    for text in texts:
        if runs and text.startswith(runs):
            raise Unanalysable(f"{call.program} {text} runs a program or writes a file")
    if call.program in _BY_LETTER:
        kind = _kind_by_letter(_BY_LETTER[call.program], texts)
    elif call.program in ("npx", "bunx", "uvx", "pnpx"):
        yield from _fetched(call)
        return
    else:
        kind = _kind(_MANAGERS[call.program], call)
    if any(text in ("--dry-run", "--simulate", "-s", "--just-print") for text in texts) and call.program in (
        "apt",
        "apt-get",
        "npm",
    ):
        kind = "looks"
    if call.program in ("npm", "pnpm") and texts in (["run"], ["run-script"], ["run", "--list"]):
        yield read(call.path("package.json"))
        return
    yield from _settings(call, kind)
    names = _names(call)
    match kind:
        case "looks":
            yield look()
        case "asks":
            yield connect("*:*")
        case "installs":
            yield connect("*:*")
            for name in names or ["*"]:
                yield effect("package.install", name)
        case "removes":
            for name in names or ["*"]:
                yield effect("package.remove", name)
        case "runs":
            raise Unanalysable(f"`{call.program} {' '.join(texts[:1])}` runs code of the project")
        case _:
            raise Unanalysable(f"what `{call.program} {' '.join(texts[:1])}` does is not known")


def _settings(call: Invocation, kind: str) -> Effects:
    """What a manager shows of its settings may be what it signs in with: by the name of the setting, or all of them."""
    words = [word.text for word in operands(call, _VALUED)]
    is_about_settings = words[:1] in (["config"], ["c"], ["get"], ["token"]) or not kind
    if (is_about_settings and names_secret(words)) or "--no-redacted" in [word.text for word in call.words]:
        yield external(f"{call.program}/secrets")
    # npm and yarn blot such values out; pip shows the addresses of its registries as they are.
    if call.program in ("pip", "pip3") and words[:1] == ["config"] and words[1:2] in (["list"], ["debug"]):
        yield read(f"{call.home}/.config/pip/pip.conf")


def _kind(manager: _Manager, call: Invocation) -> str:
    words = [word.text for word in operands(call, _VALUED)]
    first = next((word.text for word in call.words), "")
    candidates = [":".join(words[:2]), *words[:1], first]
    if call.program == "yarn" and not words:
        return "installs"
    for candidate in candidates:
        for kind in ("looks", "asks", "installs", "removes", "runs"):
            if candidate and candidate in getattr(manager, kind):
                return kind
    if call.program == "cpanm":
        return "installs"
    return ""


def _kind_by_letter(kinds: tuple[str, str, str], texts: list[str]) -> str:
    for kind, pattern in zip(("looks", "installs", "removes"), kinds, strict=True):
        if any(re.fullmatch(pattern, text) for text in texts):
            return kind
    return ""


def _names(call: Invocation) -> list[str]:
    """The packages, without versions and sources, as far as they are names."""
    names = [word.text for word in operands(call, _VALUED)]
    names = names[2:] if ":".join(names[:2]) in _TWO else names[1:]
    return [
        name if re.fullmatch(r"[A-Za-z0-9@/._+-]{1,128}", name) and not name.startswith(("/", ".")) else "*"
        for name in names
    ][:64]


_TWO = frozenset(
    verb
    for manager in _MANAGERS.values()
    for kind in (manager.installs, manager.removes)
    for verb in kind
    if ":" in verb
)


def _fetched(call: Invocation) -> Effects:
    names: list[Word] = [word for word in call.words if not word.text.startswith("-")]
    yield connect("*:*", certain=False)
    raise Unanalysable(f"`{names[0].text if names else call.program}` may be fetched, and runs")
