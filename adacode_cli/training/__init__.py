"""From folders of photographs to weights: data, degradations, losses, the three stages, the loop."""
