"""Infrastructure as code and clouds: what plans, asks or changes what is not on this machine."""

from __future__ import annotations

import re

from cmdop.policy.commands.files import beneath
from cmdop.policy.effects import Effects, connect, create, external, look, modify, read
from cmdop.policy.invocation import Invocation, Unanalysable
from cmdop.policy.subcommand import Verbs, operands
from cmdop.policy.vocabulary import command

_TERRAFORM = Verbs(
    "terraform",
    looks="version|validate|show|output|providers|state list|state show|workspace list|workspace show|graph|metadata functions|providers schema",
    changes="apply|destroy|get|providers lock|providers mirror|import|taint|untaint|refresh|plan|init|state rm|state mv|state push|state pull|state replace-provider|workspace new|workspace select|workspace delete|force-unlock|login|logout|run-all|run-all apply|run-all destroy|console|test",
    valued=frozenset(["-chdir"]),
)


@command("terraform", "tofu", "terragrunt")
def terraform(call: Invocation) -> Effects:
    """Plans run providers, and `init` fetches them; `apply` and `destroy` change what was planned."""
    if any(name.startswith("TF_") for name in call.env):
        raise Unanalysable("a variable gives terraform arguments or settings")
    verb = next(iter(operands(call)), None)
    if verb is not None and verb.text == "fmt":
        base = call.path(".")
        yield read(beneath(base))
        if not any(word.text.startswith(("-check", "--check")) for word in call.words):
            yield modify(f"{base.rstrip('/')}/**", certain=False)
        return
    # A state holds secrets, which only these forms print.
    shows = verb is not None and verb.text in ("output", "show")
    named = verb is not None and verb.text == "output" and len(operands(call)) > 1
    if shows and (named or any(re.fullmatch("--?(json|raw)", word.text) for word in call.words)):
        yield external("terraform/secrets")
    yield from _TERRAFORM.effects(call)


_OTHERS = {
    "pulumi": Verbs("pulumi", reveals=("--show-secrets",), looks="version|config|config get|stack ls|about|plugin ls|whoami", asks="preview|stack|stack output|stack history|logs|org ls",
                    changes="up|update|destroy|refresh|import|stack rm|stack init|stack select|stack import|stack export|config set|config set-all|config rm|config rm-all|config cp|config refresh|config env init|config env add|config env rm|cancel|login|logout|new|state delete|state unprotect|state rename|state move|stack rename|stack tag set|stack tag rm|stack change-secrets-provider|watch"),
    "ansible": Verbs("ansible"),
    "ansible-playbook": Verbs("ansible"),
    "ansible-galaxy": Verbs("ansible", looks="list|role list|collection list", asks="search|info", changes="install|role install|collection install|remove|delete|init"),
    "ansible-inventory": Verbs("ansible", looks="--list"),
    "ansible-doc": Verbs("ansible-doc"),
    "ansible-vault": Verbs("ansible", changes="view|decrypt|encrypt|edit|rekey|create|encrypt_string"),
    "packer": Verbs("packer", looks="validate|inspect|version", changes="build|init|plugins install|plugins remove"),
    "nomad": Verbs("nomad", asks="status|job status|node status|alloc status|alloc logs|job inspect|server members|operator raft list-peers", changes="job run|run|stop|job stop|job purge|node drain|system gc|alloc exec|alloc stop|namespace delete|volume delete"),
    "consul": Verbs("consul", asks="members|catalog services|catalog nodes|kv get|info|operator raft list-peers|intention list", changes="kv put|kv delete|leave|force-leave|reload|join|snapshot restore|acl bootstrap|services deregister|connect ca set-config"),
    "vault": Verbs("vault", asks="status|list|policy list|auth list|secrets list|token lookup|audit list", changes="read|kv get|write|delete|kv put|kv delete|kv destroy|kv metadata delete|seal|operator seal|operator unseal|operator init|operator rekey|token revoke|token create|login|secrets disable|secrets enable|auth disable|auth enable|policy write|policy delete|lease revoke"),
    "etcdctl": Verbs("etcd", asks="get|member list|endpoint health|endpoint status|alarm list", changes="put|del|member remove|member add|compaction|defrag|snapshot restore|snapshot save|alarm disarm|auth disable|user delete|role delete"),
    "aws-vault": Verbs("aws", looks="list"),
    "chef-client": Verbs("chef"),
    "knife": Verbs("chef", asks="node list|node show|cookbook list|status|search", changes="node delete|client delete|bootstrap|ssh|cookbook upload|cookbook delete|environment delete"),
    "puppet": Verbs("puppet", looks="parser validate|config print|module list|facts", changes="apply|agent|resource|module install|node purge|cert clean|node clean"),
    "salt": Verbs("salt"),
    "salt-call": Verbs("salt"),
    "serverless": Verbs("serverless", asks="info|logs", changes="deploy|remove|rollback|invoke|package|deploy function"),
    "sam": Verbs("sam", looks="validate|list resources", asks="logs|list stack-outputs|list endpoints", changes="deploy|delete|build|sync|package|publish|local invoke"),
    "cdk": Verbs("cdk", asks="diff", changes="deploy|destroy|bootstrap|synth|synthesize|list|ls|rollback|import|gc|watch"),
    "fly": Verbs("fly", asks="status|logs|apps list|ips list|volumes list|secrets list|machine list|releases|regions list|checks list|certs list", changes="deploy|destroy|apps destroy|scale|scale count|secrets set|secrets unset|volumes destroy|ssh console|machine destroy|machine stop|machine kill|launch|postgres connect|certs remove|ips release"),
    "flyctl": Verbs("fly", asks="status|logs|apps list", changes="deploy|destroy|apps destroy|scale count|secrets set|volumes destroy|ssh console|launch"),
    "heroku": Verbs("heroku", asks="apps|apps:info|ps|logs|releases|config|addons|status|domains|pg:info|auth:whoami", changes="apps:destroy|pg:reset|ps:scale|ps:restart|restart|run|config:set|config:unset|addons:destroy|releases:rollback|rollback|pg:psql|pg:copy|pg:backups:restore|domains:remove|maintenance:on|maintenance:off"),
    "vercel": Verbs("vercel", asks="ls|list|inspect|logs|whoami|env ls|domains ls|projects ls|teams ls", changes="deploy|rm|remove|env rm|env add|env pull|alias|promote|rollback|domains rm|projects rm|redeploy|dns rm|pull|link"),
    "netlify": Verbs("netlify", asks="status|sites:list|env:list|logs|watch", changes="deploy|sites:delete|env:set|env:unset|unlink|link|build|dev|functions:invoke"),
    "wrangler": Verbs("wrangler", asks="whoami|deployments list|kv:key list|kv namespace list|r2 bucket list|d1 list|tail|secret list", changes="deploy|publish|delete|rollback|kv:key delete|kv:namespace delete|kv namespace delete|r2 bucket delete|d1 delete|d1 execute|secret put|secret delete|dev|queues delete"),
    "doctl": Verbs("digitalocean", asks="compute droplet list|compute droplet get|account get|kubernetes cluster list|databases list|apps list|apps logs", changes="compute droplet delete|compute droplet create|kubernetes cluster delete|databases delete|apps delete|apps create-deployment|compute volume delete|compute domain delete|registry delete"),
    "hcloud": Verbs("hetzner", asks="server list|server describe|volume list|network list", changes="server delete|server create|server reboot|server shutdown|volume delete|network delete|server rebuild|snapshot delete"),
    "linode-cli": Verbs("linode", asks="linodes list|linodes view", changes="linodes delete|linodes create|linodes reboot|linodes rebuild|volumes delete"),
    "gh": Verbs("github", looks="version|alias list|config list|config get|extension list",
                asks="pr list|pr view|pr status|pr diff|pr checks|issue list|issue view|issue status|repo view|repo list|run list|run view|run watch|workflow list|workflow view|release list|release view|auth status|search|search repos|search issues|search prs|search code|gist list|gist view|label list|secret list|variable list|status|browse|project list|org list|cache list|ruleset list",
                changes="pr create|pr merge|pr close|pr edit|pr comment|pr review|pr checkout|pr ready|pr reopen|issue create|issue close|issue comment|issue edit|issue delete|issue transfer|issue reopen|repo create|repo delete|repo clone|repo fork|repo edit|repo rename|repo archive|repo sync|release create|release delete|release upload|release download|release edit|run rerun|run cancel|run delete|run download|workflow run|workflow enable|workflow disable|secret set|secret delete|variable set|variable delete|gist create|gist delete|gist edit|auth login|auth logout|auth token|auth refresh|label create|label delete|api|extension install|ssh-key add|ssh-key delete|gpg-key add|alias set|cache delete|codespace create|codespace delete|codespace ssh|config set"),
    "glab": Verbs("gitlab", asks="mr list|mr view|mr diff|issue list|issue view|ci status|ci list|ci view|repo view|release list|auth status", changes="mr create|mr merge|mr close|mr update|mr note|mr approve|issue create|issue close|issue delete|ci run|ci retry|ci trigger|ci delete|repo create|repo delete|repo clone|release create|release delete|variable set|variable delete|api|auth login"),
    "mc": Verbs("object-storage", asks="ls|stat|du|tree|head|cat|find|diff|admin info", changes="rm|rb|mb|mirror|cp|mv|pipe|policy set|anonymous set|admin user remove|admin service restart|ilm rule add|retention clear|undo"),
    "s3cmd": Verbs("object-storage", asks="ls|la|du|info", changes="del|rm|rb|mb|put|get|sync|mv|cp|setacl|delpolicy|setlifecycle|expire"),
    "rclone": Verbs("object-storage", looks="listremotes|version|config paths", asks="ls|lsd|lsl|lsf|lsjson|size|check|about|cat|tree|md5sum|sha1sum", changes="sync|copy|move|delete|purge|deletefile|rmdir|rmdirs|cleanup|dedupe|bisync|copyto|moveto|mkdir|mount|serve|config|config show|config dump|rcat|touch|backend"),
    "restic": Verbs("backup", asks="snapshots|ls|stats|check|diff|find|cat|version", changes="backup|restore|forget|prune|init|unlock|rebuild-index|repair|mount|key remove|key add|tag|migrate|rewrite"),
    "borg": Verbs("backup", asks="list|info|check|diff", changes="create|delete|prune|extract|init|compact|recreate|rename|break-lock|mount|umount|config|key export"),
    "op": Verbs("password-manager", changes="read|item get|item list|item delete|item create|item edit|vault list|vault delete|signin|run|inject|document get"),
    "sentry-cli": Verbs("sentry", asks="info|releases list|projects list", changes="releases new|releases finalize|releases delete|sourcemaps upload|send-event|deploys new|upload-dif"),
    "stripe": Verbs("stripe", asks="customers list|products list|events list|prices list|status|customers retrieve|balance retrieve", changes="customers delete|customers create|refunds create|charges create|trigger|products delete|subscriptions cancel|listen|login|post|delete|payment_intents create"),
    "firebase": Verbs("firebase", asks="projects:list|hosting:channel:list|apps:list|functions:log|functions:list", changes="deploy|firestore:delete|database:remove|database:set|functions:delete|hosting:disable|auth:import|auth:export|use|emulators:start|login|logout|hosting:channel:delete|apps:create"),
    "supabase": Verbs("supabase", looks="status", asks="projects list|migration list|db diff|functions list|secrets list|branches list", changes="db reset|db push|projects delete|migration up|migration repair|functions deploy|functions delete|secrets set|secrets unset|start|stop|link|branches delete|db pull|db dump|migration new"),
}  # fmt: skip


@command(*_OTHERS)
def other(call: Invocation) -> Effects:
    """Tools for what runs elsewhere."""
    verbs = _OTHERS[call.program]
    texts = [word.text for word in call.words]
    if call.program == "ansible-playbook" and any(
        text in ("--syntax-check", "--list-tasks", "--list-hosts", "--list-tags") for text in texts
    ):
        yield read(beneath(call.path(".")))
        return
    if (
        verbs.party in ("ansible", "salt", "chef")
        and not verbs.changes
        and texts
        and texts[0] not in ("--version", "--help")
    ):
        yield connect("*:*")
        yield external(f"{verbs.party}/run")
        return
    if call.program == "ansible-doc":
        yield read(beneath(call.path(".")))
        return
    yield from verbs.effects(call)


_READ_VERB = re.compile(
    r"(describe|list|get|head|show|ls|wait|lookup|view|search|check|query|scan|batch-get|estimate|preview|test-metric|tail|history|read|cat|du|info|print|which|whoami|export)(-.*)?"
)
"""Verbs of the clouds' command lines that change nothing. (Naming rules of their APIs: Get*, List*, Describe*.)"""
_SECRET = re.compile(
    r"secret|password|token|credential|get-parameter|get-login|access-key|kms|keyvault|list-keys|private", re.IGNORECASE
)


@command(
    "aws",
    "gcloud",
    "az",
    "gsutil",
    "bq",
    "oci",
    "ibmcloud",
    "aliyun",
    "azcopy",
    "eb",
    "ecs-cli",
    "copilot",
    "awslocal",
    "cf",
    "scw",
)
def cloud(call: Invocation) -> Effects:
    """Asks or changes a cloud; whatever is not named as a question changes it, and a question may be for secrets."""
    words = [
        word.text
        for word in operands(
            call,
            frozenset(
                [
                    "--profile",
                    "--region",
                    "--output",
                    "--query",
                    "--project",
                    "--zone",
                    "--format",
                    "--filter",
                    "-g",
                    "--resource-group",
                    "-n",
                    "--name",
                    "--subscription",
                    "-o",
                    "--endpoint-url",
                    "--configuration",
                    "--account",
                    "--cli-input-json",
                    "--max-items",
                    "--limit",
                    "--location",
                ]
            ),
        )
    ]
    texts = [word.text for word in call.words]
    # Behind `--` the words are another program's.
    own = texts[: texts.index("--")] if "--" in texts else texts
    helps = "--help" in own or texts[0:1] == ["help"] or (call.program == "aws" and texts[-1] == "help")
    if not words or helps or texts in (["--version"], ["version"]):
        return
    local = {"gcloud": (["config", "list"], ["config", "get-value"], ["config", "get"], ["info"]), "aws": (["configure", "list"], ["configure", "list-profiles"])}  # fmt: skip
    if words[:2] in local.get(call.program, ()) or words in local.get(call.program, ()):
        yield look()
        return
    yield connect("*:*")
    asks = any(_READ_VERB.fullmatch(word) for word in words[:5])
    changes = any(
        re.match(
            r"(delete|remove|rm|rb|mv|cp|sync|create|update|put|run|start|stop|terminate|set|add|deploy|ssh|exec|invoke|attach|detach|reboot|restore|purge|reset|apply|mb|mk|load|import|enable|disable|restart|scale|scp|connect|revoke|grant|modify)(-.*)?$",
            word,
        )
        for word in words[:5]
    )
    if not asks or changes or any(_SECRET.search(word) for word in words[:5]):
        yield external(f"{call.program}/{words[1] if len(words) > 1 else words[0]}")
    if call.program == "aws" and words[:1] == ["s3"] and words[1:2] in (["cp"], ["sync"], ["mv"]):
        yield create(beneath(call.path(".")), certain=False)
    if call.program == "aws" and words[:1] == ["configure"]:
        raise Unanalysable("aws configure changes credentials")
