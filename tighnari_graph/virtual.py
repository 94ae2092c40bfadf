"""A virtual Europe: synthetic plant surveys written in the file layout of GeoLifeCLEF 2024.

For tests, examples and benchmarks where the real files are absent. Surveys lie in clusters, whole
10 km blocks are held out, and the tables have the same gaps as the real ones.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tighnari_graph.files import written_whole
from tighnari_graph.virtual_cubes import write_cubes
from tighnari_graph.virtual_environment import environment_tables, with_gaps
from tighnari_graph.virtual_fields import VirtualFields
from tighnari_graph.virtual_patches import write_patches
from tighnari_graph.virtual_species import VirtualSpecies
from tighnari_graph.virtual_surveys import make_hubs, make_po, make_surveys, observer_effort

_PA_COLUMNS = ["lon", "lat", "year", "geoUncertaintyInM", "areaInM2", "region", "country"]
_RASTERS = "EnvironmentalRasters/EnvironmentalRasters"
_TABLE_FOLDERS = {
    "bioclimatic": f"{_RASTERS}/Climate/Average 1981-2010",
    "elevation": f"{_RASTERS}/Elevation",
    "human_footprint": f"{_RASTERS}/Human Footprint",
    "landcover": f"{_RASTERS}/LandCover",
    "soilgrids": f"{_RASTERS}/SoilGrids",
}


@dataclass(frozen=True)
class VirtualEurope:
    """Everything :func:`virtual_europe` made; the frames have the columns of the real files.

    ``environment`` maps a table's name to its ``"train"`` and ``"test"`` frames. ``test_labels`` is
    what the competition keeps to itself. ``fields``, ``species`` and ``hubs`` (the observers'
    towns) are the world behind the tables.

    Units: lat and lon in degrees, ``areaInM2`` in square metres, ``geoUncertaintyInM`` in metres,
    tables as in :func:`tighnari_graph.virtual_environment.environment_tables`.
    """

    seed: int
    pa_train: pd.DataFrame
    pa_test: pd.DataFrame
    po: pd.DataFrame
    test_labels: pd.DataFrame
    environment: dict[str, dict[str, pd.DataFrame]]
    fields: VirtualFields
    species: VirtualSpecies
    hubs: pd.DataFrame

    def observer_effort(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """How keenly observers look, [N]: 1 in a hub, falling by the factor e every 60 km."""
        return observer_effort(self.hubs, lat, lon)

    def write(
        self, folder: str | os.PathLike[str], cubes: bool = False, patches: bool = False
    ) -> Path:
        """Write the competition's files, and the truth into ``virtual_truth``; returns the folder.

        Files already there are replaced one by one, each only when its new content is complete.

        Args:
            folder: Made where it is not there.
            cubes: Also write the time series of :mod:`tighnari_graph.virtual_cubes`.
            patches: Also write the images of :mod:`tighnari_graph.virtual_patches`.
        """
        root = Path(folder)
        ids = " ".join(map(str, np.sort(self.species.species_id)[:25]))
        frames = {
            "GLC24_PA_metadata_train.csv": self.pa_train,
            "GLC24_PA_metadata_test.csv": self.pa_test,
            "GLC24_P0_metadata_train.csv": self.po,
            "GLC24_SAMPLE_SUBMISSION.csv": self.pa_test[["surveyId"]].assign(predictions=ids),
            "virtual_truth/GLC24_PA_labels_test.csv": self.test_labels,
        }
        for name, splits in self.environment.items():
            for split, table in splits.items():
                frames[f"{_TABLE_FOLDERS[name]}/GLC24-PA-{split}-{name}.csv"] = table
        for path, frame in frames.items():
            with written_whole(root / path) as part:
                frame.to_csv(part, index=False, lineterminator="\n")
        text = (
            "Synthetic data, made by tighnari_graph.virtual. Nothing in it is real.\n"
            f"seed {self.seed}\n"
            f"training surveys {self.pa_train['surveyId'].nunique()}\n"
            f"test surveys {len(self.pa_test)}\n"
            f"presence-only lists {self.po['surveyId'].nunique()}\n"
            f"species {len(self.species.species_id)}\n"
            "GLC24_PA_labels_test.csv holds the species of the test surveys.\n"
        )
        for split, frame in (("train", self.pa_train), ("test", self.pa_test)):
            surveys = frame.drop_duplicates("surveyId")
            where = [surveys[name].to_numpy() for name in ("surveyId", "lat", "lon")]
            if cubes:
                write_cubes(root, self.fields, split, *where)
            if patches:
                write_patches(root, self.fields, split, *where)
        # last: a folder with it is complete
        with written_whole(root / "virtual_truth/README.txt") as part:
            part.write_bytes(text.encode())
        return root


def virtual_europe(
    num_surveys: int = 1500,
    num_test: int = 300,
    num_po: int = 1200,
    num_species: int = 400,
    seed: int = 0,
) -> VirtualEurope:
    """Make a virtual Europe with training and test surveys, observers' lists and tables.

    Test surveys fill whole blocks of :func:`tighnari_graph.virtual_fields.hold_out_blocks`. The
    gaps of the real files are there from about 50 surveys on.

    Args:
        num_surveys: Training surveys, at least 1.
        num_test: Test surveys.
        num_po: Observers' presence-only lists, of one or more rows.
        num_species: Species in the world, at least 10; 8 % of them only observers report.
        seed: The same seed and sizes give the same world, and the same bytes when written.

    Raises:
        ValueError: A size or seed is no whole number or too small.

    Example:
        >>> world = virtual_europe(60, 20, 30, num_species=50, seed=1)
        >>> world.pa_train["surveyId"].nunique(), len(world.pa_test), world.po["surveyId"].nunique()
        (60, 20, 30)
        >>> sorted(world.environment)
        ['bioclimatic', 'elevation', 'human_footprint', 'landcover', 'soilgrids']
    """
    minima = {"num_surveys": 1, "num_test": 0, "num_po": 0, "num_species": 10, "seed": 0}
    given = (num_surveys, num_test, num_po, num_species, seed)
    for (name, least), value in zip(minima.items(), given, strict=True):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    seed = int(seed)
    rng = np.random.default_rng(seed)
    fields = VirtualFields(seed)
    species = VirtualSpecies.make(rng, fields, num_species)
    hubs = make_hubs(rng, fields)
    surveys = make_surveys(rng, fields, num_surveys, num_test)
    survey, column = species.draw(rng, fields, surveys, observers=False)
    species_id = species.species_id[column]
    in_train = survey < num_surveys
    train, test = surveys.iloc[:num_surveys], surveys.iloc[num_surveys:]
    long = train.iloc[survey[in_train]].assign(speciesId=species_id[in_train].astype(float))
    long = long[[*_PA_COLUMNS, "speciesId", "surveyId"]].iloc[rng.permutation(len(long))]
    truth = surveys[["surveyId"]].iloc[survey[~in_train]].assign(speciesId=species_id[~in_train])
    environment: dict[str, dict[str, pd.DataFrame]] = {name: {} for name in _TABLE_FOLDERS}
    for split, part in (("train", train), ("test", test)):
        tables = environment_tables(fields, part["lat"].to_numpy(), part["lon"].to_numpy())
        for name, complete in tables.items():
            table = with_gaps(rng, complete, sentinels=name == "human_footprint")
            table.insert(0, "surveyId", part["surveyId"].to_numpy())
            environment[name][split] = table
    return VirtualEurope(
        seed=seed,
        pa_train=long.reset_index(drop=True),
        pa_test=test[[*_PA_COLUMNS, "surveyId"]].reset_index(drop=True),
        po=make_po(rng, fields, species, hubs, surveys, num_po),
        test_labels=truth.reset_index(drop=True),
        environment=environment,
        fields=fields,
        species=species,
        hubs=hubs,
    )
