"""Tables, curves and comparison plots, made from records and committed results only."""
