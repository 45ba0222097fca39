"""Pure functions on a recording; they need neither root nor Linux."""
