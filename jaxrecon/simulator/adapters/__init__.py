"""The simulator behind other people's interfaces; each module is imported by itself, for it needs its own package."""
