"""One image on one device: device and precision choice, tiles, out-of-memory back-off. No file paths, no losses."""
