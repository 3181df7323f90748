"""How good restored images are: test sets, metrics, and their means beside a baseline's."""
