"""Files to models and back: our safetensors format, the published layout, the catalogue, the Hub."""
