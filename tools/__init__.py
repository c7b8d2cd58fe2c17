"""What builds and checks the project, outside the package."""
