"""Data sets of the suite: acquiring, verifying, decoding once, domains, label spaces and protocols."""
