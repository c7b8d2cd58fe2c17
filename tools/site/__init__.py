"""The documentation site: `make site`, or `python -m tools.site`.

docs/*.md are the pages that people write. The reference, the results and the examples are generated from TaskSpecs, docstrings,
docs/results.md and examples/*.py into out/site-source, where Zensical builds the site of; `links` then checks every link of it.
"""
