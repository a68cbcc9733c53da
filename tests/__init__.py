"""Tests of fdl and fdl_spark; shared helpers are imported from here by name."""
