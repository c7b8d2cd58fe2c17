"""What noise is: its models, how its kind and level are estimated from one image or from what a fit left of it, and what is
removed of an image by them."""
