"""What is known of a split's columns: sketches that merge, and what is read off them."""
