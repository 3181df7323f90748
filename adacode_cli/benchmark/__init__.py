"""How fast this machine restores pictures, as ratios measured in one run; `adacode bench` shows it."""
