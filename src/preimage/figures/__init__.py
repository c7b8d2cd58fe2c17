"""All drawing: figures of restorations, explanations, saliency maps and inspections, and the HTML page of an explanation.

They take plain data, or anything that has the attributes of a Protocol here, so that every wing can draw with them.
"""
