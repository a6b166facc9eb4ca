"""Two commits beside each other, in one run."""
