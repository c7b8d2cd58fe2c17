"""What all studies share: rows, running and resuming, tables, claims, pictures, classifiers, rivals."""

from studies.harness.rows import StudyError, chosen
from studies.harness.study import SCALES, Measured, Run, Scale, Study, by_scale, has_all

__all__ = ["SCALES", "Measured", "Run", "Scale", "Study", "StudyError", "by_scale", "chosen", "has_all"]
