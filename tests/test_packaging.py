"""What a fresh machine relies on."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import tighnari_graph
import tighnari_models

ROOT = Path(__file__).parents[1]


def test_constraints_are_exact_versions_and_torch_has_its_torchvision():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    pinned = dict(line.split("==") for line in lines)
    assert (pinned["torch"], pinned["torchvision"]) == ("2.11.0", "0.26.0")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[<>=!~ ]", need)[0].lower() for need in wanted}
    assert names <= {name.lower().replace("_", "-") for name in pinned}


def test_the_version_stands_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == tighnari_graph.__version__
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_both_packages_say_that_they_are_typed():
    for package in (tighnari_graph, tighnari_models):
        assert (Path(package.__file__).parent / "py.typed").exists()


def test_every_public_name_is_documented_and_the_models_re_export_the_rules():
    for name in tighnari_graph.__all__:
        assert getattr(tighnari_graph, name).__doc__, name
    for name in ("ThresholdTopK", "samples_f1", "write_submission"):
        assert getattr(tighnari_models, name) is getattr(tighnari_graph, name)


def test_imports_need_no_extra_and_the_graph_does_not_load_the_models():
    """What a bare GPU machine lacks is never imported by the packages themselves."""
    script = (
        "import sys, tighnari_graph.command\n"
        "print('tighnari_models' in sys.modules)\n"
        "import tighnari_models\n"
        "absent = {'torch_scatter', 'torch_sparse', 'pyg_lib', 'geopandas', 'plotly', 'dask',"
        " 'hypothesis', 'pytest', 'beartype'}\n"
        "print(sorted(absent & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "[]"], done.stderr
