"""What PyG needs to know of a survey graph: whose attributes are whose, and how it was built."""

from typing import Any

import numpy as np
from torch_geometric.data import Data
from torch_geometric.data.storage import GlobalStorage

from tighnari_graph.spec import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, GraphSpec


class _SurveyStorage(GlobalStorage):
    """PyG guesses by length whether an attribute is a node's or an edge's; ours are known."""

    def is_node_attr(self, key: str) -> bool:
        if key in NODE_ATTRIBUTES or key.endswith("_code"):
            return True
        return key not in EDGE_ATTRIBUTES and bool(super().is_node_attr(key))

    def is_edge_attr(self, key: str) -> bool:
        if key in EDGE_ATTRIBUTES:
            return True
        return not self.is_node_attr(key) and bool(super().is_edge_attr(key))


class SurveyData(Data):
    """PyG `Data` whose node and edge attributes are known by name, with the spec it was built by.

    Attributes:
        spec: how the graph was built; a list of them in a batch.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.__dict__["_store"] = _SurveyStorage(_parent=self)
        for key, value in kwargs.items():
            setattr(self, key, value)

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key.endswith("_code"):  # PyG would shift "index_code" or "batch_code" in a batch
            return 0
        return super().__inc__(key, value, *args, **kwargs)

    @property
    def radius_km(self) -> float:
        """The longest edge."""
        return self._spec.radius_km

    @property
    def match(self) -> tuple[str, ...]:
        """The columns that both ends of an edge share."""
        return self._spec.match

    @property
    def species_ids(self) -> np.ndarray:
        """:math:`(S,)` int64, column of ``y`` → speciesId."""
        return self._spec.species_ids

    @property
    def species_names(self) -> np.ndarray | None:
        """:math:`(S,)` text, column of ``y`` → name, if the table had names."""
        return self._spec.species_names

    @property
    def region_names(self) -> tuple[str, ...]:
        """Region of each ``region_code``."""
        return self._spec.region_names

    @property
    def _spec(self) -> GraphSpec:
        return self.spec[0] if isinstance(self.spec, list) else self.spec  # a list in a batch
