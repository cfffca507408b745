"""Stand-ins for the modules of other programs: their names and shapes, over our `Session`.

Nothing here imports the program that it stands in for: what is needed of it is taken from the objects that it passes in.
"""
