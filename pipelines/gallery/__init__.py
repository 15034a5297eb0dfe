"""Complete programs of under fifty lines each, to start from. docs/gallery.md shows them."""
