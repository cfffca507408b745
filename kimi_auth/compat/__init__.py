"""Stand-ins for the modules of other programs: their names and shapes, over our `Session`.

Nothing here imports the program that it replaces: it uses only the objects that it passes in.
"""
