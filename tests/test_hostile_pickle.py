"""Files with code in them, for every reader of the library: the code is never executed."""

import ast
import io
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from tests.fuzz_targets import TARGETS
from tests.small_models import QUIET, small_config, split_data
from tighnari_models import fit

ROOT = Path(__file__).parents[1]


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def bare(marker: Path) -> bytes:
    return pickle.dumps(Touch(marker), protocol=2)


def torch_zip(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": torch.ones(2), "more": Touch(marker)}, buffer)
    return buffer.getvalue()


def torch_before_1_6(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touch(marker), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def npy(marker: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Touch(marker)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def npz(marker: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, arr_0=np.array([Touch(marker)], dtype=object))
    return buffer.getvalue()


def arrow_type(marker: Path) -> bytes:
    """Parquet of a Python-defined type, whose class pyarrow before 14.0.1 unpickled."""
    note = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": bare(marker),
    }
    names = ("surveyId", "lat", "lon", "year", "region", "speciesId")
    schema = pa.schema([pa.field(name, pa.int64(), metadata=note) for name in names])
    buffer = io.BytesIO()
    table = pa.Table.from_arrays([pa.array([7])] * len(names), schema=schema)
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def zipped(marker: Path) -> bytes:
    """The smallest archive that PyTorch takes for a file of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as parts:
        parts.writestr("cube/data.pkl", bare(marker))
        parts.writestr("cube/version", "3\n")
    return buffer.getvalue()


PAYLOADS = (bare, torch_zip, torch_before_1_6, npy, npz, arrow_type, zipped)
CARELESS = {
    bare: pickle.loads,
    torch_zip: lambda data: torch.load(io.BytesIO(data), weights_only=False),
    torch_before_1_6: lambda data: torch.load(io.BytesIO(data), weights_only=False),
    npy: lambda data: np.load(io.BytesIO(data), allow_pickle=True),
    npz: lambda data: np.load(io.BytesIO(data), allow_pickle=True)["arr_0"],
    zipped: lambda data: torch.load(io.BytesIO(data), weights_only=False),
}


@pytest.mark.filterwarnings("ignore:pickle-based:RuntimeWarning")  # pyarrow 18 says that it refuses
@pytest.mark.filterwarnings("ignore:pyarrow.PyExtensionType:FutureWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_no_reader_executes_what_a_file_holds(name, tmp_path):
    target, marker = TARGETS[name], tmp_path / "executed"
    (tmp_path / "data").mkdir()
    path, _ = target.setup(tmp_path / "data")
    for payload in PAYLOADS:
        path.write_bytes(payload(marker))
        try:
            target.read(tmp_path / "data", path)
        except target.errors as error:
            assert str(error).strip()
        assert not marker.exists(), payload.__name__


@pytest.mark.parametrize("payload", CARELESS, ids=lambda p: p.__name__)
def test_the_files_would_have_gone_off(payload, tmp_path):
    CARELESS[payload](payload(tmp_path / "executed"))
    assert (tmp_path / "executed").exists()


def test_a_checkpoint_to_resume_from_is_not_executed(tmp_path):
    data, marker = split_data(), tmp_path / "executed"
    fit(small_config(), data, tmp_path / "run", max_epochs=1, training=QUIET)
    (tmp_path / "run/done.json").unlink()
    for payload in (bare, torch_zip, torch_before_1_6):
        (tmp_path / "run/last.ckpt").write_bytes(payload(marker))
        with pytest.raises(Exception, match="(?i)weights.only"):
            fit(small_config(), data, tmp_path / "run", max_epochs=1, training=QUIET)
        assert not marker.exists(), payload.__name__


def test_kept_logits_are_not_executed_and_predicted_again(tmp_path, monkeypatch, caplog):
    (tmp_path / "logits.json").write_text('{"models": []}')
    module = sys.modules["tighnari_models.cross_fusion"]  # the package has a function of that name
    monkeypatch.setattr(module, "predict", lambda *_, **__: np.ones((1, 2)))
    for payload in (npy, bare, lambda _: npy(tmp_path)[:30]):
        (tmp_path / "logits.npy").write_bytes(payload(tmp_path / "executed"))
        found = module._kept(tmp_path / "logits.npy", [], lambda: None, 0, half=False)
        assert found.tolist() == [[1, 1]]
        assert not (tmp_path / "executed").exists()
        assert "logits.npy: cannot be read" in caplog.text
        caplog.clear()


def test_the_sources_open_nothing_that_can_hold_code():
    """Every call that could: none of pickle, and none of the loaders without its guard."""
    found = 0
    for path in [*ROOT.glob("tighnari_graph/**/*.py"), *ROOT.glob("tighnari_models/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {name.name for name in node.names} | {getattr(node, "module", None)}
                assert not names & {
                    "pickle",
                    "cPickle",
                    "dill",
                    "cloudpickle",
                    "marshal",
                    "shelve",
                }, path
            if not isinstance(node, ast.Call):
                continue
            name, options = (
                ast.unparse(node.func),
                {k.arg: ast.unparse(k.value) for k in node.keywords},
            )
            assert name not in ("eval", "exec", "joblib.load", "pd.read_pickle", "yaml.load"), path
            if name in ("torch.load", "load_state_dict", "trainer.fit"):
                assert options["weights_only"] == "True", path
                found += 1
            assert options.get("allow_pickle", "False") == "False", path
    assert found == 3
