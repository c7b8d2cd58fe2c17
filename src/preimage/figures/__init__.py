"""All drawing: figures of restorations, explanations, saliency maps and inspections, and the HTML page of an explanation.

What they draw (a Result, an Inspection ...) is defined above this room: it is Any here, and named in the docstring.
"""
