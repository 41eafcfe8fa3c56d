"""What a server is configured with: a data directory, its policies and its autonomy levels.

::

    DATA/policies/*.cedar   policies beside the floor; none: the pack `workspace`
    DATA/entities.toml      groups of users, agents and hosts, and labels of hosts
    DATA/autonomy.toml      default = "ask"
                            [agents]
                            cleaner = "preview"
    DATA/approvers.toml     who answers approvals: see `cmdop.server.approvers`
    DATA/notify.toml        who is told of approvals: see `cmdop.server.notify`
    DATA/server/            ledger, index and signing key
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmdop import v1
from cmdop.errors import InvalidConfigurationError
from cmdop.policy import load_levels
from cmdop.policy.entities import load_entities
from cmdop.policy.sources import read_sources
from cmdop.server.approvers import load_approvers


def read_config(data: Path, listen: str, *, vocabulary_version: str, policy: Sequence[str] = ()) -> v1.ServerConfig:
    """The configuration of a server over a data directory.

    Args:
        data: The directory.
        listen: Address to listen on.
        vocabulary_version: Version of the vocabulary that answers judgements.
        policy: Packs and files that are used instead of DATA/policies.

    Raises:
        InvalidConfigurationError: A file cannot be read or understood; the message names it.
    """
    _check_key(data / "server" / "permit.key")
    policies = read_policy(data, policy)
    return v1.ServerConfig(
        data_dir=str(data / "server"),
        listen=listen,
        policies=policies.files,
        entities=policies.entities,
        approvers=policies.approvers,
        autonomy=policies.autonomy,
        vocabulary_version=vocabulary_version,
    )


def read_policy(data: Path, policy: Sequence[str] = ()) -> v1.PolicySet:
    """The policy of a data directory as its files are now, or these packs and files instead of its own.

    Levels of agents and approvers are the directory's.

    Raises:
        InvalidConfigurationError: A file cannot be read or understood; the message names it. Whether the policies
            themselves are sound is for the core to say.
    """
    files = read_sources(policy) if policy else read_sources([str(data / "policies")], missing_ok=True)
    approvers = load_approvers(data)
    entities = approvers.join_groups(load_entities(data / "entities.toml"))
    autonomy = load_levels(data / "autonomy.toml").to_proto()
    return v1.PolicySet(files=files, entities=entities, approvers=approvers.to_proto(), autonomy=autonomy)


def _check_key(path: Path) -> None:
    """The signing key of permits is made when there is none. One that is broken is not replaced by itself."""
    try:
        size = len(path.read_bytes())
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidConfigurationError.fix(
            f"{path} cannot be read: {error}", "a file that the server can read"
        ) from None
    if size != 32:
        raise InvalidConfigurationError.fix(
            f"the signing key {path} must be 32 bytes, it has {size}",
            "the key from a backup; or remove the file: a new key is made, and hosts that join by "
            "`--permit-key` need the new permit.pub",
        )
