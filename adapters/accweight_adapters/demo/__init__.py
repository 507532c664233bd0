"""The demonstration: the published experiment on digits that come with a library."""
