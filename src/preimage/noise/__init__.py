"""What noise is: its models, how its kind and level are estimated from one image, and correlation between pixels."""
