"""What all studies share: rows, running and resuming, tables, claims, pictures, classifiers, rivals."""


class StudyError(ValueError):
    """A study that cannot run so; the text is one line that says what to do instead."""
