"""Weights for timm backbones: from a file, from the hub's cache, or from the hub itself."""

import logging
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import huggingface_hub
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn

from tighnari_models.encoders.timm_tokens import backbone_config, create_backbone

logger = logging.getLogger("tighnari_models")

HUB_TIMEOUT_S = 5.0
_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm's repositories hold
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_REMEDY = (
    "give a local file with weights= (--weights FILE), or train from random weights with "
    "pretrained=False (--no-pretrained)"
)


def create_pretrained(name: str, weights: str | Path | None = None, **kwargs: Any) -> nn.Module:
    """A timm backbone with weights from a file, or those that timm publishes for it.

    Published weights come from the hub's local cache if they are there, else from the hub, which
    is asked once, for at most five seconds, whether it can be reached: timm's own attempt takes
    three quarters of a minute to fail.

    Raises:
        ValueError: if the file does not fit, or the hub has nothing or cannot be reached.

    Example:
        >>> create_pretrained("test_resnet", weights="missing.safetensors")
        Traceback (most recent call last):
        ...
        ValueError: there is no weights file missing.safetensors
    """
    if weights is None:
        repository = backbone_config(name).hf_hub_id
        weights = _cached(repository)
        if weights is None:
            _require_hub(name, repository)
            return _from_hub(name, **kwargs)
    return load_weights(create_backbone(name, **kwargs), weights)


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    r"""Fill a timm backbone from a file, .safetensors or .pth, and return it.

    Names and sizes of older files are converted as timm does it for that model (a ViT's position
    embedding is resized). A stem of another number of channels is adapted by timm's rule: for four
    from three the kernels are repeated in turn and scaled, so that near-infrared, the fourth
    channel, gets the red kernel, and all four are multiplied by ¾. The file's classifier is left
    out; anything else in the file that the model lacks is counted and logged.

    Raises:
        ValueError: if the file is missing, is none of weights, or leaves a parameter unfilled.

    Source: Liu et al. 2024, section 3.4; `docs/decisions/0015-near-infrared-weights.md`.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "weights.safetensors")
        ...     save_file(create_backbone("test_resnet").state_dict(), path)
        ...     model = load_weights(create_backbone("test_resnet", in_chans=4), path)
        >>> stem = model.conv1[0].weight
        >>> bool((stem[:, 3] == stem[:, 0]).all())
        True
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no weights file {path}")
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"weights file {path} must end in one of {', '.join(_SUFFIXES)}")
    try:
        state = load_state_dict(str(path), device="cpu", weights_only=True)
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        if convert is not None:
            state = convert(state, model)
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # whatever goes wrong in bytes of unknown origin
        raise ValueError(f"weights file {path} cannot be read as weights: {error}") from error
    config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    for stem in _names(config.get("first_conv")):
        _adapt_stem(model, f"{stem}.weight", tensors)
    for classifier in _names(config.get("classifier")):
        for key in (f"{classifier}.weight", f"{classifier}.bias"):
            tensors.pop(key, None)
    try:
        result = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ValueError(f"weights file {path} does not fit the model: {error}") from error
    if result.missing_keys:
        raise ValueError(
            f"weights file {path} lacks {len(result.missing_keys)} of {len(model.state_dict())} "
            f"tensors of {config.get('architecture')} ({_first(result.missing_keys)})"
        )
    if result.unexpected_keys:
        logger.warning(
            "weights file %s: %d tensors are not in %s and were left out (%s)",
            path,
            len(result.unexpected_keys),
            config.get("architecture"),
            _first(result.unexpected_keys),
        )
    return model


def _adapt_stem(model: nn.Module, key: str, tensors: dict[str, Tensor]) -> None:
    parameter = model.get_parameter(key)
    if key in tensors and tensors[key].ndim == 4 and parameter.ndim == 4:
        wanted, given = parameter.size(1), tensors[key].size(1)
        if given != wanted and given == 3:  # other channel counts fail by shape, with both named
            tensors[key] = adapt_input_conv(wanted, tensors[key])


def _from_hub(name: str, **kwargs: Any) -> nn.Module:
    try:
        return create_backbone(name, pretrained=True, **kwargs)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"no pretrained weights of {name!r}: {error}; {_REMEDY}") from error


def _cached(repository: str | None) -> str | None:
    """Where the hub's cache on this machine holds the weights of a repository, if it does."""
    for file in _FILES if repository else ():
        found = huggingface_hub.try_to_load_from_cache(str(repository), file)
        if isinstance(found, str):
            return found
    return None


def _require_hub(name: str, repository: str | None) -> None:
    """Refuse at once where the hub cannot be reached; proxies of the environment are used."""
    if repository is None:  # none published, or at another address: timm itself fails at once
        return
    endpoint = huggingface_hub.constants.ENDPOINT
    reason: object = "HF_HUB_OFFLINE is set"
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        request = urllib.request.Request(endpoint, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            if error.code not in (403, 407, 502, 503, 504):  # a proxy's refusals
                return
            reason = error
        except OSError as error:
            reason = getattr(error, "reason", error)
    raise ValueError(
        f"the pretrained weights of {name!r} are not in the cache of this machine, and the hub "
        f"{endpoint} cannot be reached ({reason}): {_REMEDY}"
    )


def _names(value: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (", …" if len(keys) > 5 else "")
