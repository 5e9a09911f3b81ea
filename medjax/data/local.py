"""Datasets made from the user's own folder, the one that the variable MEDJAX_DATA names.

One module a modality holds its recipe; this is the list that `medjax.data.catalog` offers.
"""

from medjax.data import local_mri
from medjax.data.recipes import Recipe

RECIPES: tuple[Recipe, ...] = (local_mri.RECIPE,)
