"""The door to data sets: read an ``index.csv`` folder, split it by patient, assign it to hospitals, load it."""

from core.imaging.arrays import DatasetArrays, Progress, Rejected, load_arrays
from core.imaging.assignment import Assignment, assign_to_hospitals
from core.imaging.index import Record, read_index
from core.imaging.sources import INDEX_NAME, ImageSource, ZipSource
from core.imaging.splits import Part, split_by_patient
from core.imaging.stain import patient_stains

__all__ = [
    "INDEX_NAME",
    "Assignment",
    "DatasetArrays",
    "ImageSource",
    "Part",
    "Progress",
    "Record",
    "Rejected",
    "ZipSource",
    "assign_to_hospitals",
    "load_arrays",
    "patient_stains",
    "read_index",
    "split_by_patient",
]
