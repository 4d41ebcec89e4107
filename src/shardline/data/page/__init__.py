"""A dataset as one HTML page: no script, nothing from outside, drawn as inline SVG."""
