"""All drawing: figures of restorations, explanations, saliency maps and inspections, and the HTML page of an explanation."""
