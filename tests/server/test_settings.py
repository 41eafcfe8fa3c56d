"""What a server reads before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmdop import v1
from cmdop.errors import InvalidConfigurationError
from cmdop.host.process import HostOptions, read_key
from cmdop.server import read_config


def test_an_empty_data_directory_means_the_defaults(tmp_path: Path) -> None:
    config = read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v")
    assert not config.policies
    assert config.autonomy.default_level == v1.AutonomyLevel.AUTONOMY_LEVEL_ASK
    assert config.data_dir == str(tmp_path / "server")
    assert config.vocabulary_version == "v"


def test_policies_and_levels_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "b.cedar").write_text("// b")
    (tmp_path / "policies" / "a.cedar").write_text("// a")
    (tmp_path / "policies" / "notes.txt").write_text("not a policy")
    (tmp_path / "autonomy.toml").write_text('default = "shadow"\n[agents]\ncleaner = "preview"\n')
    config = read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v")
    assert [file.text for file in config.policies] == ["// a", "// b"]
    assert config.policies[0].name.endswith("policies/a.cedar")
    assert config.autonomy.default_level == v1.AutonomyLevel.AUTONOMY_LEVEL_SHADOW
    assert config.autonomy.agents["cleaner"] == v1.AutonomyLevel.AUTONOMY_LEVEL_PREVIEW


@pytest.mark.parametrize("text", ['default = "free"', "default = ", '[agents]\ncleaner = "root"', "levels = 1"])
def test_levels_that_are_wrong_name_their_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "autonomy.toml").write_text(text)
    with pytest.raises(InvalidConfigurationError, match=r"autonomy\.toml"):
        read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v")


def test_a_policy_that_is_not_text_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "broken.cedar").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfigurationError, match=r"broken\.cedar"):
        read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v")


def test_packs_and_files_are_used_instead_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.cedar").write_text("// a")
    mine = tmp_path / "mine.cedar"
    mine.write_text("// mine")
    config = read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v", policy=["production", str(mine)])
    assert [(file.pack, file.text) for file in config.policies] == [("production", ""), ("", "// mine")]


@pytest.mark.parametrize("name", ["./absent.cedar", "./"])
def test_a_policy_that_was_asked_for_and_is_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=str(tmp_path)):
        read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v", policy=[f"{tmp_path}/{name}"])


def test_groups_and_labels_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "entities.toml").write_text(
        '[groups.users]\noperators = ["ada"]\n[groups.hosts]\nweb = ["web-1"]\n[hosts.web-1]\nenv = "production"\n'
    )
    entities = read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v").entities
    assert [*entities.user_groups["operators"].names] == ["ada"]
    assert [*entities.host_groups["web"].names] == ["web-1"]
    assert dict(entities.host_labels["web-1"].labels) == {"env": "production"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[groups.users]\nops = "ada"', 2),
        ('[groups.users]\n"a b" = ["ada"]', 2),
        ("[hosts.web]\nenv = 1", 2),
        ("[hots]", 1),
    ],
)
def test_groups_that_are_wrong_name_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "entities.toml").write_text(text)
    with pytest.raises(InvalidConfigurationError, match=rf"entities\.toml:{line}"):
        read_config(tmp_path, "127.0.0.1:0", vocabulary_version="v")


def test_a_host_needs_a_whole_key(tmp_path: Path) -> None:
    key = tmp_path / "permit.pub"
    with pytest.raises(InvalidConfigurationError, match="cannot be read"):
        read_key(key)
    key.write_text("00" * 31)
    with pytest.raises(InvalidConfigurationError, match="32 bytes"):
        read_key(key)
    key.write_text("ab" * 32 + "\n")
    assert read_key(key) == b"\xab" * 32


def test_a_workspace_must_be_absolute(tmp_path: Path) -> None:
    (tmp_path / "permit.pub").write_text("ab" * 32)
    options = HostOptions("127.0.0.1:1", tmp_path / "permit.pub", tmp_path, "h", ["srv/app"])
    with pytest.raises(InvalidConfigurationError, match="srv/app"):
        options.to_proto()
