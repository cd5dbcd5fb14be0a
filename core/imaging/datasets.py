"""The door to data sets: read an index or folders of classes, split by patient, assign to hospitals, load."""

from core.imaging.arrays import Acquired, DatasetArrays, Progress, Rejected, import_arrays, load_arrays
from core.imaging.assignment import Assignment, assign_to_hospitals
from core.imaging.class_folders import Naming, has_index, read_class_folders
from core.imaging.index import Record, read_index
from core.imaging.sources import INDEX_NAME, ImageSource, ZipSource, as_source
from core.imaging.splits import Part, split_by_patient
from core.imaging.stain import patient_stains

__all__ = [
    "INDEX_NAME",
    "Acquired",
    "Assignment",
    "DatasetArrays",
    "ImageSource",
    "Naming",
    "Part",
    "Progress",
    "Record",
    "Rejected",
    "ZipSource",
    "as_source",
    "assign_to_hospitals",
    "has_index",
    "import_arrays",
    "load_arrays",
    "patient_stains",
    "read_class_folders",
    "read_index",
    "split_by_patient",
]
