"""One module per paper: what a method is, as data and a few typed functions (see ``methods.contract``)."""
