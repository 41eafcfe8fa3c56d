"""Containers and orchestrators: what only looks, and what changes containers, volumes, clusters."""

from __future__ import annotations

import re

from cmdop.policy.effects import Effects, connect, external, read
from cmdop.policy.invocation import Invocation, Unanalysable
from cmdop.policy.subcommand import Verbs, operands
from cmdop.policy.vocabulary import command

_DOCKER = Verbs(
    "docker",
    looks="version|ps|images|inspect|logs|top|stats|port|diff|info|events|history|container ls|container list|container ps|container inspect|container logs|container top"
    "|container stats|container port|container diff|image ls|image list|image inspect|image history|volume ls|volume list|volume inspect|network ls|network list"
    "|network inspect|system df|system info|system events|context ls|context show|context inspect|node ls|node inspect|service ls|service ps|service logs|service inspect"
    "|stack ls|stack ps|stack services|plugin ls|secret ls|config ls|compose ps|compose ls|compose logs|compose top|compose images|compose config|compose port"
    "|compose version|compose events|compose stats|buildx ls|buildx inspect|buildx version|builder du|buildx du|pod ps|pod ls|pod inspect|pod logs|pod top|machine ls|machine list|machine inspect|ls|config",
    asks="search|manifest inspect|trust inspect|buildx imagetools inspect|scout cves|scout quickview",
    changes="run|exec|create|start|stop|restart|kill|rm|rmi|pause|unpause|rename|update|attach|commit|build|buildx build|pull|push|tag|login|logout|import|load|prune"
    "|container rm|container run|container exec|container start|container stop|container restart|container kill|container prune|container create|container rename|container update"
    "|image rm|image prune|image pull|image push|image build|image tag|image load|volume rm|volume prune|volume create|network rm|network prune|network create|network connect|network disconnect"
    "|system prune|system reset|builder prune|buildx prune|context rm|context use|context create|swarm init|swarm join|swarm leave|swarm update|service create|service rm|service update|service scale"
    "|service rollback|stack deploy|stack rm|stack up|node rm|node update|node promote|node demote|secret create|secret rm|config create|config rm|plugin install|plugin rm|plugin enable"
    "|compose up|compose down|compose rm|compose run|compose exec|compose build|compose pull|compose push|compose restart|compose stop|compose start|compose kill|compose create|compose pause"
    "|compose unpause|compose watch|compose cp|cp|save|export|checkpoint create|up|down|pod rm|pod create|pod stop|pod start|pod kill|machine rm|machine start|machine stop|machine init|play kube|kube play|kube down",
    valued=frozenset(
        [
            "-H",
            "--host",
            "-c",
            "--context",
            "-f",
            "--file",
            "-p",
            "--project-name",
            "--project-directory",
            "--profile",
            "--env-file",
            "--format",
            "--filter",
            "-n",
            "--tail",
            "--since",
            "--until",
            "--log-level",
            "--config",
            "-l",
            "--last",
            "--type",
            "--tlscacert",
            "--tlscert",
            "--tlskey",
        ]
    ),
    files=("--config", "-o", "--output", "--bootstrap", "--lock-image-digests"),
    elsewhere=("-H", "--host", "--context", "--url", "--connection", "--remote"),
)


@command(
    "docker",
    "podman",
    "nerdctl",
    "docker-compose",
    "podman-compose",
    "buildah",
    "skopeo",
    "ctr",
    "crictl",
    "lxc",
    "incus",
    "colima",
    "minikube",
    "kind",
    "k3d",
    "vagrant",
)
def docker(call: Invocation) -> Effects:
    """Talks to a daemon that has the rights of root, whoever asks it."""
    if "DOCKER_CONFIG" in call.env or "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND" in call.env:
        raise Unanalysable("a directory of settings names programs that docker runs")
    if call.env.get("DOCKER_HOST", "unix:").partition(":")[0] != "unix" or "DOCKER_CONTEXT" in call.env:
        yield connect("*:*")
    if call.program == "vagrant" and _OTHERS.of(call) != "changes":
        asked = [word.text for word in call.words]
        if asked[:1] not in (["global-status"], ["version"], ["--version"], ["--help"]) and asked != ["box", "list"]:
            raise Unanalysable("vagrant runs the Vagrantfile, which is a program of the project")
    asked = [word.text for word in operands(call, _DOCKER.valued)]
    if "inspect" in asked[:2] and any(".Env" in word.text for word in call.words):
        yield external("docker/secrets")
    if call.program == "skopeo":
        yield from _SKOPEO.effects(call)
        return
    if call.program in (
        "buildah",
        "ctr",
        "crictl",
        "lxc",
        "incus",
        "colima",
        "minikube",
        "kind",
        "k3d",
        "vagrant",
    ):
        yield from _OTHERS.effects(call)
        return
    yield from _DOCKER.effects(call)


_OTHERS = Verbs(
    "container-runtime",
    looks="images|ps|pods|status|list|ls|get clusters|get nodes|get kubeconfig|cluster list|node list|info|inspect|logs|version|profile list|addons list|ip|global-status|box list|snapshot list"
    "|containers|containers ls|containers list|images ls|images list|images check|tasks ls|tasks list|namespaces ls|snapshots ls|content ls|stats|inspectp|inspecti|config show|network list|network ls|storage list|port|validate|ssh-config",
    changes="start|stop|delete|rm|rmi|run|exec|create cluster|delete cluster|cluster create|cluster delete|load docker-image|up|halt|destroy|provision|reload|suspend|resume|launch|restart|pause|unpause"
    "|from|bud|build|push|pull|copy|sync|create|stopp|rmp|move|publish|snapshot|restore|ssh|tunnel|addons enable|addons disable|box add|box remove"
    "|images rm|images remove|images delete|images del|images pull|images push|images import|images export|images tag|images mount|images unmount|containers rm|containers remove|containers delete|containers del"
    "|containers create|containers label|tasks kill|tasks rm|tasks delete|tasks start|tasks exec|tasks pause|tasks resume|snapshots rm|snapshots remove|content rm|content remove|content prune|namespaces rm"
    "|leases delete|image delete|storage delete|storage volume delete|network delete|profile delete|project delete|config set|config unset|config edit|config device add|config device remove|snapshot create|snapshot delete|snapshot restore",
    valued=frozenset(["-p", "--profile", "-n", "--namespace", "--name", "-a", "--address", "-r", "--runtime-endpoint"]),
)

_SKOPEO = Verbs(
    "registry", asks="inspect|list-tags|standalone-verify", changes="copy|delete|sync|login|logout|standalone-sign"
)

_KUBECTL = Verbs(
    "kubernetes",
    looks="config view|config get-contexts|config current-context|config get-clusters|config get-users|completion|options|repo list|plugin list|env|lint|template|show values|show chart|show readme|verify",
    asks="get|describe|logs|top|top pod|top node|explain|api-resources|api-versions|cluster-info|diff|wait|events|auth can-i|auth whoami|rollout status|rollout history|list|status|history"
    "|get values|get manifest|get notes|get hooks|get all|search repo|search hub|show all|show crds|app list|app get|app diff|app history|context|cluster list|proj list|repo list"
    "|get kustomizations|get sources|get helmreleases|check|tree|adm top|project|projects|whoami|version",
    changes="apply|create|delete|edit|patch|replace|scale|autoscale|rollout restart|rollout undo|rollout pause|rollout resume|set image|set env|set resources|label|annotate|taint|cordon"
    "|uncordon|drain|exec|attach|cp|debug|run|expose|port-forward|proxy|certificate approve|certificate deny|config use-context|config set-context|config delete-context|config set|config unset"
    "|config set-cluster|config set-credentials|config rename-context|config delete-cluster|config delete-user|auth reconcile|install|upgrade|uninstall|rollback|del|test|repo add|repo remove|repo update"
    "|dependency update|dependency build|package|push|pull|registry login|plugin install|plugin uninstall|app sync|app delete|app create|app set|app rollback|login|logout|reconcile|suspend|resume|bootstrap"
    "|uninstall|start-build|new-app|rsh|rsync|adm drain|adm cordon|sync|destroy",
    valued=frozenset(
        [
            "-n",
            "--namespace",
            "--context",
            "--cluster",
            "--user",
            "--kubeconfig",
            "-f",
            "--filename",
            "-l",
            "--selector",
            "-o",
            "--output",
            "-c",
            "--container",
            "--field-selector",
            "--sort-by",
            "--tail",
            "--since",
            "-s",
            "--server",
            "--as",
            "--as-group",
            "--token",
            "--kube-context",
            "--timeout",
            "--set",
            "--values",
            "--version",
            "-k",
            "--kustomize",
            "-v",
            "--request-timeout",
            "-e",
            "--environment",
            "--type",
            "-p",
            "--patch",
            "--replicas",
            "--image",
            "--grace-period",
            "--for",
            "--revision",
        ]
    ),
    files=("--post-renderer", "--output-dir"),
)


@command(
    "kubectl",
    "oc",
    "helm",
    "argocd",
    "flux",
    "kustomize",
    "helmfile",
    "k9s",
    "kubectx",
    "kubens",
    "stern",
    "kubeadm",
    "eksctl",
    "istioctl",
    "linkerd",
    "velero",
    "skaffold",
    "tilt",
)
def kubernetes(call: Invocation) -> Effects:
    """Talks to a cluster."""
    if call.program in ("kubectx", "kubens", "kubeadm", "eksctl", "velero", "skaffold", "tilt", "k9s"):
        yield external(f"kubernetes/{call.program}")
        raise Unanalysable(f"what {call.program} changes is not known")
    verb = [word.text for word in operands(call, _KUBECTL.valued)]
    texts = [word.text for word in call.words]
    if verb[:1] == ["version"] and (call.program in ("helm", "kustomize") or "--client" in texts):
        return
    if verb[:1] == ["kustomize"] or (call.program == "kustomize" and verb[:1] == ["build"]):
        if any("://" in text or "?ref=" in text for text in verb):
            yield connect("*:*")
        raise Unanalysable("kustomize may fetch and run generators")
    if verb[:2] == ["config", "view"] and any(text.startswith("--raw") for text in texts):
        yield read(f"{call.home}/.kube/config")
    if call.program == "helm" and verb[:1] in (["template"], ["show"], ["lint"], ["verify"], ["dependency"]):
        yield from _chart(texts, verb)
    yield from _KUBECTL.effects(call)


def _chart(texts: list[str], words: list[str]) -> Effects:
    """Where a chart comes from: a directory or an archive, unless it is named by a registry or a repository."""
    remote = any(re.match(r"[a-z0-9+]+://|[\w-]+/[\w.-]+$", word) for word in words[1:])
    if remote or any(text.startswith(("--repo", "--validate", "--dependency-update")) for text in texts):
        yield connect("*:*")
