"""The scripted demonstration of presenter mode: everything in it is computed when it is shown."""
