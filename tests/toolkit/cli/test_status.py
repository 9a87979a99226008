"""`berth status` and `doctor` of stacks that cannot be asked: exactly what is missing is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli.doctor import doctor, runbooks
from berth.cli.errors import UserError
from berth.cli.reaching import reach
from berth.cli.status import status
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, no kubeconfig, no key."""
    monkeypatch.setenv("BERTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BERTH_CLUSTER", "nonesuch")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))


def run(*words: str) -> Result:
    return CliRunner().invoke(status, [*words])


@pytest.mark.parametrize(
    ("stack", "missing"),
    [
        ("local", "there is no local cluster nonesuch; ./berth up local makes it"),
        ("onprem", ".kube/config cannot be read as a kubeconfig"),
        ("aws-dev", "aws eks update-kubeconfig --name aws-dev-aws --region eu-central-1"),
        ("aws-prod", "aws sagemaker list-endpoints --region eu-central-1"),
        ("gcp-prod", "gcloud container clusters get-credentials gcp-prod-google --location"),
    ],
)
def test_a_cluster_that_cannot_be_asked_is_unknown_with_what_is_missing(stack: str, missing: str) -> None:
    result = run(stack)
    assert result.exit_code == 3, result.output
    assert missing in " ".join(result.output.split())
    assert max(map(len, result.output.splitlines())) <= 80
    found = json.loads(run(stack, "--json").output)
    assert found["stack"] == stack
    assert not any(one["reached"] for one in found["sites"])
    assert all(one["why"] for one in found["sites"])


@pytest.mark.parametrize("stack", ["local", "aws-dev", "aws-prod", "gcp-dev"])
def test_the_doctor_says_the_same(stack: str) -> None:
    result = CliRunner().invoke(doctor, [stack])
    assert result.exit_code == 3, result.output
    assert "UNKNOWN" in result.output
    assert "TROUBLE" not in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lokal"], "Did you mean 'local'?"),
        (["aws-dev", "--context", "nobodys"], "no context of that name"),
        (["aws-dev", "--context", "aws=nobodys"], "--context nobodys: no context of that name"),
    ],
)
def test_wrong_input_is_named(words: list[str], said: str) -> None:
    result = run(*words)
    assert isinstance(result.exception, UserError)
    assert result.exception.exit_code == 2
    assert said in str(result.exception)


def test_contexts_go_to_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    contexts = [{"name": name, "context": {"cluster": "c"}} for name in ("one", "a=b")]
    file.write_text(yaml.safe_dump({"contexts": contexts, "clusters": []}))
    monkeypatch.setenv("KUBECONFIG", str(file))

    def found(*given: str) -> dict[str, Any]:
        return {one.site: one.context for one in reach("aws-prod", given).sites}

    assert found("one") == {"aws": "one", "sagemaker": "one"}
    assert found("aws=a=b") == {"aws": "a=b", "sagemaker": ""}
    # A context's name may hold '=' itself.
    assert found("a=b") == {"aws": "a=b", "sagemaker": "a=b"}
    with pytest.raises(UserError, match="each is SITE=NAME; sites: aws, sagemaker"):
        reach("aws-prod", ("one", "a=b"))


@pytest.mark.parametrize("given", ["one", "onprem=one"])
def test_the_doctor_takes_contexts_by_site_too(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config"
    clusters = [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}]
    contexts = [{"name": "one", "context": {"cluster": "nowhere"}}]
    file.write_text(yaml.safe_dump({"contexts": contexts, "clusters": clusters}))
    monkeypatch.setenv("KUBECONFIG", str(file))
    result = CliRunner().invoke(doctor, ["onprem", "--context", given])
    assert result.exit_code == 3, result.exception
    said = " ".join(result.output.split())
    assert "API server: https://127.0.0.1:1 cannot be asked" in said
    assert "UNKNOWN whether its clusters fit: GET /api/v1/nodes at https://127.0.0.1:1" in said


def test_what_is_asked_of_each_site_is_what_its_settings_say() -> None:
    by_site = {one.site: one for one in reach("aws-prod").sites}
    assert by_site["aws"].asked
    assert by_site["aws"].namespaces[0] == "berth-aws-prod"
    assert by_site["aws"].adapter == "berth-metrics"
    assert by_site["sagemaker"].asked == ()


def test_a_file_that_is_no_snapshot_is_named(tmp_path: Path) -> None:
    file = tmp_path / "seen.json"
    for text in ("[", "[]", "{}", '[{"snapshot": 7}]', "[3]"):
        file.write_text(text)
        result = CliRunner().invoke(doctor, ["--snapshot", str(file)])
        assert isinstance(result.exception, UserError), text
        assert "it is no file that ./berth doctor STACK --save made" in str(result.exception)


def test_there_are_runbooks_to_link_to() -> None:
    assert {"EngineNotReady", "AutoscalerBlind"} <= runbooks()
