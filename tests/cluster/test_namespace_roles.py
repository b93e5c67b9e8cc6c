"""
Who has a role in one namespace and nothing beyond it: `admin` installs the product there, `edit` applies models, `view`
looks at them. The commands are those of docs/operations.md.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.cluster.cluster import Cluster, KubectlError, condition_of
from tests.cluster.product import KEY, Product
from tests.documents import section, typed
from tests.standalone.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = (ROOT / "docs" / "operations.md").read_text()
INSTALL: Final = typed(section(DOCUMENT, "Install"))
ROLES: Final = ("admin", "edit", "view")


@pytest.fixture
def granted(space: Cluster) -> Cluster:
    """A namespace with somebody for each role, once the definitions' files have added to the roles."""
    (definitions,) = (line for line in INSTALL if "-crd.yaml" in line)
    space.kubectl(*argv(definitions, ROOT / "manifests", space))
    for role in ROLES:
        space.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user=only-{role}")
    for role, verb in (("admin", "delete"), ("edit", "delete"), ("view", "get")):
        until_may(space, role, verb)
    return space


def until_may(space: Cluster, role: str, verb: str) -> None:
    """A controller adds to the roles, a moment after."""
    asked = ("auth", "can-i", "--quiet", verb, "servingruntimes", f"--as=only-{role}", "--namespace", space.namespace)
    wait_until(lambda: space.run("kubectl", *asked).returncode == 0, f"{role} may not {verb} servingruntimes")


def argv(line: str, manifests: Path, space: Cluster) -> list[str]:
    """What follows `kubectl` in a command of the document, with those manifests and in that namespace."""
    line = line.replace("manifests/", f"{manifests}/").replace("-n wml-serving", f"-n {space.namespace}")
    return shlex.split(line)[1:]


def test_a_namespaces_own_people_install_use_and_see_the_product(
    product: Product, granted: Cluster, tmp_path: Path
) -> None:
    """Nobody of them may do more than his role; the orchestrator that `admin` installs works."""
    space, manifests = granted, tmp_path / "manifests"
    own = Product(space, product.store, product.models)
    own.render_manifests(manifests)
    install = argv(next(line for line in INSTALL if " -l " in line), manifests, space)

    applied = space.kubectl("--as=only-admin", *install).splitlines()
    assert {line.split()[-1] for line in applied} == {"created"}
    again = space.kubectl("--as=only-admin", *install).splitlines()
    # kubectl sends the selector of a budget each time, and says `configured` of what stays as it is.
    assert {line.split()[-1] for line in again if not line.startswith("poddisruptionbudget")} == {"unchanged"}
    with pytest.raises(KubectlError, match=r"customresourcedefinitions.* is forbidden"):
        space.kubectl("--as=only-admin", "apply", "-f", f"{manifests}/")
    wait = next(line for line in INSTALL if line.startswith("kubectl wait"))
    space.kubectl("--as=only-view", *argv(wait, manifests, space), timeout=320)

    secret = yaml.safe_load((ROOT / "samples/storage-config.yaml").read_text())
    secret["stringData"][KEY] = own.store_entry()
    space.kubectl("--as=only-edit", "apply", "-f", "-", stdin=yaml.safe_dump(secret))
    sample = ("apply", "-f", str(ROOT / "samples/sklearn.yaml"))
    with pytest.raises(KubectlError, match=r"trainedmodels.* is forbidden"):
        space.kubectl("--as=only-view", *sample)
    space.kubectl("--as=only-edit", *sample)
    # Whatever it says: the status is the orchestrator's, which has the rights that `admin` gave it.
    space.until("trainedmodel", "sklearn-digits", lambda o: condition_of(o, "Ready"), "has no status")
    table = space.kubectl("--as=only-view", "get", "trainedmodels,servingruntimes", "-o", "name").splitlines()
    assert {"trainedmodel.serving.kubeflow.org/sklearn-digits", "servingruntime.serving.kserve.io/mlserver-0.x"} <= {
        *table
    }
    space.kubectl("--as=only-edit", "delete", "trainedmodel", "sklearn-digits")
