"""A pod gets a token of the API only where it may do something with it."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Object, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pod and each account."""
    accounts = declared(stack, "ServiceAccount")
    bound = {
        (str(mapping(one).get("namespace") or binding.namespace), str(mapping(one).get("name")))
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for binding in declared(stack, kind)
        for one in sequence(binding.body.get("subjects"))
    }
    silent = {
        (one.namespace, one.name) for one in accounts if one.body.get("automountServiceAccountToken") is False
    }
    yield from survey(all_pods(stack), lambda pod: _pod(pod, bound, silent))
    yield from survey(accounts, _account)


def _pod(pod: Pod, bound: set[tuple[str, str]], silent: set[tuple[str, str]]) -> Iterator[Finding]:
    account = (pod.namespace, str(pod.spec.get("serviceAccountName") or "default"))
    mounted = pod.spec.get("automountServiceAccountToken")
    if mounted is False or (mounted is None and account in silent) or account in bound:
        return
    found = "absent" if mounted is None else repr(mounted)
    yield Finding(
        f"{pod.path}.automountServiceAccountToken is {found}, and nothing of the stack binds {account[1]}",
        "false",
        pod.object.resource,
    )


def _account(one: Object) -> Iterator[Finding]:
    if one.body.get("automountServiceAccountToken") is not False:
        found = f"{one.path}automountServiceAccountToken of the ServiceAccount is not false"
        yield Finding(found, "false; pods that need a token say so themselves", one.resource)


RULE = Rule(
    name="service-account-tokens",
    group="identity",
    title="No pod carries a token of the Kubernetes API that it does not need.",
    why="Whoever breaks into the pod speaks to the API server as it.",
    fix="Set automountServiceAccountToken to false; on a pod to true only where a role is bound.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.1.6", "CKV_K8S_38"),
    check_stack=check,
)
