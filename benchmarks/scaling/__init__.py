"""How training scales: what a step sends between devices, and what that means on real networks."""
