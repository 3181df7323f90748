"""The gallery of a run: a web page that shows each image before and after (`--report`, `adacode view`)."""
