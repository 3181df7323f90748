"""How fast this machine restores images, as ratios measured in one run; `adacode bench` shows it."""
