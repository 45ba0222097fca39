"""Tests that need a browser, a JavaScript engine (vl-convert) or Jupyter."""
