"""The pages of the Python reference: which names stand on which, each drawn from its docstring by mkdocstrings."""

from __future__ import annotations

from importlib import import_module

# page: (title, what it is for, names as module:name, or as module:* for its __all__)
AREAS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "fit": (
        "A fit of your own",
        "The equation, and what minimizes it: a Problem, a Prior and a Recipe make a Fit, which iterates Steps to a Result.",
        (
            "problem:Problem",
            "prior:Prior",
            "engine.fit:Fit",
            "engine.run:Run",
            "engine.step:Step",
            "engine.result:Result",
            "engine.recipe:Recipe",
            "recipes:recipe",
            "recipes:NamedRecipe",
        ),
    ),
    "networks": (
        "Networks and codes",
        "g and z: the untrained network, and its input. Each network is an `nn.Module` with a frozen `Config`.",
        ("networks:*", "codes:Noise", "codes:Mesh", "codes:Masked", "optimizers:adam", "optimizers:muon"),
    ),
    "operators": (
        "Operators, distances, regularizers",
        "Phi, E and R: what was measured, how far a prediction is from it, and what else an image should be.",
        ("operators:*", "distances:*", "regularizers:*"),
    ),
    "stopping": (
        "Stopping rules",
        "Frozen values; each makes the tracker of one fit. [When a fit stops](../../stopping.md) says which is used when.",
        (
            "stopping:StoppingRule",
            "stopping:After",
            "stopping:HeldOut",
            "stopping:Risk",
            "stopping:MovingVariance",
            "stopping:WindowedVariance",
            "stopping:Discrepancy",
            "stopping:Plateau",
            "stopping:ResidualNoise",
            "stopping:EitherRule",
            "stopping:by_name",
        ),
    ),
    "observe": (
        "Observers",
        "What looks on at a run, and changes nothing.",
        ("observe:observe", "observe:OraclePeak", "observe:Curves", "observe:Film", "observe:autosave"),
    ),
    "images": (
        "Images and metrics",
        "Files and arrays in, the same kind of files and arrays out.",
        ("images:Picture", "images:read", "metrics:psnr", "metrics:ssim"),
    ),
    "classifiers": (
        "Classifiers",
        "Any image classifier behind one interface.",
        (
            "classifiers:Classifier",
            "classifiers:LossEstimator",
            "classifiers:load_classifier",
            "classifiers:load_model",
        ),
    ),
    "explain": (
        "Explanations and defenses",
        "What the explaining and defending tasks return, and their instruments for PyTorch, captum and ART.",
        (
            "explain.explanation:Explanation",
            "explain.explanation:Counterfactual",
            "defend.migsg:MIGSG",
            "defend.defence:DefendedClassifier",
            "defend.defence:Purification",
            "defend.art_defence:DIPDefence",
            "defend.evaluate:evaluate_defence",
            "defend.threat:Threat",
        ),
    ),
    "jobs": (
        "Jobs",
        "A task on an input as plain data, for a queue, a cluster or a later day.",
        ("jobs.job:Job", "jobs.run:run_job", "jobs.job:Outcome"),
    ),
    "tasks": (
        "Tasks",
        "How a task is described: of one TaskSpec function, command, help, JSON job and this reference are drawn.",
        (
            "tasks:TaskSpec",
            "tasks:option",
            "tasks:Option",
            "tasks:Output",
            "tasks:TaskOptions",
            "tasks:FitOptions",
            "registry:task_named",
            "series.plans:Plan",
            "series.restoration:restoration",
        ),
    ),
    "errors": (
        "Errors",
        "What a user can correct.",
        ("errors:InputError", "errors:MissingExtra", "errors:SalvageWarning"),
    ),
}


def pages() -> dict[str, str]:
    """The text of each page by its place in the site."""
    listed = ["| page | names |", "|---|---|"]
    found = {}
    for name, (title, purpose, _) in AREAS.items():
        objects = names_on(name)
        links = ", ".join(f"[{each.rsplit('.', 1)[1]}]({name}.md#{each})" for each in objects)
        listed.append(f"| [{title}]({name}.md) | {links} |")
        found[f"reference/api/{name}.md"] = (
            "\n\n".join([f"# {title}", purpose, *(f"::: {each}" for each in objects)]) + "\n"
        )
    intro = (
        "# Python\n\nWhat is not a [task](../tasks/index.md). `import preimage` has the public names; the others are imported "
        "from their module.\n\n"
    )
    return {"reference/api/index.md": intro + "\n".join(listed) + "\n", **found}


def names_on(page: str) -> list[str]:
    """The full name of each object of a page, where it is defined."""
    found = []
    for stated in AREAS[page][2]:
        module, _, name = stated.partition(":")
        place = import_module(f"preimage.{module}")
        for each in place.__all__ if name == "*" else (name,):
            value = getattr(place, each)
            found.append(f"{getattr(value, '__module__', place.__name__)}.{getattr(value, '__qualname__', each)}")
    return found
