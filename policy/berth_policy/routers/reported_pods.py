"""A reporter counts the pods of the model that it reports, all of them and no others."""

from collections.abc import Iterator

from berth_policy.checks import declared
from berth_policy.reading import said
from berth_policy.routers._documents import SITE, Document, documents, entries
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, survey


def check(stack: Stack) -> Iterator[Finding]:
    """Compare what each reporter selects with what the Service of the model selects."""
    yield from survey(documents(stack, SITE), lambda one: _look(stack, one))


def _look(stack: Stack, site: Document) -> Iterator[Finding]:
    services = {
        one.name: mapping(one.spec.get("selector"))
        for one in declared(stack, "Service")
        if one.namespace == site.object.namespace
    }
    resource = site.object.resource
    for model, told in entries(site.body, "models"):
        name, selector = str(told.get("service")), mapping(told.get("selector"))
        if name not in services:
            found = f"{site.path}: models.{model}.service is {name}, which the stack does not declare there"
            yield Finding(found, "the Service of the model", resource)
            continue
        for key in sorted({*selector, *services[name]}):
            if selector.get(key) != services[name].get(key):
                found = f"{site.path}: models.{model}.selector has {key} {said(selector.get(key))}"
                wanted = f"{said(services[name].get(key))}, as Service {name} has"
                yield Finding(found, wanted, resource)


RULE = Rule(
    name="routers-reported-pods",
    group="routers",
    title="A site's reporter counts exactly the pods of the model's Service.",
    why="What it does not count costs money that no cap sees; what it counts too much draws load to nobody.",
    fix="Give selector the labels that the Service selects by.",
    types=("kubernetes:core/",),
    check_stack=check,
)
