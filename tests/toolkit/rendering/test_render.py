"""A stack as files: complete, in order, the same bytes, no secret, and nothing left out in silence."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.rendering import Collected, RenderError, Secrets, collect, plain, refer, write
from berth.rendering.yamltext import dump

Objects = dict[tuple[str, str, str], dict[str, Any]]

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from berth.deployer import Report

CANARY = "canary-51d0f2a9c3"
ODD = {
    "prompt": 'You are {{ .Role }}.\n{{- range .Tools }}\n - {{ .Name }}\n{{- end }}\nSay "yes": {{{x}}}\n',
    "lines": "a: 1\n\n  b: - c\n\ttab and trailing space \n",
    "no": "no",
    "one": "1",
    "octal": "0o14",
    "float": "1e3",
    "time": "12:30:45",
    "empty": "",
    "null": "null",
    "hash": "# not a comment",
    "unicode": "Übergröße 模型 🚀 \u2028 \x85",
    "quotes": "'single' \"double\" \\ back",
    "marks": "[secret] [unknown] BERTH0SLOTV0X",
    "amp": "a < b && c > d",
    "crlf": "one\r\ntwo\r\n",
    "y": "y",
}
PROGRAM = """
space = k8s.core.v1.Namespace("space", metadata={"name": "odd"})
k8s.apiextensions.v1.CustomResourceDefinition("crd", metadata={"name": "things.example.org"},
    spec={"group": "example.org", "scope": "Namespaced",
          "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
          "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"open_apiv3_schema":
                        {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]})
k8s.apiextensions.CustomResource("thing", api_version="example.org/v1", kind="Thing",
    metadata={"name": "first", "namespace": "odd"}, spec={"size": 3, "ratio": 0.5, "on": True})
k8s.rbac.v1.ClusterRole("odd", metadata={"name": "system:odd:{{reader}}"},
    rules=[{"api_groups": [""], "resources": ["pods"], "verbs": ["get"]}])
k8s.core.v1.ConfigMap("odd", data=config.require_object("data"),
    metadata={"name": "odd", "namespace": "odd", "labels": {"on": "yes"},
              "annotations": {"text": "{{ .Values.x }}", "pulumi.com/skipAwait": "true"}})
k8s.core.v1.Secret("keys", metadata={"name": "keys", "namespace": "odd", "labels": {"a": "b"}},
    string_data={"token": config.require_secret("key"), "user": "public"})
pod = {"containers": [{"name": "main", "image": "example.org/a:1", "args": ["--x={{y}}"],
       "env_from": [{"config_map_ref": {"name": "odd"}}]}]}
k8s.apps.v1.Deployment("web", metadata={"name": "web", "namespace": "odd"},
    spec={"replicas": int(config.get("replicas") or 2), "selector": {"match_labels": {"app": "web"}},
          "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}})
first = k8s.batch.v1.Job("first", metadata={"name": "first", "namespace": "odd"},
    spec={"template": {"spec": {**pod, "restart_policy": "Never"}}},
    opts=pulumi.ResourceOptions(depends_on=[space]))
k8s.core.v1.ConfigMap("late", metadata={"name": "late", "namespace": "odd"}, data={"a": "b"},
    opts=pulumi.ResourceOptions(depends_on=[first]))
"""


def planned(plan: Callable[..., Report], key: str = CANARY, **config: str) -> Collected:
    return collect(plan(PROGRAM, data=json.dumps(ODD), secret={"key": key}, **config))


@pytest.fixture
def odd(plan: Callable[..., Report]) -> Collected:
    return planned(plan)


def text_of(files: dict[str, str]) -> str:
    return "---\n".join(text for name, text in files.items() if name[0].isdigit())


def test_files_are_the_objects_in_an_order_that_can_be_applied(
    odd: Collected, by_key: Callable[[str], Objects], wanted: Callable[[Collected], Objects]
) -> None:
    files = plain(odd, Secrets(), waves=False)
    assert by_key(text_of(files)) == wanted(odd)
    data = by_key(text_of(files))["ConfigMap", "odd", "odd"]["data"]
    assert data == ODD
    order = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert order == sorted(order)
    assert order[0].startswith("00-customresourcedefinition")
    place = {name: index for index, name in enumerate(order)}
    assert place["10-namespace-odd.yaml"] < place["45-thing-odd-first.yaml"]
    assert place["51-configmap-odd-late.yaml"] > place["50-job-odd-first.yaml"], "the program's own order"
    assert "README.md" in files
    waved = by_key(text_of(plain(odd, Secrets())))
    assert waved["Namespace", "", "odd"]["metadata"]["annotations"] == {"argocd.argoproj.io/sync-wave": "10"}


def test_the_same_plan_gives_the_same_bytes_and_a_setting_a_small_change(
    plan: Callable[..., Report], odd: Collected, tmp_path: Path
) -> None:
    assert plain(odd, Secrets()) == plain(planned(plan), Secrets())
    assert plain(odd, Secrets()) == plain(planned(plan, "another"), Secrets())
    more = plain(planned(plan, replicas="3"), Secrets())
    out = tmp_path / "out"
    assert write(out, plain(odd, Secrets()))
    assert write(out, plain(odd, Secrets())) == []
    assert write(out, more) == ["50-deployment-odd-web.yaml"]


@pytest.mark.parametrize("form", ["existing", "external"])
def test_a_secret_is_a_reference_and_never_a_value(
    odd: Collected, tmp_path: Path, form: Any, by_key: Callable[[str], Objects]
) -> None:
    secrets = Secrets(form, "vault" if form == "external" else "", prefix="demo/dev")
    write(tmp_path / "out", plain(odd, secrets))
    everything = "".join(path.read_text() for path in sorted((tmp_path / "out").iterdir()))
    assert CANARY not in everything
    assert "Y2FuYXJ5" not in everything, "nor its base64"
    assert "Secret odd/keys (Opaque), keys: token, user" in everything
    found = by_key(text_of(plain(odd, secrets, waves=False)))
    assert ("Secret", "odd", "keys") not in found
    if form == "external":
        made = found["ExternalSecret", "odd", "keys"]
        assert made["apiVersion"] == "external-secrets.io/v1"
        assert made["spec"] == {
            "refreshInterval": "1h",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
            "target": {
                "name": "keys",
                "creationPolicy": "Owner",
                "template": {"type": "Opaque", "metadata": {"labels": {"a": "b"}}},
            },
            "data": [
                {"secretKey": key, "remoteRef": {"key": "demo/dev/keys", "property": key}}
                for key in ("token", "user")
            ],
        }
    else:
        assert not [key for key in found if "Secret" in key[0]]


def test_keys_that_nobody_knows_are_all_taken(odd: Collected) -> None:
    secrets = Secrets("external", "vault", stand_ins=("token", "user"))
    (items,) = odd.clusters.values()
    kept, (needed,) = refer(items, secrets)
    assert needed.keys == ()
    made = next(item.manifest for item in kept if item.kind == "ExternalSecret")
    assert made["spec"]["dataFrom"] == [{"extract": {"key": "keys"}}]
    assert "data" not in made["spec"]


@pytest.mark.parametrize(
    "body",
    [
        'config.require_secret("key")',
        '"x " + config.require("key")',  # the SDK lost the mark, but the text is known
    ],
)
def test_a_secret_outside_of_a_secret_is_refused_by_name(plan: Callable[..., Report], body: str) -> None:
    body = f'k8s.core.v1.ConfigMap("c", metadata={{"name": "c", "namespace": "n"}}, data={{"k": {body}}})'
    with pytest.raises(RenderError, match=r"ConfigMap n/c: secret at data\.k") as caught:
        collect(plan(body, secret={"key": CANARY}))
    assert CANARY not in str(caught.value)


def test_what_only_a_deployment_knows_is_refused_or_left_out_by_name(
    plan: Callable[..., Report], wanted: Callable[[Collected], Objects]
) -> None:
    report = plan(
        """
        import pulumi_aws as aws
        bucket = aws.s3.Bucket("weights")
        at = {"namespace": "n"}
        k8s.core.v1.ConfigMap("known", metadata={"name": "known", **at}, data={"a": "b"})
        k8s.core.v1.ConfigMap("later", metadata={"name": "later", **at}, data={"bucket": bucket.arn})
        k8s.core.v1.Secret("password", metadata={"name": "password", **at}, string_data={"p": bucket.id})
        """
    )
    with pytest.raises(RenderError, match=r"ConfigMap n/later: known only to a deployment: data\.bucket"):
        collect(report)
    collected = collect(report, leave_out_unknown=True)
    assert {key[2] for key in wanted(collected)} == {"known"}
    assert [(one.name, one.type) for one in collected.left_out] == [
        ("weights", "aws:s3/bucket:Bucket"),
        ("later", "kubernetes:core/v1:ConfigMap"),
    ]
    text = plain(collected, Secrets())["README.md"]
    assert "weights" in text
    assert "data.bucket" in text
    assert "Secret n/password (Opaque), keys: not known here" in text


def test_each_cluster_has_a_folder(plan: Callable[..., Report]) -> None:
    report = plan(
        """
        for site in ("north", "south"):
            provider = k8s.Provider(f"{site}-provider", kubeconfig=f"/of/{site}")
            k8s.core.v1.Namespace(f"{site}-space", metadata={"name": "a"},
                                  opts=pulumi.ResourceOptions(provider=provider))
        """
    )
    files = plain(collect(report), Secrets())
    assert sorted(files) == [
        "README.md",
        "north/10-namespace-a.yaml",
        "north/kustomization.yaml",
        "south/10-namespace-a.yaml",
        "south/kustomization.yaml",
    ]


def test_a_plan_with_errors_writes_nothing(plan: Callable[..., Report]) -> None:
    with pytest.raises(RenderError, match=r"cannot be planned(.|\n)*broken on purpose"):
        collect(plan('raise Exception("broken on purpose")'))
    with pytest.raises(RenderError, match="no Kubernetes objects"):
        collect(plan("pulumi.export('a', 1)"))


def test_every_shipped_stack_is_written_with_what_is_open(
    shipped: dict[str, Report], by_key: Callable[[str], Objects], wanted: Callable[[Collected], Objects]
) -> None:
    assert len(shipped) >= 6
    for name, report in shipped.items():
        collected = collect(report)
        secrets = Secrets(stand_ins=("unpinned", "closed"))
        files = plain(collected, secrets, waves=False)
        assert "unpinned-key" not in "".join(files.values())
        # Objects of two clusters may have one name.
        for cluster, items in collected.clusters.items():
            alone = dataclasses.replace(collected, clusters={cluster: items})
            assert by_key(text_of(plain(alone, secrets, waves=False))) == wanted(alone), (name, cluster)
        foreign = {step.name for step in report.steps if step.providerless}
        assert {one.name for one in collected.left_out} == foreign, name
        assert all(resource in files["README.md"] for resource in foreign)
        for finding in collected.findings:
            assert finding in files["README.md"]
        texts = " ".join(text for path, text in files.items() if path != "README.md")
        images = [leaf for leaf in texts.split() if "unpinned.invalid/" in leaf or ":not-built-yet" in leaf]
        assert {image.strip('"') for image in images} == {image for _, image in collected.images}


def test_a_folder_is_replaced_only_where_it_was_rendered(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write(out, {"a.yaml": "1\n", "deep/er/b.yaml": "2\n"}) == ["a.yaml", "deep/er/b.yaml"]
    (out / "theirs.txt").write_text("kept")
    with (out / ".berth-render").open("a") as record:
        record.write("../outside.txt\n/etc/hostname\n")
    (tmp_path / "outside.txt").write_text("kept")
    assert write(out, {"a.yaml": "1\n"}) == ["deep/er/b.yaml"]
    assert not (out / "deep").exists()
    assert (out / "theirs.txt").read_text() == (tmp_path / "outside.txt").read_text() == "kept"

    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("x")
    with pytest.raises(RenderError, match="not empty"):
        write(other, {"a.yaml": ""})
    with pytest.raises(RenderError, match="that is a file"):
        write(other / "precious", {"a.yaml": ""})
    with pytest.raises(RenderError, match="name a folder"):
        write(other / "precious" / "below", {"a.yaml": ""})


@pytest.mark.parametrize(
    "text", [*ODD, *ODD.values(), "-", "?", ": ", "yes", "~", "0x1F", "2026-11-28", "=", "<<"]
)
def test_texts_stay_texts_for_every_reader(text: str) -> None:
    written = dump({"k": text, text or "e": [text]})
    assert yaml.safe_load(written) == {"k": text, text or "e": [text]}
    assert written.isascii() or not text.isascii()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(RenderError, match="--secret-store"):
        Secrets("external")
    with pytest.raises(RenderError, match="ClusterSecretStore, SecretStore"):
        Secrets("external", "s", "Store")
