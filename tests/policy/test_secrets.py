"""Whoever reads a secret is asked about, whatever it lies in and whoever prints it; what only looks like one is not."""

from __future__ import annotations

import json

from cmdop._bridge import CoreDecider
from cmdop.cli.decide import Host, verdicts
from cmdop.policy import judge

FILES = """
.env .env.prod config/.env.local .envrc server.key store.p12 AuthKey_1.p8 id_ed25519 passwords.kdbx wallet.dat
infra/terraform.tfstate infra/terraform.tfstate.backup prod.tfvars wp-config.php sites/default/settings.php
~/.m2/settings.xml ~/.gradle/gradle.properties ~/.config/pip/pip.conf ~/.npmrc ~/.cargo/credentials.toml
~/.mozilla/firefox/abc.default/logins.json ~/.mozilla/firefox/abc.default/logins.db
~/.mozilla/firefox/abc.default/key4.db
~/.config/BraveSoftware/Brave-Browser/Default/Cookies ~/.thunderbird/abc/key4.db
~/Library/Keychains/login.keychain-db ~/.local/share/kwalletd/kdewallet.kwl ~/.authinfo ~/.netrc
~/.config/glab-cli/config.yml ~/.codex/auth.json ~/.claude/.credentials.json ~/.kaggle/kaggle.json ~/.databrickscfg
~/.irb_history ~/.bash_history ~/.sqlite_history /etc/mysql/debian.cnf /etc/security/opasswd /etc/shadow /proc/1/environ
/var/run/secrets/kubernetes.io/serviceaccount/token /dev/mem /dev/kmem /dev/port /dev/sda /dev/nvme0n1p1 /proc/kcore
"""
CHROMIUM = '"$HOME/.config/chromium/Default/Login Data"'
PLAIN_FILES = """
README.md .env.example .env.sample src/auth.ts locales/en/auth.json chart/templates/secret.yaml docs/tokens.md main.tf
pom.xml gradle.properties settings.xml config.php settings.py package.json history.txt /etc/hosts /dev/null
/proc/cpuinfo
"""
READERS = (
    "cat {}",
    "head -c 64 {}",
    "base64 {}",
    "xxd {}",
    "strings {}",
    "sort {} | uniq",
    "while read l; do echo $l; done < {}",
)

PRINTERS = """
npm config get _authToken
npm config get //packages.example.com/:_authToken
npm get _password
npm token list
yarn config get npmAuthToken --no-redacted
pip config debug
pip3 config list
composer config github-oauth.github.com
git config --get-regexp token
git config --get-regexp '.*'
git config --get http.extraheader
git config github.token
git config get --regexp --all 'url.*'
git credential fill
git credential-store get
gh auth token
gh config get oauth_token
glab config get token
docker inspect -f '{{.Config.Env}}' web
docker-credential-pass get
fly auth token
heroku auth:token
heroku config
vault read secret/app
vault kv get secret/app
vault print token
doctl auth token
kubectl config view --raw
kubectl get secret app -o yaml
gcloud auth print-access-token
aws configure get aws_secret_access_key
az account get-access-token
op read op://vault/item/password
pass show mail/ada
gopass show mail/ada
rbw get example.com
bw get password example.com
keyring get system ada
security find-generic-password -w -s app
secret-tool lookup service app
kwallet-query -r app kdewallet
chamber read app key
doppler secrets get KEY
mysql_config_editor print --all
gpg --export-secret-keys
nmcli -s connection show office
nmcli device wifi show-password
rclone config show
ansible-vault view secrets.yml
sops -d secrets.enc.yaml
"""
PLAIN_COMMANDS = """
npm config get registry
npm ls jsonwebtoken
pip config get global.timeout
pip show keyring
git config --get user.email
git config --get credential.helper
git config --get-regexp '^alias'
git config --get-regexp '^branch\\.'
git log --grep token
git grep password
docker inspect web
docker secret ls
nmcli connection show
gpg --list-keys
grep -rn api_key src
rg token src
"""


def _verdicts(commands: list[str]) -> dict[str, str]:
    host = Host()
    decider = CoreDecider(host.to_proto(), [], judge)
    asked = [json.dumps({"id": at, "command": each}).encode() for at, each in enumerate(commands)]
    return {command: each["verdict"] for command, each in zip(commands, verdicts(asked, decider, host), strict=True)}


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


def test_whoever_reads_a_file_that_holds_secrets_is_asked_about() -> None:
    found = _verdicts([reader.format(file) for file in [*FILES.split(), CHROMIUM] for reader in READERS])
    assert {command: verdict for command, verdict in found.items() if verdict != "ask"} == {}


def test_a_file_that_only_sounds_like_a_secret_is_read() -> None:
    found = _verdicts([f"cat {file}" for file in PLAIN_FILES.split()])
    assert {command: verdict for command, verdict in found.items() if verdict != "allow"} == {}


def test_whoever_prints_a_secret_is_asked_about_before_it_runs() -> None:
    """A private copy would hide nothing: what is printed is told."""
    found = _verdicts(_lines(PRINTERS))
    assert {command: verdict for command, verdict in found.items() if verdict != "ask"} == {}


def test_a_search_for_such_a_word_and_a_plain_setting_are_shown() -> None:
    found = _verdicts(_lines(PLAIN_COMMANDS))
    assert {command: verdict for command, verdict in found.items() if verdict != "allow"} == {}
