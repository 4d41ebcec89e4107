"""How training ends early: asked to, or failed, and what is said of it."""
