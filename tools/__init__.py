"""What build.py is made of: standard library only, one purpose a module. Knows nothing of how the runtime works."""
