"""An installation at work in a process of its own, faults that hit it, and what must hold all along."""
