"""The library's own test cases, bound to this module, and tests of what they leave out."""
