"""The help of both commands is complete: every option says what it does and its default."""

import re

import pytest

from tighnari_graph.__main__ import main as graph_main
from tighnari_graph.command import Options as GraphOptions
from tighnari_models.__main__ import main as models_main
from tighnari_models.command import Options as ModelsOptions
from tighnari_models.presets import PRESETS

COMMANDS = {"graph": (graph_main, GraphOptions), "models": (models_main, ModelsOptions)}


def shown(main, capsys) -> dict[str, str]:
    """Option → its help, on one line."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out.split("options:")[1]
    blocks = re.split(r"\n  (?=--)", text)[1:]
    return {block.split()[0].rstrip(",")[2:]: " ".join(block.split()) for block in blocks}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_text_and_a_default(name, capsys):
    main, options = COMMANDS[name]
    found = shown(main, capsys)
    assert set(found) == {field.replace("_", "-") for field in options.__dataclass_fields__}
    for option, text in found.items():
        assert re.search(r"\(default: (?!None)[^)]+\)$", text), option
        value = getattr(options(), option.replace("-", "_"))
        if value is not None:
            assert f"(default: {value})" in text


def test_defaults_that_depend_on_the_preset_are_those_of_the_presets(capsys):
    text = shown(models_main, capsys)["folds"]
    for name, preset in PRESETS.items():
        assert f"{name} {preset.folds}" in text
