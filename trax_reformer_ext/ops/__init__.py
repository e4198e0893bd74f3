"""Pure functions of arrays: no Trax, no gin, no state."""
