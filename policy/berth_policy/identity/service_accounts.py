"""One identity for each workload."""

from collections.abc import Iterator

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey

WANTED = "a ServiceAccount of its own"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at whom each pod runs as."""
    accounts = {(one.namespace, one.name) for one in declared(stack, "ServiceAccount")}
    users: dict[tuple[str, str], Pod] = {}
    yield from survey(all_pods(stack), lambda pod: _look(pod, accounts, users))


def _look(pod: Pod, accounts: set[tuple[str, str]], users: dict[tuple[str, str], Pod]) -> Iterator[Finding]:
    resource = pod.object.resource
    name = str(pod.spec.get("serviceAccountName") or pod.spec.get("serviceAccount") or "default")
    path = f"{pod.path}.serviceAccountName"
    if name == "default":
        yield Finding(
            f"{path} is {'absent' if not pod.spec.get('serviceAccountName') else name}", WANTED, resource
        )
        return
    account = (pod.namespace, name)
    here = {one for one in accounts if one[0] == pod.namespace}
    if here and account not in here and (pod.namespace, "") not in here:
        known = ", ".join(sorted(one[1] for one in here))
        yield Finding(f"{path} is {name}, which the stack declares there under another name", known, resource)
    other = users.setdefault(account, pod)
    if other.object.resource is not resource:
        found = f"{path} is {name}, and {other.object.resource.title} runs as it too"
        yield Finding(found, WANTED, resource)


RULE = Rule(
    name="service-accounts-own",
    group="identity",
    title="Each workload runs as a ServiceAccount of its own.",
    why="What one workload may do, each one that shares its account may do, and a cloud's role follows it.",
    fix="Declare a ServiceAccount for the workload and name it.",
    types=KUBERNETES,
    answers=("CIS Kubernetes 2.0.1 5.1.5", "CKV_K8S_41"),
    check_stack=check,
)
