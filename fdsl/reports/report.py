"""The report: one HTML page that shows a dataset, for people."""

from __future__ import annotations

from pathlib import Path

from fdsl.dataset.spec import Spec
from fdsl.reports.sample import draw_names, measure
from fdsl.reports.stored import read_stored
from shards.events import Listener, ignore
from shards.opening import baked_directory, open_dataset


def report(
    spec: Spec | str | Path,
    *,
    categories: int = 1000,
    instances: int = 8,
    seed: int = 0,
    listener: Listener = ignore,
) -> str:
    """Return a page on a dataset, HTML that needs no other file.

    A sample of the images is rendered and measured. Of a baked directory, all tables of parameters are read as well, a few
    at a time.

    Parameters
    ----------
    spec : name of a preset, path of a YAML file, a baked directory or its URL, or a Spec
    categories : number of categories of the sample; the contact sheet shows up to 100 of them, with up to 8 images
    instances : number of images of each of them
    seed : selects the sample
    listener : called with each event

    Raises
    ------
    InputError
        An argument is wrong, nothing is there, or a package of the extra `report` is missing.
    """
    from fdsl.reports.document import document  # its packages are optional

    directory = None if isinstance(spec, Spec) else baked_directory(spec)
    dataset = open_dataset(spec, listener=listener) if directory is None else directory.dataset
    names = draw_names(dataset, categories, instances, seed)
    stored = None if directory is None else read_stored(directory, listener)
    sample = measure(dataset, names, min(instances, dataset.spec.instances.total), listener)
    return document(dataset, sample, stored, seed, "" if isinstance(spec, Spec) else str(spec))
