"""How good restored pictures are: test sets, metrics, and their means beside a baseline's."""
